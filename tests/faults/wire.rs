//! Messages whose very frame is malformed: they must not cost a service its connection, nor any other message its turn.

use futures::future::join_all;
use holdfast_tests::{Order, TestFleet, eventually, is_accepted};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

/// Publishes bytes as they are, past every check of a client library.
pub(crate) async fn publish(fleet: &TestFleet, subject: &[u8], headers: Option<&[u8]>, payload: &[u8]) {
    let address = fleet.address.broker_url.strip_prefix("nats://").unwrap();
    let mut socket = BufReader::new(TcpStream::connect(address).await.unwrap());
    let mut message = b"CONNECT {\"verbose\":false,\"headers\":true}\r\n".to_vec();
    let sizes = match headers {
        Some(headers) => format!(" {} {}\r\n", headers.len(), headers.len() + payload.len()),
        None => format!(" {}\r\n", payload.len()),
    };
    message.extend_from_slice(if headers.is_some() { b"HPUB " } else { b"PUB " });
    message.extend_from_slice(subject);
    message.extend_from_slice(sizes.as_bytes());
    message.extend_from_slice(headers.unwrap_or_default());
    message.extend_from_slice(payload);
    message.extend_from_slice(b"\r\nPING\r\n");
    socket.write_all(&message).await.unwrap();
    let mut line = String::new();
    while !line.starts_with("PONG") {
        line.clear();
        assert_ne!(socket.read_line(&mut line).await.unwrap(), 0, "the broker hung up");
        assert!(!line.starts_with("-ERR"), "{line}");
    }
}

/// Other commands go on being answered, and what nobody can read ends as dead letters.
async fn are_set_aside(messages: &[(&[u8], Option<&[u8]>)]) {
    let fleet = TestFleet::with(1, &[]).await.unwrap();
    fleet.stock("MUG", 1_000).await.unwrap();
    for (subject, headers) in messages {
        publish(&fleet, subject, *headers, b"{}").await;
    }
    for round in 0..4_u64 {
        let orders: Vec<Order> = (0..20).map(|number| Order::new(100 * round + number).line("MUG", 1)).collect();
        for reply in join_all(orders.iter().map(|order| fleet.place(order))).await {
            assert!(is_accepted(&reply.unwrap()));
        }
    }
    let wanted = i64::try_from(messages.len()).unwrap();
    fleet.until_at_least("select count(*) from orders.dead_letters", wanted).await.unwrap();
    let jetstream = async_nats::jetstream::new(fleet.client.client().clone());
    eventually("no command is left", || async {
        Ok(jetstream.get_stream("COMMANDS_ORDERS").await?.cached_info().state.messages == 0)
    })
    .await
    .unwrap();
    fleet.settle_and_verify().await.unwrap();
    assert_eq!(fleet.number("select count(*) from orders.orders where status = 'paid'").await.unwrap(), 80);
    assert_eq!(fleet.number("select count(*) from orders.dead_letters").await.unwrap(), wanted);
}

#[tokio::test]
async fn headers_that_no_client_can_read_are_set_aside() {
    let place: &[u8] = b"cmd.orders.PlaceOrder";
    are_set_aside(&[
        (place, Some(b"NATS/1.0\r\nno colon\r\n\r\n")),
        (place, Some(b"NATS/1.0\r\nce-id: \xff\xfe\r\n\r\n")),
        (place, Some(b"NATS/1.0\r\nna me: x\r\n\r\n")),
        (place, Some(b"no version\r\n\r\n")),
    ])
    .await;
}

#[tokio::test]
async fn a_carriage_return_in_a_header_is_set_aside() {
    let place: &[u8] = b"cmd.orders.PlaceOrder";
    are_set_aside(&[
        (place, Some(b"NATS/1.0\r\nnote: two\rlines\r\n\r\n")),
        (place, Some(b"NATS/1.0\r\nnote: two\r\n \rlines\r\n\r\n")),
    ])
    .await;
}

#[tokio::test]
async fn messages_that_pose_as_the_brokers_own_are_set_aside() {
    let place: &[u8] = b"cmd.orders.PlaceOrder";
    are_set_aside(&[
        (place, Some(b"NATS/1.0 100 Idle Heartbeat\r\n\r\n")),
        (place, Some(b"NATS/1.0 408 Request Timeout\r\n\r\n")),
        (place, Some(b"NATS/1.0 409 Consumer Deleted\r\n\r\n")),
        (place, Some(b"NATS/1.0 503\r\n\r\n")),
    ])
    .await;
}

#[tokio::test]
async fn subjects_that_are_no_text_are_set_aside() {
    are_set_aside(&[
        (b"cmd.orders.\xff\xfe", None),
        (b"cmd.orders.Place\0Order", None),
        ("cmd.orders.Place\u{2003}Order".as_bytes(), Some(b"NATS/1.0\r\nx: y\r\n\r\n")),
    ])
    .await;
}
