//! Clients that read slowly, or not at all: who is closed, and who is waited for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::time::Duration;

use native_websocket_service::{
    config::Config,
    selection::{Selection, names},
    wire::packet::Packet,
};
use support::{Client, TestServer, client, config, event, until, within};

/// Bytes that may wait for a client that reads nothing.
const LIMIT: usize = 256 * 1024;
const PACKET: usize = 16 * 1024;
const STALL: Duration = Duration::from_millis(400);

fn small_queues() -> Config {
    let mut config = config();
    config.limits.max_queued_bytes = LIMIT;
    config.limits.stall = STALL;
    config
}

fn large(number: usize) -> Packet {
    event(&format!("[\"n\",{number},\"{}\"]", "x".repeat(PACKET)))
}

/// Sends until so many bytes wait for the client. Returns how many packets that took.
async fn fill(server: &TestServer, id: &str, bytes: usize) -> usize {
    let socket = server.socket(id);
    let mut sent = 0;
    while socket.link().waiting() < bytes {
        server.service().send_to(&socket, large(sent), false);
        server.service().fanout().flushed().await;
        sent += 1;
        assert!(socket.is_connected(), "closed after {sent} packets");
    }
    sent
}

#[tokio::test]
async fn a_client_that_reads_may_fall_behind_further_than_one_that_does_not() {
    let server = TestServer::start(small_queues());
    let (mut reader, id) = client::narrow(&server).await;
    let sent = fill(&server, &id, 2 * LIMIT).await;
    // Slowly, for much longer than a client may read nothing.
    for number in 0..sent {
        if number % 8 == 0 {
            tokio::time::sleep(STALL / 8).await;
        }
        let packet = reader.packet().await.expect("still connected");
        assert!(packet.starts_with(&format!("42[\"n\",{number},")), "{number}");
    }
    drop(reader);
    server.end().await;
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_closed_beyond_the_limit_and_not_below_it() {
    let server = TestServer::start(small_queues());
    let (below, below_id) = client::narrow(&server).await;
    let (beyond, beyond_id) = client::narrow(&server).await;
    fill(&server, &below_id, LIMIT - 2 * PACKET).await;
    fill(&server, &beyond_id, LIMIT + PACKET).await;
    assert_eq!(server.recorder.disconnected(&beyond_id).await, "transport error");
    let below_socket = server.socket(&below_id);
    until("a look that finds that it reads nothing", || {
        below_socket.link().awaited() == 0
    })
    .await;
    assert!(below_socket.is_connected());
    drop((below, beyond));
    server.end().await;
}

#[tokio::test]
async fn far_too_much_closes_any_client_at_once() {
    let mut config = small_queues();
    config.limits.stall = Duration::from_secs(3600);
    let server = TestServer::start(config);
    let (client, id) = client::narrow(&server).await;
    fill(&server, &id, 4 * LIMIT - 2 * PACKET).await;
    assert!(server.socket(&id).is_connected());
    let socket = server.socket(&id);
    for number in 0..4 {
        server.service().send_to(&socket, large(number), false);
    }
    assert_eq!(server.recorder.disconnected(&id).await, "transport error");
    drop(client);
    server.end().await;
}

#[tokio::test]
async fn a_polling_client_is_measured_by_what_its_polls_take() {
    let server = TestServer::start(small_queues());
    let (polling, id) = support::client::polling(&server).await;
    let mut client = Client::Polling(polling);
    let sent = fill(&server, &id, 2 * LIMIT).await;
    for _ in 0..sent {
        client.packet().await.expect("still connected");
    }
    fill(&server, &id, LIMIT + PACKET).await;
    assert_eq!(server.recorder.disconnected(&id).await, "transport error");
    server.end().await;
}

#[tokio::test]
async fn a_sender_waits_for_those_it_sent_to_and_for_nobody_else() {
    let mut config = small_queues();
    config.limits.stall = Duration::from_secs(3600);
    let server = TestServer::start(config);
    let service = server.service().clone();
    let room = service.create_room("r", "default");
    let (mut slow, slow_id) = client::narrow(&server).await;
    let (quick, quick_id) = client::narrow(&server).await;
    for id in [&slow_id, &quick_id] {
        service.join_room(id, &room.info.id).unwrap();
    }
    let socket = server.socket(&slow_id);
    let sent = fill(&server, &slow_id, LIMIT).await;
    let quick_user = [quick_id.clone()];
    for others in [
        Selection::room(&quick_id),
        Selection::users(names(&quick_user)),
        Selection::room(&room.info.id).but(&slow_id),
        Selection::default().but(&slow_id),
    ] {
        within("a send to others", service.eased(&others)).await;
    }
    let json = |part: &str| serde_json::from_str::<Selection<'static>>(part).unwrap();
    for selection in [
        json(&format!("{{\"rooms\":[\"{slow_id}\"]}}")),
        json(&format!("{{\"users\":[\"{slow_id}\",\"{quick_id}\"]}}")),
        json(&format!("{{\"rooms\":[\"{}\"]}}", room.info.id)),
        Selection::default(),
    ] {
        let missing = LIMIT.saturating_sub(socket.link().waiting()) / PACKET;
        for number in 0..missing {
            service.send_to(&socket, large(sent + number), false);
        }
        service.fanout().flushed().await;
        let waiting = {
            let (service, selection) = (service.clone(), selection.clone());
            tokio::spawn(async move { service.eased(&selection).await })
        };
        while socket.link().waiting() >= LIMIT / 2 {
            assert!(!waiting.is_finished(), "{selection:?} did not wait");
            slow.packet().await.unwrap();
        }
        within("the sender", waiting).await.unwrap();
    }
    drop((slow, quick));
    server.end().await;
}

#[tokio::test]
async fn senders_no_longer_wait_for_a_client_that_was_seen_to_read_nothing() {
    let server = TestServer::start(small_queues());
    let (mut client, id) = client::narrow(&server).await;
    let sent = fill(&server, &id, LIMIT / 2).await;
    let socket = server.socket(&id);
    assert!(socket.link().awaited() >= LIMIT / 2);
    within("a sender", server.service().eased(&Selection::room(&id))).await;
    until("a stalled client", || socket.link().awaited() == 0).await;
    assert!(socket.link().waiting() >= LIMIT / 2);
    // Until it reads again.
    for _ in 0..sent {
        client.packet().await.expect("still connected");
    }
    fill(&server, &id, LIMIT / 2).await;
    assert!(socket.link().awaited() >= LIMIT / 2);
    drop(client);
    server.end().await;
}
