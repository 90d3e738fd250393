//! Headers as they come over a connection: what a client is thought to read, it reads, and nothing else breaks its connection.
//!
//! The client is the one that workers use; at the other end is a socket that says what it is told. A message that breaks the
//! connection of whoever is handed it, and is not known for it, comes again for ever.

use std::{cell::RefCell, time::Duration};

use anyhow::{Context, Result, bail, ensure as must};
use async_nats::{Client, ConnectOptions, HeaderMap, Subscriber};
use futures::{FutureExt, StreamExt};
use runtime::simulation::has_readable_headers;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
    time::timeout,
};

use super::{Checked, Shape, Target, ensure, headless};
use crate::attempt::{about, forget_panic};

pub(super) const TARGET: Target = Target {
    name: "frames",
    shape: Shape::Text,
    heads: headless,
    tokens: &[
        "NATS/1.0\r\n",
        "NATS/1.0 100 Idle Heartbeat\r\n",
        "NATS/1.0 503\r\n",
        "\r\n",
        "\r",
        "\n",
        "\n\r",
        " ",
        "\t",
        ":",
        "a: b\r\n",
        "a: b\r\n c\r\n",
        "a: b\r\n \rc\r\n",
        "a: b\r\r\n",
        "ce-id: 6f1d0c2e-8a51-4b7e-9d3a-2f4c5b6a7d81\r\n",
        "\u{b}",
        "\u{c}",
        "\u{85}",
        "\u{a0}",
        "\u{2003}",
        "\u{2028}",
        "\u{feff}",
        "\0",
    ],
    seeds,
    check,
};

/// Nothing on one machine takes longer.
const PATIENCE: Duration = Duration::from_secs(10);

fn seeds() -> Vec<Vec<u8>> {
    let blocks = [
        "NATS/1.0\r\nce-id: 6f1d0c2e-8a51-4b7e-9d3a-2f4c5b6a7d81\r\nreply-to: _INBOX.a\r\n\r\n",
        "NATS/1.0 100 Idle Heartbeat\r\nnote: two\r\n lines\r\n\r\n",
        "NATS/1.0\r\n\r\n",
    ];
    blocks.map(|block| block.as_bytes().to_vec()).to_vec()
}

thread_local! {
    static PEER: RefCell<Peer> = RefCell::new(Peer {
        runtime: Builder::new_current_thread().enable_all().build().unwrap(),
        link: None,
    });
}

fn check(input: &[u8]) -> Checked {
    let thought = has_readable_headers(input);
    let read =
        PEER.with_borrow_mut(|peer| peer.send(input)).map_err(|error| format!("the peers fell out: {error:#}"))?;
    // It panics over some of what it cannot read: just what workers are to be kept from.
    forget_panic();
    let count = read.as_ref().map_or(0, |headers| headers.len());
    ensure(thought == read.is_some(), || {
        if thought { "breaks a client, and nobody knows" } else { "a client reads it, and it is set aside" }.to_owned()
    })?;
    Ok(format!("{thought}, {} headers, {}", about(count), classes(input)))
}

/// Of what kinds the bytes are, one after the other.
fn classes(input: &[u8]) -> String {
    let class = |byte: &u8| match byte {
        b'\r' => 'r',
        b'\n' => 'n',
        b':' => ':',
        b' ' | b'\t' => '_',
        0x21..=0x7e => 'a',
        0x80.. => 'h',
        _ => 'c',
    };
    let mut classes: Vec<char> = input.iter().skip(8).map(class).collect();
    classes.dedup();
    classes.into_iter().take(24).collect()
}

struct Peer {
    runtime: Runtime,
    link: Option<Link>,
}

struct Link {
    socket: TcpStream,
    subscriber: Subscriber,
    _client: Client,
    sid: String,
}

impl Peer {
    /// Hands a message with these headers to a client: what it has read, unless its connection broke.
    fn send(&mut self, headers: &[u8]) -> Result<Option<HeaderMap>> {
        self.runtime.block_on(async {
            let mut link = match self.link.take() {
                Some(link) => link,
                None => timeout(PATIENCE, Link::make()).await.context("nobody connects")??,
            };
            let read = timeout(PATIENCE, link.send(headers)).await.context("nothing happens")??;
            if read.is_some() {
                self.link = Some(link);
            }
            Ok(read)
        })
    }
}

impl Link {
    async fn make() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("nats://{}", listener.local_addr()?);
        // The listener is gone by then, so trying again ends at once, and with it the connection that broke.
        let options = ConnectOptions::new().max_reconnects(1).reconnect_delay_callback(|_tries| Duration::ZERO);
        let connecting = options.connect(url);
        let accepting = async {
            let (mut socket, _) = listener.accept().await?;
            socket.set_nodelay(true)?;
            // Thousands of connections a second end here: none is to linger.
            socket.set_zero_linger()?;
            let info = "INFO {\"version\":\"2.14.0\",\"max_payload\":1048576,\"headers\":true,\"proto\":1}\r\n";
            socket.write_all(info.as_bytes()).await?;
            said(&mut socket, "PING\r\n").await?.context("the client hung up")?;
            socket.write_all(b"PONG\r\n").await?;
            anyhow::Ok(socket)
        };
        let (client, socket) = tokio::join!(connecting, accepting);
        let (client, mut socket) = (client?, socket?);
        let subscriber = client.subscribe("frames").await?;
        client.flush().await?;
        socket.write_all(b"PING\r\n").await?;
        let said = said(&mut socket, "PONG\r\n").await?.context("the client hung up")?;
        let subscribed = said.lines().find(|line| line.starts_with("SUB ")).context("nobody subscribes")?;
        let sid = subscribed.rsplit(' ').next().unwrap_or_default().to_owned();
        Ok(Self { socket, subscriber, _client: client, sid })
    }

    async fn send(&mut self, headers: &[u8]) -> Result<Option<HeaderMap>> {
        let length = headers.len();
        let frame = format!("HMSG frames {} {length} {length}\r\n", self.sid);
        // What it answers to the ping comes after what it makes of the message.
        let frame = [frame.as_bytes(), headers, b"\r\nPING\r\n"].concat();
        if self.socket.write_all(&frame).await.is_err() || said(&mut self.socket, "PONG\r\n").await?.is_none() {
            return Ok(None);
        }
        let Some(Some(message)) = self.subscriber.next().now_or_never() else { bail!("the message went nowhere") };
        must!(message.payload.is_empty(), "the message has got a body");
        Ok(Some(message.headers.unwrap_or_default()))
    }
}

/// What the client says until it says this. `None`: it hung up.
async fn said(socket: &mut TcpStream, end: &str) -> Result<Option<String>> {
    let mut said = Vec::new();
    while !said.ends_with(end.as_bytes()) {
        if !matches!(socket.read_buf(&mut said).await, Ok(1..)) {
            return Ok(None);
        }
    }
    Ok(Some(String::from_utf8(said)?))
}
