//! The network between hosts: a proxy for each pair that talks, which can go silent, slow down, or lose packets.
//!
//! What a cut link holds up arrives when the cut is over, as TCP would have it; a lost packet arrives one retransmission later.

use std::{
    collections::BTreeMap,
    io,
    net::Ipv4Addr,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, Result};
use rand::Rng;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::locked;

/// Who talks to whom: `("orders-0", "postgres")`.
pub(crate) type Pair = (String, String);

/// What happens to what passes a link.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct LinkConditions {
    /// Nothing passes.
    pub(crate) cut: bool,
    /// How much later it arrives.
    pub(crate) delay: Duration,
    /// Of a hundred packets, so many are lost and sent again.
    pub(crate) lost_percent: u32,
}

/// What Linux waits at least before it sends again what was not acknowledged.
const RETRANSMISSION: Duration = Duration::from_millis(200);

const PACKET_BYTES: usize = 16 * 1_024;

/// Packets on their way in one direction of a connection; the sender waits when there are more.
const ON_THE_WAY_MAX: usize = 64;

#[derive(Debug)]
struct Link {
    port: u16,
    weather: watch::Sender<LinkConditions>,
}

/// Which pair the connection belongs to that comes from a port, for whoever asks who is connected.
type Sources = Arc<Mutex<BTreeMap<u16, Pair>>>;

/// All links.
#[derive(Debug, Default)]
pub(crate) struct Network {
    links: BTreeMap<Pair, Link>,
    sources: Sources,
    tasks: JoinSet<()>,
}

impl Network {
    /// The port at which `from` reaches `to`, who listens at `target`.
    pub(crate) async fn link(&mut self, from: &str, to: &str, target: u16) -> Result<u16> {
        let pair = (from.to_owned(), to.to_owned());
        if let Some(link) = self.links.get(&pair) {
            return Ok(link.port);
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("opening a port for a link")?;
        let port = listener.local_addr()?.port();
        let (weather, seen) = watch::channel(LinkConditions::default());
        self.tasks.spawn(listen(listener, target, pair.clone(), seen, Arc::clone(&self.sources)));
        self.links.insert(pair, Link { port, weather });
        Ok(port)
    }

    /// Changes the weather on every link that `which` says yes to.
    pub(crate) fn change(&self, weather: LinkConditions, which: impl Fn(&Pair) -> bool) {
        for (_, link) in self.links.iter().filter(|(pair, _)| which(pair)) {
            link.weather.send_replace(weather);
        }
    }

    /// Which pair the connection belongs to whose far end sees it come from this port.
    pub(crate) fn pair_behind(&self, port: u16) -> Option<Pair> {
        locked(&self.sources).get(&port).cloned()
    }
}

async fn listen(
    listener: TcpListener,
    target: u16,
    pair: Pair,
    weather: watch::Receiver<LinkConditions>,
    sources: Sources,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((near, _)) = accepted {
                    connections.spawn(connect(near, target, pair.clone(), weather.clone(), Arc::clone(&sources)));
                }
            }
            Some(_ended) = connections.join_next() => {}
        }
    }
}

async fn connect(
    near: TcpStream,
    target: u16,
    pair: Pair,
    mut weather: watch::Receiver<LinkConditions>,
    sources: Sources,
) {
    open(&mut weather).await;
    // Refused: the near end sees its connection closed.
    let Ok(far) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await else { return };
    let Ok(source) = far.local_addr() else { return };
    near.set_nodelay(true).ok();
    far.set_nodelay(true).ok();
    locked(&sources).insert(source.port(), pair);
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    tokio::join!(carry(near_read, far_write, weather.clone()), carry(far_read, near_write, weather));
    locked(&sources).remove(&source.port());
}

/// Waits until something passes.
async fn open(weather: &mut watch::Receiver<LinkConditions>) {
    // The network is gone when nobody can change its weather any more.
    weather.wait_for(|now| !now.cut).await.ok();
}

