//! A pooler between a worker and Postgres: it does not hand on the settings that a session starts with, as those that pool transactions
//! are told not to. Statements of one worker would run in the session of another.

use std::{collections::BTreeMap, net::SocketAddr};

use holdfast_tests::{Order, TestFleet, is_accepted};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

/// Passes on what comes to it, but for a session's own settings.
async fn pool(upstream: u16) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let startup = without_options(&mut client).await?;
                let mut server = TcpStream::connect(("127.0.0.1", upstream)).await?;
                server.write_all(&startup).await?;
                copy_bidirectional(&mut client, &mut server).await.map(drop)
            });
        }
    });
    address
}

/// A client's first message, without its settings: length, version of the protocol, then names and values, each with a zero behind it.
async fn without_options(client: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let length = usize::try_from(client.read_u32().await?).unwrap();
    let mut message = vec![0; length - 4];
    client.read_exact(&mut message).await?;
    let (version, parameters) = message.split_at(4);
    let texts: Vec<&[u8]> = parameters.split(|byte| *byte == 0).collect();
    let mut kept = version.to_vec();
    for pair in texts.chunks(2) {
        let &[name, value] = pair else { continue };
        if ["user", "database", "application_name"].iter().any(|kept| kept.as_bytes() == name) {
            kept.extend([name, &[0], value, &[0]].concat());
        }
    }
    kept.push(0);
    let length = u32::try_from(kept.len() + 4).unwrap();
    Ok([&length.to_be_bytes()[..], &kept].concat())
}

#[tokio::test]
async fn a_worker_does_not_work_behind_a_pooler_that_keeps_its_settings_from_it() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 10).await.unwrap();
    {
        let mut processes = fleet.processes().await;
        let pooler = pool(processes.postgres.port()).await;
        let url = format!("postgres://holdfast_orders@{pooler}/holdfast?sslmode=disable");
        processes.stop_worker("orders", 0).await.unwrap();
        let settings = BTreeMap::from([("HOLDFAST_DATABASE_URL".to_owned(), url)]);
        processes.start_worker_with("orders", 0, &settings).unwrap();
    }
    fleet.until_unready("orders-0", &["search_path", "must pool sessions, not transactions"]).await.unwrap();
    {
        let mut processes = fleet.processes().await;
        processes.stop_worker("orders", 0).await.unwrap();
        processes.start_worker("orders", 0).unwrap();
    }
    assert!(is_accepted(&fleet.place(&Order::new(1).line("MUG", 1)).await.unwrap()));
    fleet.settle_and_verify().await.unwrap();
}
