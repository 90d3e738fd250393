//! A collector of traces that takes all it is told and keeps none of it.

use anyhow::{Result, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Listens for as long as this process runs. Where it does.
pub(super) async fn start() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/v1/traces", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            tokio::spawn(async move { while take(&mut connection).await.is_ok() {} });
        }
    });
    Ok(url)
}

/// Takes one request.
async fn take(connection: &mut TcpStream) -> Result<()> {
    let mut read = Vec::new();
    let whole = loop {
        ensure!(connection.read_buf(&mut read).await? > 0, "the connection has ended");
        let Some(head) = read.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let lines = String::from_utf8_lossy(read.get(..head).unwrap_or_default()).to_lowercase();
        let length = lines.lines().find_map(|line| line.strip_prefix("content-length:"));
        break head + 4 + length.unwrap_or("0").trim().parse::<usize>()?;
    };
    while read.len() < whole {
        ensure!(connection.read_buf(&mut read).await? > 0, "a request broke off");
    }
    Ok(connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await?)
}
