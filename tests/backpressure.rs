//! Whose work waits: only the client that causes too much is not read from, and it loses nothing by that.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::time::Duration;

use native_websocket_service::{config::Config, link::Ending};
use support::{Admissions, Client, TestServer, Ws, config, event, number, until, within};

/// Far more events than one client may have waiting.
const FLOOD: u64 = 5_000;
/// What one client may have waiting, as a number of small events.
const SHARE: usize = 512;

fn quick_heartbeats() -> Config {
    Config {
        ping_interval: Duration::from_millis(100),
        ping_timeout: Duration::from_millis(200),
        ..config()
    }
}

fn own(number: u64) -> String {
    format!("42[\"own\",{number}]")
}

/// Sends `["own", 0]`, `["own", 1]`, … for as long as the server takes them, and answers heartbeats.
fn flood(mut client: Ws) -> tokio::task::JoinHandle<Ws> {
    tokio::spawn(async move {
        for number in 0..FLOOD {
            client.send(own(number)).await;
        }
        client
    })
}

/// Every built-in event of a client is answered, and its heartbeats go on.
async fn assert_served(client: &mut Client, room: &str) {
    for id in 0..20 {
        let answer = client
            .ask(id, &format!("[\"room:join\",{{\"roomId\":\"{room}\"}}]"))
            .await;
        assert_eq!(answer["ok"], true, "{answer}");
    }
}

#[tokio::test]
async fn only_the_client_that_javascript_cannot_keep_up_with_pauses() {
    let server = TestServer::start(quick_heartbeats());
    let room = server.service().create_room("r", "default");
    let (Client::Ws(flooder), flooder_id) = Client::ws(server.address).await else {
        unreachable!()
    };
    server.socket(&flooder_id).set_interest(|interest| interest.any = true);
    let mut others = Client::each(server.address).await;
    server.recorder.stall();
    let flooding = flood(*flooder);
    until("a full account", || server.service().budget().paused() == 1).await;
    let taken = server.recorder.own_events(&flooder_id).len();
    assert!((SHARE - 1..=SHARE).contains(&taken), "{taken} events");
    // For many heartbeats the others are served, and the one that pauses is not taken for dead.
    let until = tokio::time::Instant::now() + 6 * quick_heartbeats().ping_timeout;
    while tokio::time::Instant::now() < until {
        for (client, _) in &mut others {
            assert_served(client, &room.info.id).await;
        }
    }
    assert_eq!(server.recorder.own_events(&flooder_id).len(), taken);
    server.recorder.resume();
    let mut flooder = within("the rest of the flood", flooding).await.unwrap();
    flooder.send("42[\"own\",0]").await;
    support::until("every event", || {
        server.recorder.own_events(&flooder_id).len() > usize::try_from(FLOOD).unwrap()
    })
    .await;
    let heard = server.recorder.own_events(&flooder_id);
    assert!(heard[..heard.len() - 1].iter().copied().eq(0..FLOOD), "in order");
    drop(flooder);
    for (client, _) in others {
        client.close().await;
    }
    server.end().await;
}

#[tokio::test]
async fn a_request_of_many_small_events_waits_for_javascript_like_a_stream_of_them() {
    let server = TestServer::start(quick_heartbeats());
    let (Client::Polling(polling), id) = Client::polling(server.address).await else {
        unreachable!()
    };
    server.socket(&id).set_interest(|interest| interest.any = true);
    server.recorder.stall();
    let body = (0..FLOOD).map(own).collect::<Vec<_>>().join("\u{1e}");
    let posting = tokio::spawn({
        let polling = polling.clone();
        async move { polling.post(&body).await }
    });
    until("a full account", || server.service().budget().paused() == 1).await;
    // That its time is over and nothing happens is what is tested.
    tokio::time::sleep(4 * quick_heartbeats().ping_timeout).await;
    let taken = server.recorder.own_events(&id).len();
    assert!((SHARE - 1..=SHARE).contains(&taken), "{taken} events");
    assert!(
        server.socket(&id).is_connected(),
        "its heartbeats cannot be read meanwhile"
    );
    server.recorder.resume();
    assert_eq!(within("the answer", posting).await.unwrap(), (200, "ok".to_owned()));
    assert!(server.recorder.own_events(&id).iter().copied().eq(0..FLOOD), "in order");
    Client::Polling(polling).close().await;
    server.end().await;
}

