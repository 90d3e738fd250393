//! The listening socket: connections one by one, none of which may take for ever to say what it wants.

use std::{
    io::{Error, ErrorKind},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use hyper::server::conn::http1::Builder;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use platform::{clock, config::ms};
use tokio::{
    net::{TcpListener, TcpSocket, lookup_host},
    sync::Semaphore,
};

use crate::{Gateway, patience::Patient, routes};

/// The most bytes of a connection that are held here, those of one event or answer besides: of a request's head, and of what waits for a client
/// who does not read it.
pub(crate) const HELD_BYTES_MAX: usize = 65_536;

/// Before taking connections again when the machine has no room for another.
const AFTER_REFUSAL: Duration = Duration::from_millis(100);

/// How many connections may wait to be taken in. The system allows fewer (Linux: `net.core.somaxconn`, 4,096 as a rule), and resets some of those
/// that come while its queue is full.
const WAITING_MAX: u32 = 65_535;

/// Listens at the first address of this name that is free.
pub(crate) async fn listen(name: &str) -> std::io::Result<TcpListener> {
    let mut refused = Error::new(ErrorKind::AddrNotAvailable, "the name has no address");
    for address in lookup_host(name).await? {
        match listen_at(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

fn listen_at(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A gateway that is started again need not wait for the connections of the one before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(WAITING_MAX)
}

/// Serves until asked to stop, and then brings to an end what has begun, within `drain`.
pub(crate) async fn serve(listener: TcpListener, gateway: Arc<Gateway>, drain: Duration) {
    let app = routes::app(Arc::clone(&gateway));
    let mut shutdown = gateway.shutdown.clone();
    let connections = Arc::new(Semaphore::new(gateway.settings.connections_max));
    let open = GracefulShutdown::new();
    let http = http(ms(gateway.settings.read_ms));
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &connections) => accepted,
            () = shutdown.requested() => break,
        };
        let (stream, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot take a connection");
                clock::sleep(AFTER_REFUSAL).await;
                continue;
            }
        };
        let stream = Patient::new(stream, ms(gateway.settings.write_ms));
        let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app.clone()));
        let connection = open.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
            drop(permit);
        });
    }
    drop(listener);
    if tokio::time::timeout(drain, open.shutdown()).await.is_err() {
        tracing::warn!("not all requests came to an end in time");
    }
}

/// How requests are read and answers written.
pub(crate) fn http(head_within: Duration) -> Builder {
    let mut http = Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(head_within).max_buf_size(HELD_BYTES_MAX);
    http
}

/// The next connection, once there is room for it: those that wait do so in the system's queue.
async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> std::io::Result<(tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(connections).acquire_owned().await.map_err(Error::other)?;
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, permit))
}
