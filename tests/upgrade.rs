//! Moving from long-polling to WebSocket: nothing is lost, repeated or overtaken, and a failed attempt costs nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::{sync::Arc, time::Duration};

use native_websocket_service::{link::Ending, service::Refusal};
use support::{
    Admissions, Polling, TestServer, Ws,
    client::{polling, upgrade},
    config, event, number,
    random::Random,
    within,
};
use tokio::task::JoinSet;

/// Sessions of a stress test.
const SESSIONS: usize = 400;
/// Sessions at one time.
const AT_ONCE: usize = 8;
/// Numbered packets in each direction.
const NUMBERS: u64 = 200;

/// The numbers of the packets, heartbeats left out.
fn numbers(packets: &[String]) -> Vec<u64> {
    packets
        .iter()
        .filter(|packet| *packet != "2")
        .map(|packet| number(packet))
        .collect()
}

async fn migrate(server: Arc<TestServer>, seed: u64) {
    let mut random = Random::new(seed);
    let (mut client, id) = polling(&server).await;
    let socket = server.socket(&id);
    socket.set_interest(|interest| interest.any = true);
    let sender = tokio::spawn({
        let (server, id, pause) = (server.clone(), id.clone(), random.below(40));
        async move {
            for number in 0..NUMBERS {
                server.count_to(&id, number..number + 1);
                if pause > 0 && number % (pause as u64) == 0 {
                    tokio::task::yield_now().await;
                }
            }
            server.service().emit_to_socket(&id, event("[\"end\"]"), false);
        }
    });
    let mut received = Vec::new();
    // Some polls before the upgrade, some after the server is done.
    for _ in 0..random.below(3) {
        received.push(client.packet().await.unwrap());
    }
    if received.iter().all(|packet| packet != "42[\"end\"]") {
        while let Some(packet) = client.take_received() {
            received.push(packet);
        }
    }
    let half = NUMBERS / 2;
    let own = |range: std::ops::Range<u64>| range.map(|number| format!("42[\"own\",{number}]")).collect::<Vec<_>>();
    client.send(&own(0..half).join("\u{1e}")).await;
    let mut ws = upgrade(&client, random.below(2) == 0, &mut received).await;
    for packet in own(half..NUMBERS) {
        ws.send(packet).await;
    }
    while received.last().is_none_or(|packet| packet != "42[\"end\"]") {
        received.push(ws.packet().await.expect("an open stream"));
    }
    received.pop();
    assert_eq!(numbers(&received), (0..NUMBERS).collect::<Vec<_>>(), "SEED={seed}");
    // Comes after them, so that all of them have been handled.
    ws.send("420[\"room:leave\",{\"roomId\":\"x\"}]").await;
    assert!(ws.packet().await.unwrap().starts_with("430["));
    let heard = server.recorder.own_events(&id);
    assert_eq!(heard, (0..NUMBERS).collect::<Vec<_>>(), "SEED={seed}");
    within("the sender", sender).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_message_arrives_once_and_in_order_while_clients_upgrade() {
    let seed = Random::seed();
    let server = Arc::new(TestServer::start(config()));
    let mut running = JoinSet::new();
    for session in 0..SESSIONS {
        if running.len() == AT_ONCE {
            running.join_next().await.unwrap().unwrap();
        }
        running.spawn(migrate(server.clone(), seed + session as u64));
    }
    while let Some(ended) = running.join_next().await {
        ended.unwrap();
    }
    Arc::into_inner(server).unwrap().end().await;
}

#[tokio::test]
async fn a_probe_that_ends_leaves_the_session_polling() {
    let server = TestServer::start(config());
    let (mut client, id) = polling(&server).await;
    for (index, steps) in [&[][..], &["2probe"], &["2probe", "nonsense"], &["nonsense"]]
        .into_iter()
        .enumerate()
    {
        for bridged in [false, true] {
            let mut ws = Ws::open(server.address, Some(&client.sid), bridged).await;
            for step in steps {
                ws.send(*step).await;
            }
            if steps.first() == Some(&"2probe") {
                assert_eq!(ws.packet().await.unwrap(), "3probe");
            }
            if steps.contains(&"nonsense") {
                assert_eq!(ws.packet().await, None);
            }
            drop(ws);
            let base = index as u64 * 100 + u64::from(bridged) * 10;
            server.count_to(&id, base..base + 3);
            for expected in base..base + 3 {
                assert_eq!(number(&client.packet().await.unwrap()), expected);
            }
        }
    }
    assert_upgrade_works(&server, client, &id).await;
    server.end().await;
}

/// The session can be upgraded after all, and works after that.
async fn assert_upgrade_works(server: &TestServer, client: Polling, id: &str) {
    let mut received = Vec::new();
    let mut ws = upgrade(&client, false, &mut received).await;
    server.count_to(id, 0..10);
    while received.len() < 10 {
        received.push(ws.packet().await.expect("an open stream"));
    }
    assert_eq!(numbers(&received), (0..10).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_probe_that_never_comes_ends_at_the_upgrade_timeout() {
    let mut config = config();
    config.upgrade_timeout = Duration::from_millis(50);
    let server = TestServer::start(config);
    let (mut client, id) = polling(&server).await;
    for bridged in [false, true] {
        let mut ws = Ws::open(server.address, Some(&client.sid), bridged).await;
        assert_eq!(ws.packet().await, None);
        server.count_to(&id, 0..3);
        for expected in 0..3 {
            assert_eq!(number(&client.packet().await.unwrap()), expected);
        }
    }
    client.send("1").await;
    server.end().await;
}

#[tokio::test]
async fn a_socket_disconnected_during_its_upgrade_gets_what_was_sent_before() {
    let server = TestServer::start(config());
    for _ in 0..4 {
        let (client, id) = polling(&server).await;
        let mut received = Vec::new();
        let mut ws = upgrade(&client, false, &mut received).await;
        server.count_to(&id, 0..50);
        server
            .service()
            .disconnect(&server.socket(&id), "bye".into(), Ending::Kick);
        received.extend(ws.rest().await);
        assert_eq!(received.pop().as_deref(), Some("41"));
        assert_eq!(numbers(&received), (0..50).collect::<Vec<_>>());
    }
    server.end().await;
}

#[tokio::test]
async fn an_upgraded_session_no_longer_polls() {
    let server = TestServer::start(config());
    let (client, id) = polling(&server).await;
    let mut ws = upgrade(&client, false, &mut Vec::new()).await;
    ws.send("420[\"room:leave\",{\"roomId\":\"x\"}]").await;
    assert!(ws.packet().await.unwrap().starts_with("430["));
    assert_eq!(client.get().await.0, 400);
    drop(ws);
    server.recorder.disconnected(&id).await;
    server.end().await;
}

/// Decides about everyone who asks, some let in and some refused, and sends those let in something at once.
async fn decide(server: Arc<TestServer>, seed: u64) {
    let mut random = Random::new(seed);
    for _ in 0..SESSIONS {
        let asked = server.recorder.next_admission().await;
        let (server, pause, refuses) = (server.clone(), random.below(40), random.below(2) == 0);
        tokio::spawn(async move {
            for _ in 0..pause {
                tokio::task::yield_now().await;
            }
            if refuses {
                let (message, data) = ("no".to_owned(), None);
                return server.service().decide(&asked, Err(Refusal { message, data }));
            }
            server.service().decide(&asked, Ok(Default::default()));
            while server.service().hub.socket(asked.id()).is_none() && asked.is_connected() {
                tokio::task::yield_now().await;
            }
            server.count_to(asked.id(), 0..20);
        });
    }
}

async fn move_while_asked(server: Arc<TestServer>, seed: u64) {
    let mut random = Random::new(seed);
    let client = Polling::handshake(server.address).await;
    client.send("40").await;
    for _ in 0..random.below(20) {
        tokio::task::yield_now().await;
    }
    let mut received = Vec::new();
    let mut ws = upgrade(&client, random.below(2) == 0, &mut received).await;
    while received.is_empty() {
        received.push(ws.packet().await.expect("an open stream"));
    }
    if received[0].starts_with("40{") {
        while received.len() < 21 {
            received.push(ws.packet().await.expect("an open stream"));
        }
        assert_eq!(numbers(&received[1..]), (0..20).collect::<Vec<_>>(), "SEED={seed}");
    } else {
        assert_eq!(received, ["44{\"message\":\"no\"}"], "SEED={seed}");
    }
    // Answered behind everything else, and nothing was there.
    ws.send("40/none,").await;
    let fence = ws.packet().await.expect("an open stream");
    assert!(fence.starts_with("44/none,"), "{fence} SEED={seed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_answer_to_connect_comes_whenever_the_client_moves() {
    let seed = Random::seed();
    let server = Arc::new(TestServer::start(config()));
    server.service().set_admits(true);
    *server.recorder.admissions.lock() = Admissions::Ignore;
    let deciding = tokio::spawn(decide(server.clone(), seed));
    let mut running = JoinSet::new();
    for session in 0..SESSIONS {
        if running.len() == AT_ONCE {
            running.join_next().await.unwrap().unwrap();
        }
        running.spawn(move_while_asked(server.clone(), seed + session as u64));
    }
    while let Some(ended) = running.join_next().await {
        ended.unwrap();
    }
    within("every decision", deciding).await.unwrap();
    within("the end of all sessions", server.transport().quiet()).await;
    let server = within("the last decision", async {
        let mut server = server;
        loop {
            match Arc::try_unwrap(server) {
                Ok(server) => return server,
                Err(shared) => server = shared,
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    server.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poll_that_is_open_while_the_client_moves_takes_nothing_away() {
    let server = TestServer::start(config());
    for round in 0..100 {
        let (client, id) = polling(&server).await;
        let mut ws = Ws::open(server.address, Some(&client.sid), round % 2 == 0).await;
        ws.send("2probe").await;
        assert_eq!(ws.packet().await.unwrap(), "3probe");
        // As no client should: it polls once more, and does not wait for the end of that.
        let open_poll = tokio::spawn({
            let client = client.clone();
            async move { client.get().await }
        });
        if round % 3 == 0 {
            tokio::task::yield_now().await;
        }
        server.count_to(&id, 0..10);
        ws.send("5").await;
        server.count_to(&id, 10..20);
        let (status, body) = within("the end of the poll", open_poll).await.unwrap();
        let polled = body.split('\u{1e}').filter(|packet| packet.starts_with('4'));
        let mut received: Vec<String> = polled.map(str::to_owned).collect();
        assert!(status == 200 || received.is_empty(), "{status} {body}");
        while received.len() < 20 {
            received.push(ws.packet().await.expect("an open stream"));
        }
        assert_eq!(numbers(&received), (0..20).collect::<Vec<_>>());
    }
    server.end().await;
}

#[tokio::test]
async fn a_client_that_goes_away_before_its_queue_has_drained_leaves_nothing_behind() {
    let server = TestServer::start(config());
    for round in 0..50 {
        let (client, id) = polling(&server).await;
        server.count_to(&id, 0..200);
        let ws = upgrade(&client, round % 2 == 0, &mut Vec::new()).await;
        server.count_to(&id, 200..400);
        drop(ws);
        assert_eq!(server.recorder.disconnected(&id).await, "transport close");
    }
    server.end().await;
}

#[tokio::test]
async fn heartbeats_go_on_after_an_upgrade_and_their_silence_ends_it() {
    let mut config = config();
    config.ping_interval = Duration::from_millis(50);
    // Longer than the interval: the next heartbeat follows the answer, not the end of the time for it.
    config.ping_timeout = Duration::from_millis(500);
    let server = TestServer::start(config);
    for bridged in [false, true] {
        let (client, id) = polling(&server).await;
        let mut ws = upgrade(&client, bridged, &mut Vec::new()).await;
        let began = std::time::Instant::now();
        while ws.pings < 5 {
            server.service().emit_to_socket(&id, event("[\"tick\"]"), false);
            assert_eq!(ws.packet().await.as_deref(), Some("42[\"tick\"]"));
            tokio::task::yield_now().await;
        }
        assert!(began.elapsed() >= Duration::from_millis(200), "{:?}", began.elapsed());
        ws.answers = false;
        assert_eq!(ws.packet().await, None);
        assert_eq!(server.recorder.disconnected(&id).await, "ping timeout");
    }
    server.end().await;
}