/// Carries one direction until its sender is done or its receiver is gone.
async fn carry(from: OwnedReadHalf, to: OwnedWriteHalf, weather: watch::Receiver<LinkConditions>) {
    let (send, on_the_way) = mpsc::channel(ON_THE_WAY_MAX);
    let (taken, given) = tokio::join!(take(from, send, weather.clone()), give(to, on_the_way, weather));
    // Broken off at one end, it is broken off at the other: both halves are dropped here.
    drop((taken, given));
}

async fn take(
    mut from: OwnedReadHalf,
    send: mpsc::Sender<(Instant, Vec<u8>)>,
    weather: watch::Receiver<LinkConditions>,
) -> io::Result<()> {
    let mut packet = vec![0; PACKET_BYTES];
    loop {
        let read = tokio::select! {
            read = from.read(&mut packet) => read?,
            () = send.closed() => return Ok(()),
        };
        let LinkConditions { delay, lost_percent, .. } = *weather.borrow();
        let is_lost = lost_percent > 0 && rand::rng().random_range(0..100) < lost_percent;
        let arrives = Instant::now() + delay + if is_lost { RETRANSMISSION } else { Duration::ZERO };
        // An empty packet says that there are no more.
        let sent = send.send((arrives, packet.get(..read).unwrap_or_default().to_vec())).await;
        if read == 0 || sent.is_err() {
            return Ok(());
        }
    }
}

async fn give(
    mut to: OwnedWriteHalf,
    mut on_the_way: mpsc::Receiver<(Instant, Vec<u8>)>,
    mut weather: watch::Receiver<LinkConditions>,
) -> io::Result<()> {
    while let Some((arrives, packet)) = on_the_way.recv().await {
        if arrives > Instant::now() {
            sleep_until(arrives).await;
        }
        open(&mut weather).await;
        if packet.is_empty() {
            return to.shutdown().await;
        }
        to.write_all(&packet).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, time::Duration};

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
        time::{Instant, timeout},
    };

    use super::{LinkConditions, Network};

    /// Both ends of a connection over a link, and the network.
    async fn connected() -> (Network, TcpStream, TcpStream) {
        let far = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let mut network = Network::default();
        let port = network.link("a", "b", far.local_addr().unwrap().port()).await.unwrap();
        let near = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        let (far, _) = far.accept().await.unwrap();
        (network, near, far)
    }

    #[tokio::test]
    async fn a_link_carries_both_ways_and_knows_whose_connection_it_is() {
        let (network, mut near, mut far) = connected().await;
        near.write_all(b"ping").await.unwrap();
        let mut heard = [0; 4];
        far.read_exact(&mut heard).await.unwrap();
        far.write_all(b"pong").await.unwrap();
        near.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"pong");
        let pair = network.pair_behind(far.peer_addr().unwrap().port());
        assert_eq!(pair, Some(("a".to_owned(), "b".to_owned())));
        drop(near);
        assert_eq!(far.read(&mut heard).await.unwrap(), 0, "whoever hangs up is heard to");
    }

    #[tokio::test]
    async fn nothing_passes_a_cut_and_nothing_is_lost_by_it() {
        let (network, mut near, mut far) = connected().await;
        network.change(LinkConditions { cut: true, ..LinkConditions::default() }, |pair| pair.0 == "a");
        near.write_all(b"ping").await.unwrap();
        let mut heard = [0; 4];
        assert!(timeout(Duration::from_millis(100), far.read_exact(&mut heard)).await.is_err());
        network.change(LinkConditions::default(), |_all| true);
        far.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"ping");
    }

    #[tokio::test]
    async fn bad_weather_makes_it_late() {
        let (network, mut near, mut far) = connected().await;
        let weather = LinkConditions { cut: false, delay: Duration::from_millis(50), lost_percent: 100 };
        network.change(weather, |_all| true);
        let sent = Instant::now();
        near.write_all(b"ping").await.unwrap();
        far.read_exact(&mut [0; 4]).await.unwrap();
        assert!(sent.elapsed() >= Duration::from_millis(250));
    }
}