#[tokio::test]
async fn packets_before_the_answer_to_connect_are_bounded_by_their_bytes() {
    const LARGE: usize = 200_000;
    const COUNT: u64 = 40;
    let server = TestServer::start(config());
    server.service().set_admits(true);
    *server.recorder.admissions.lock() = Admissions::Ignore;
    let mut client = Ws::handshake(server.address).await;
    client.send("40").await;
    let socket = server.recorder.admission().await;
    socket.set_interest(|interest| interest.any = true);
    let sending = tokio::spawn(async move {
        let filler = "x".repeat(LARGE);
        for number in 0..COUNT {
            client.send(format!("42[\"own\",{number},\"{filler}\"]")).await;
        }
        client
    });
    until("a full account", || server.service().budget().paused() == 1).await;
    let waiting = server.service().budget().waiting();
    assert!((LARGE..4 * LARGE).contains(&waiting), "{waiting} bytes");
    server.service().decide(&socket, Ok(Default::default()));
    let mut client = within("the rest", sending).await.unwrap();
    assert!(client.packet().await.unwrap().starts_with("40{"));
    client.send("420[\"room:join\",{}]").await;
    while !client.packet().await.unwrap().starts_with("430") {}
    let told = server
        .recorder
        .events()
        .iter()
        .filter(|event| is_large(event, LARGE))
        .count();
    assert_eq!(told, usize::try_from(COUNT).unwrap());
    until("an empty account", || server.service().budget().waiting() == 0).await;
    drop(client);
    server.end().await;
}

fn is_large(event: &native_websocket_service::ports::ServiceEvent, size: usize) -> bool {
    matches!(event, native_websocket_service::ports::ServiceEvent::Client { args, .. } if args.len() > size)
}

#[tokio::test]
async fn a_client_that_pauses_is_seen_to_go() {
    let server = TestServer::start(config());
    let (Client::Ws(flooder), id) = Client::ws(server.address).await else {
        unreachable!()
    };
    server.socket(&id).set_interest(|interest| interest.any = true);
    server.recorder.stall();
    let flooding = flood(*flooder);
    until("a full account", || server.service().budget().paused() == 1).await;
    let socket = server.socket(&id);
    server.service().disconnect(&socket, "kicked".into(), Ending::Kick);
    flooding.abort();
    server.recorder.resume();
    server.end().await;
}

#[tokio::test]
async fn silence_while_javascript_is_busy_is_not_the_clients() {
    let server = TestServer::start(quick_heartbeats());
    let (polling, polling_id) = support::client::polling(&server).await;
    let (vanished, vanished_id) = support::client::polling(&server).await;
    server.recorder.stall();
    // Neither polls nor posts: it would have to go through Node.js. That its time is over is what is tested.
    tokio::time::sleep(5 * quick_heartbeats().ping_timeout).await;
    assert!(server.socket(&polling_id).is_connected() && server.socket(&vanished_id).is_connected());
    server.recorder.resume();
    let mut client = Client::Polling(polling);
    server.service().emit_to_socket(&polling_id, event("[\"n\",1]"), false);
    assert_eq!(number(&client.packet().await.unwrap()), 1);
    // Its clock goes on.
    assert_eq!(server.recorder.disconnected(&vanished_id).await, "ping timeout");
    drop(vanished);
    client.close().await;
    server.end().await;
}

#[tokio::test]
async fn a_packet_that_is_never_finished_counts_until_its_client_is_gone() {
    const ATTACHMENT: usize = 100_000;
    let server = TestServer::start(config());
    let (Client::Ws(mut client), _) = Client::ws(server.address).await else {
        unreachable!()
    };
    client.send("453-[\"own\"]").await;
    for _ in 0..2 {
        client.send_binary(&vec![1; ATTACHMENT]).await;
    }
    let waiting = || server.service().budget().waiting();
    until("two attachments", || waiting() > 2 * ATTACHMENT).await;
    assert_eq!(server.service().budget().paused(), 0, "the third would never arrive");
    client.send_binary(&[1]).await;
    until("the third", || waiting() == 0).await;
    client.send("452-[\"own\"]").await;
    client.send_binary(&vec![1; ATTACHMENT]).await;
    until("an attachment", || waiting() > ATTACHMENT).await;
    drop(client);
    until("nothing", || waiting() == 0).await;
    server.end().await;
}
