//! How sessions end: slow readers, the server's own disconnects, heartbeats, shutdown.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::time::{Duration, Instant};

use native_websocket_service::{
    config::Config, disconnect::DisconnectReason, link::Ending, selection::Selection, server::Farewell,
};
use support::{Admissions, Client, Polling, TestServer, Ws, client, config, event, within};

/// Bytes that may wait for a slow reader in these tests.
const LIMIT: usize = 256 * 1024;
/// Broadcasts after which the kernel's buffers and the limit must be full.
const MANY: u64 = 2_000;

fn small_queues() -> Config {
    let mut config = config();
    config.limits.max_queued_bytes = LIMIT;
    config
}

#[tokio::test]
async fn a_client_that_stops_reading_is_closed_and_the_others_get_everything() {
    let server = TestServer::start(small_queues());
    let room = server.service().create_room("room", "default");
    let mut readers = Client::each(server.address).await;
    let (slow, slow_id) = client::narrow(&server).await;
    for id in readers.iter().map(|(_, id)| id).chain([&slow_id]) {
        server.service().join_room(id, &room.info.id).unwrap();
    }
    for (client, _) in &mut readers {
        while !client.packet().await.unwrap().contains(&slow_id) {}
    }
    let slow_user = server.socket(&slow_id);
    let padding = "x".repeat(32 * 1024);
    let mut sent = 0;
    while slow_user.is_connected() {
        assert!(sent < MANY, "a client that does not read is still connected");
        let packet = event(&format!("[\"n\",{{\"number\":{sent},\"padding\":\"{padding}\"}}]"));
        server
            .service()
            .broadcast_to_room(&room.info.id, &packet, Selection::default())
            .unwrap();
        for (client, _) in &mut readers {
            let data = loop {
                let packet = client.packet().await.unwrap();
                if packet.starts_with("42[\"n\"") {
                    break packet;
                }
            };
            assert!(data.contains(&format!("\"number\":{sent},")), "{}", &data[..80]);
        }
        sent += 1;
    }
    assert_eq!(server.recorder.disconnected(&slow_id).await, "transport error");
    for (mut client, _) in readers {
        let packet = client.packet().await.unwrap();
        assert!(
            packet.starts_with("42[\"user:left\"") && packet.contains(&slow_id),
            "{packet}"
        );
        client.close().await;
    }
    drop(slow);
    server.end().await;
}

#[tokio::test]
async fn a_polling_client_that_stops_polling_is_closed_at_the_limit() {
    let server = TestServer::start(small_queues());
    let (client, id) = Client::polling(server.address).await;
    let socket = server.socket(&id);
    let packet = event(&format!("[\"n\",\"{}\"]", "x".repeat(32 * 1024)));
    let mut sent = 0;
    while socket.is_connected() {
        assert!(sent < MANY, "a client that does not poll is still connected");
        server.service().send_to(&socket, packet.clone(), false);
        server.service().fanout().flushed().await;
        tokio::task::yield_now().await;
        sent += 1;
    }
    assert_eq!(server.recorder.disconnected(&id).await, "transport error");
    let Client::Polling(polling) = client else {
        unreachable!()
    };
    assert_eq!(polling.get().await.0, 400);
    server.end().await;
}

#[tokio::test]
async fn reading_late_is_no_fault_below_the_limit() {
    let server = TestServer::start(small_queues());
    for (mut client, id) in Client::each(server.address).await {
        let packets = 50;
        server.count_to(&id, 0..packets);
        server.service().emit_to_socket(&id, event("[\"end\"]"), false);
        server.service().fanout().flushed().await;
        assert_eq!(client.numbers().await, (0..packets).collect::<Vec<_>>());
        client.close().await;
    }
    server.end().await;
}

