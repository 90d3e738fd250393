//! The listening socket: connections one by one, none of which may take for ever to say what it wants.

use std::{sync::Arc, time::Duration};

use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use platform::{clock, config::ms};
use tokio::{net::TcpListener, sync::Semaphore};

use crate::{Gateway, routes};

/// Before taking connections again when the machine has no room for another.
const AFTER_REFUSAL: Duration = Duration::from_millis(100);

/// Serves until asked to stop, and then brings to an end what has begun, within `drain`.
pub(crate) async fn serve(listener: TcpListener, gateway: Arc<Gateway>, drain: Duration) {
    let app = routes::app(Arc::clone(&gateway));
    let mut shutdown = gateway.shutdown.clone();
    let connections = Arc::new(Semaphore::new(gateway.settings.connections_max));
    let open = GracefulShutdown::new();
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(ms(gateway.settings.read_ms));
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

/// The next connection, once there is room for it: those that wait do so in the system's queue.
async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> std::io::Result<(tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(connections).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, permit))
}