#[tokio::test]
async fn what_was_sent_before_a_disconnect_arrives_before_the_farewell() {
    let server = TestServer::start(config());
    for (mut client, id) in Client::each(server.address).await {
        server.count_to(&id, 0..200);
        assert_eq!(server.service().disconnect_user(&id, &"kicked".into()), 1);
        server.count_to(&id, 200..210);
        let mut packets = Vec::new();
        while let Some(packet) = client.packet().await {
            packets.push(packet);
        }
        assert_eq!(packets.pop().as_deref(), Some("41"));
        let numbers: Vec<_> = packets.iter().map(|packet| support::number(packet)).collect();
        assert_eq!(numbers, (0..200).collect::<Vec<_>>());
        assert_eq!(server.recorder.disconnected(&id).await, "kicked");
    }
    server.end().await;
}

#[tokio::test]
async fn what_a_listener_of_connection_sends_comes_after_the_answer_to_connect() {
    let server = TestServer::start(config());
    *server.recorder.listener.lock() = Some(std::sync::Arc::new(|service: &_, socket: &_| {
        for number in 0..5 {
            service.send_to(socket, event(&format!("[\"n\",{number}]")), false);
        }
    }));
    for (mut client, _) in Client::each(server.address).await {
        for number in 0..5 {
            assert_eq!(support::number(&client.packet().await.unwrap()), number);
        }
        client.close().await;
    }
    server.end().await;
}

#[tokio::test]
async fn a_disconnect_may_leave_the_transport_open() {
    let server = TestServer::start(config());
    for (mut client, id) in Client::each(server.address).await {
        server.count_to(&id, 0..20);
        assert!(
            server
                .service()
                .disconnect(&server.socket(&id), DisconnectReason::ServerLeft, Ending::Leave)
        );
        for number in 0..20 {
            assert_eq!(support::number(&client.packet().await.unwrap()), number);
        }
        assert_eq!(client.packet().await.unwrap(), "41");
        let again = client.connect().await;
        assert_ne!(again, id);
        client.close().await;
    }
    server.end().await;
}

fn quick_heartbeats() -> Config {
    let mut config = config();
    config.ping_interval = Duration::from_millis(60);
    config.ping_timeout = Duration::from_millis(120);
    config
}

#[tokio::test]
async fn the_first_heartbeat_comes_after_an_interval_and_answers_keep_the_session() {
    let config = quick_heartbeats();
    let interval = config.ping_interval;
    let server = TestServer::start(config);
    let opened = Instant::now();
    let mut ws = Ws::handshake(server.address).await;
    ws.send("40").await;
    assert!(ws.packet().await.unwrap().starts_with("40"));
    ws.answers = false;
    while ws.pings == 0 {
        // Heartbeats are counted while a message is awaited; there is none.
        let _ = tokio::time::timeout(Duration::from_millis(5), ws.message()).await;
    }
    assert!(opened.elapsed() >= interval, "{:?}", opened.elapsed());
    ws.send("3").await;
    ws.answers = true;
    while ws.pings < 8 {
        let quiet = tokio::time::timeout(Duration::from_millis(5), ws.message()).await;
        assert!(quiet.is_err(), "{quiet:?}");
    }
    drop(ws);
    server.end().await;
}

#[tokio::test]
async fn a_client_that_does_not_answer_heartbeats_times_out() {
    let server = TestServer::start(quick_heartbeats());
    for bridged in [false, true] {
        let mut ws = match bridged {
            true => Ws::bridged(server.address).await,
            false => Ws::handshake(server.address).await,
        };
        let mut client = Client::Ws({
            ws.answers = false;
            Box::new(ws)
        });
        let id = client.connect().await;
        assert_eq!(client.packet().await, None);
        assert_eq!(server.recorder.disconnected(&id).await, "ping timeout");
    }
    server.end().await;
}

#[tokio::test]
async fn a_polling_client_that_vanishes_times_out() {
    let server = TestServer::start(quick_heartbeats());
    let (client, id) = Client::polling(server.address).await;
    assert_eq!(server.recorder.disconnected(&id).await, "ping timeout");
    let Client::Polling(polling) = client else {
        unreachable!()
    };
    assert_eq!(polling.get().await.0, 400);
    server.end().await;
}

#[tokio::test]
async fn a_polling_client_that_vanishes_during_admission_leaves_nothing_behind() {
    let mut config = quick_heartbeats();
    config.connect_timeout = Duration::from_millis(300);
    let server = TestServer::start(config);
    server.service().set_admits(true);
    *server.recorder.admissions.lock() = Admissions::Ignore;
    let polling = Polling::handshake(server.address).await;
    polling.send("40").await;
    server.recorder.admission().await;
    within("the end of the session", server.transport().quiet()).await;
    server.end().await;
}

#[tokio::test]
async fn shutdown_delivers_what_is_queued_and_refuses_newcomers() {
    let server = TestServer::start(config());
    let clients = Client::each(server.address).await;
    for (_, id) in &clients {
        server.count_to(id, 0..100);
    }
    let shutdown = tokio::spawn(server.server.shutdown(Farewell::default()));
    for (mut client, id) in clients {
        let mut packets = Vec::new();
        while let Some(packet) = client.packet().await {
            packets.push(packet);
        }
        // No DISCONNECT: after that a client would not come back.
        assert!(packets.iter().all(|packet| packet.starts_with("42")), "{packets:?}");
        assert_eq!(packets.len(), 100);
        assert_eq!(server.recorder.disconnected(&id).await, "server_shutdown");
    }
    within("shutdown", shutdown).await.unwrap();
    let url = "/socket.io/?EIO=4&transport=polling";
    let caller = native_websocket_service::transport::Caller::default();
    let refused = server
        .transport()
        .clone()
        .respond("GET", url, Some(caller), None, bytes::Bytes::new())
        .await;
    assert_eq!(refused.status, 503);
    server.end().await;
}

#[tokio::test]
async fn shutdown_ends_in_time_with_clients_that_neither_read_nor_poll() {
    let server = TestServer::start(config());
    let (ws, ws_id) = client::narrow(&server).await;
    let (polling, polling_id) = Client::polling(server.address).await;
    let idle = Ws::handshake(server.address).await;
    let probing = Ws::open(server.address, Some(session(&polling)), false).await;
    let packet = event(&format!("[\"n\",\"{}\"]", "x".repeat(64 * 1024)));
    // More than the kernel takes, less than what ends the connection.
    for id in std::iter::repeat_n(&ws_id, 120).chain([&polling_id]) {
        server.service().emit_to_socket(id, packet.clone(), false);
    }
    let shutdown = server.server.shutdown(Farewell::default());
    let in_time = tokio::time::timeout(Duration::from_secs(10), shutdown).await;
    assert!(in_time.is_ok(), "shutdown took longer than 10 s");
    for id in [&ws_id, &polling_id] {
        assert_eq!(server.recorder.disconnected(id).await, "server_shutdown");
    }
    server.end().await;
    drop((ws, polling, idle, probing));
}

fn session(client: &Client) -> &str {
    match client {
        Client::Polling(polling) => &polling.sid,
        Client::Ws(_) => unreachable!(),
    }
}

#[tokio::test]
async fn a_client_whose_probe_was_answered_is_not_cut_off_by_the_end() {
    let server = TestServer::start(config());
    let (client, id) = support::client::polling(&server).await;
    let mut ws = Ws::open(server.address, Some(&client.sid), false).await;
    ws.send("2probe").await;
    assert_eq!(ws.packet().await.as_deref(), Some("3probe"));
    let socket = server.socket(&id);
    server
        .service()
        .disconnect(&socket, DisconnectReason::Inactive, Ending::Close);
    // engine.io-client waits for ever when it is cut off here.
    let cut = tokio::time::timeout(Duration::from_millis(300), ws.packet()).await;
    assert!(cut.is_err(), "{cut:?}");
    ws.send("5").await;
    assert!(ws.rest().await.iter().all(|packet| !packet.starts_with("42")));
    server.end().await;
}
