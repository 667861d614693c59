//! Clients that lose their connection and come back, over real connections: each event once and in order, whatever happens
//! at the same moment. A failing run is repeated with `SEED=… cargo test`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use native_websocket_service::{
    config::{Config, RecoveryConfig},
    link::Ending,
    ports::ServiceEvent,
    selection::Selection,
};
use parking_lot::Mutex;
use serde_json::Value;
use support::{Client, Polling, TestServer, Ws, config, event, random::Random, until, within};

fn recovering() -> Config {
    Config {
        connection_state_recovery: Some(RecoveryConfig::default()),
        ..config()
    }
}

/// What a client keeps over its connections, as `socket.io-client` does.
#[derive(Debug, Default, Clone)]
struct Person {
    id: String,
    secret: String,
    offset: Option<String>,
}

impl Person {
    /// CONNECT over a new connection. Whether the client is the same as before.
    async fn connect(&mut self, client: &mut Client) -> bool {
        let auth = match (&*self.secret, &self.offset) {
            ("", _) => String::new(),
            (secret, None) => format!("{{\"pid\":\"{secret}\"}}"),
            (secret, Some(offset)) => format!("{{\"pid\":\"{secret}\",\"offset\":\"{offset}\"}}"),
        };
        client.send(&format!("40{auth}")).await;
        let answer = client.packet().await.expect("an answer to CONNECT");
        let body = answer.strip_prefix("40").unwrap_or_else(|| panic!("refused: {answer}"));
        let body: Value = serde_json::from_str(body).unwrap();
        let text = |name: &str| body[name].as_str().unwrap().to_owned();
        let is_same = self.secret == text("pid");
        (self.id, self.secret) = (text("sid"), text("pid"));
        is_same
    }

    /// The arguments of an event, its offset noted and taken off.
    fn take(&mut self, packet: &str) -> Vec<Value> {
        let args = packet
            .strip_prefix("42")
            .unwrap_or_else(|| panic!("no event: {packet}"));
        let mut args: Vec<Value> = serde_json::from_str(args).unwrap();
        let offset = args.pop().unwrap().as_str().unwrap().to_owned();
        let number = |offset: &str| u64::from_str_radix(&offset[4..], 36).unwrap();
        // What it names stands for everything before.
        let before = self.offset.as_deref().map_or(0, number);
        assert!(number(&offset) >= before, "{packet} came after {before}");
        self.offset = Some(offset);
        args
    }
}

async fn websocket(server: &TestServer) -> Client {
    Client::Ws(Box::new(Ws::handshake(server.address).await))
}

#[tokio::test]
async fn whoever_is_ended_while_away_is_not_counted_as_away() {
    let server = TestServer::start(recovering());
    let (mut stays, mut goes) = (websocket(&server).await, websocket(&server).await);
    let (mut one, mut other) = (Person::default(), Person::default());
    one.connect(&mut stays).await;
    other.connect(&mut goes).await;
    drop(goes);
    let socket = server.socket(&other.id);
    until("its absence", || socket.is_away()).await;
    assert_eq!(server.service().stats().active_connections, 1);
    assert!(server.service().health().1.contains("\"connections\":1"));
    assert!(server.service().disconnect(&socket, "banned".into(), Ending::Kick));
    assert_eq!(server.service().stats().active_connections, 1, "the one that stays");
    assert!(!socket.is_away());
    server
        .service()
        .disconnect(&server.socket(&one.id), "end".into(), Ending::Kick);
    drop(stays);
    server.end().await;
}

#[tokio::test]
async fn the_next_socket_on_the_connection_of_one_that_came_back_ends_with_it() {
    let server = TestServer::start(recovering());
    let mut person = Person::default();
    let mut client = websocket(&server).await;
    person.connect(&mut client).await;
    drop(client);
    let socket = server.socket(&person.id);
    until("its absence", || socket.is_away()).await;
    let mut client = websocket(&server).await;
    assert!(person.connect(&mut client).await);
    client.send("41").await;
    let mut next = Person::default();
    next.connect(&mut client).await;
    assert_ne!(next.id, person.id);
    client.send("41").await;
    until("the end of both", || server.service().hub.is_clean()).await;
    drop(client);
    server.end().await;
}

#[tokio::test]
async fn an_anonymous_client_is_the_same_person_where_it_is_asked_about_again() {
    let server = TestServer::start(Config {
        connection_state_recovery: Some(RecoveryConfig {
            skip_middlewares: false,
            ..RecoveryConfig::default()
        }),
        ..config()
    });
    server.service().set_admits(true);
    let mut person = Person::default();
    let mut client = websocket(&server).await;
    person.connect(&mut client).await;
    let id = person.id.clone();
    drop(client);
    let socket = server.socket(&id);
    until("its absence", || socket.is_away()).await;
    let mut client = websocket(&server).await;
    assert!(person.connect(&mut client).await);
    assert_eq!(person.id, id);
    client.send("41").await;
    until("its end", || server.service().hub.is_clean()).await;
    drop(client);
    server.end().await;
}

#[tokio::test]
async fn whoever_comes_back_unnoticed_does_not_type_any_more() {
    let server = TestServer::start(recovering());
    let room = server.service().create_room("room", "default");
    let mut person = Person::default();
    let mut former = websocket(&server).await;
    person.connect(&mut former).await;
    server.service().join_room(&person.id, &room.info.id).unwrap();
    let typing = |is_typing| {
        format!(
            "42[\"typing\",{{\"roomId\":\"{}\",\"isTyping\":{is_typing}}}]",
            room.info.id
        )
    };
    former.send(&typing(true)).await;
    let told = |wanted| {
        server.recorder.wait("typing", move |event| match event {
            ServiceEvent::Typing(_, _, is_typing) if *is_typing == wanted => Some(()),
            _ => None,
        })
    };
    told(true).await;
    let mut client = websocket(&server).await;
    assert!(person.connect(&mut client).await);
    told(false).await;
    client.send("41").await;
    until("its end", || server.service().hub.sockets().is_empty()).await;
    drop((former, client));
    server.end().await;
}

/// Threads that send to rooms.
const SENDERS: u64 = 3;
const ROOMS: usize = 4;
const CLIENTS: usize = 8;
/// Events of each thread.
const EVENTS: usize = 1_500;

/// What is sent, and what everybody is to have got of it, by the name of the stream.
struct Sent {
    server: TestServer,
    rooms: Vec<String>,
    ids: Vec<String>,
    /// The next number of each stream. Under the lock while it is sent.
    next: Vec<Mutex<u64>>,
    is_over: AtomicBool,
    returns: AtomicUsize,
}

impl Sent {
    /// Sends the next number of a stream.
    fn send(&self, stream: usize, send: impl FnOnce(&str)) {
        let mut next = self.next[stream].lock();
        send(&format!("[\"n\",{stream},{next}]"));
        *next += 1;
    }

    /// The stream of what is sent to a client alone, and of what it gets in rooms that it has just come into.
    fn own(client: usize) -> usize {
        ROOMS + 2 * client
    }

    fn everywhere(&self, random: &mut Random) {
        let service = self.server.service();
        let client = random.below(CLIENTS);
        match random.below(6) {
            0 => self.send(Self::own(client), |args| {
                service.emit_to_socket(&self.ids[client], event(args), false)
            }),
            // Takes a number as well, and is for nobody that counts.
            1 => service.emit_to_socket(&self.ids[client], event("[\"v\"]"), true),
            _ => {
                let room = random.below(ROOMS);
                self.send(room, |args| {
                    let selection = Selection::default();
                    service
                        .broadcast_to_room(&self.rooms[room], &event(args), selection)
                        .unwrap();
                });
            }
        }
        if random.below(8) == 0 {
            std::thread::sleep(Duration::from_micros(random.below(800) as u64));
        }
    }

    /// Puts a client into a room that is new, sends something there, and takes it out.
    fn in_passing(&self, random: &mut Random, name: &str) {
        let service = self.server.service();
        let client = random.below(CLIENTS);
        let socket = self.server.socket(&self.ids[client]);
        service.socket_join(&socket, name).unwrap();
        let selection = Selection::room(name);
        for _ in 0..random.below(3) {
            self.send(Self::own(client) + 1, |args| service.emit(&selection, &event(args)));
        }
        service.socket_leave(&socket, name);
        service.emit(&selection, &event("[\"too late\"]"));
        if random.below(8) == 0 {
            std::thread::sleep(Duration::from_micros(random.below(800) as u64));
        }
    }
}

/// Reads, is cut, and comes back, until everything has been sent; the numbers that it has got of each stream.
async fn blinks(sent: Arc<Sent>, mut person: Person, mut client: Client, seed: u64) -> HashMap<u64, Vec<u64>> {
    let mut random = Random::new(seed);
    let mut got: HashMap<u64, Vec<u64>> = HashMap::new();
    // Connections that the server has not seen to end.
    let mut former = Vec::new();
    loop {
        let pause = Duration::from_micros(random.below(6_000) as u64);
        let cut = tokio::time::sleep(pause);
        tokio::pin!(cut);
        loop {
            let is_over = sent.is_over.load(Ordering::Acquire);
            let packet = tokio::select! {
                packet = client.packet() => packet,
                () = &mut cut, if !is_over => break,
            };
            // Ended for another one of its own, which is not so here.
            let packet = packet.expect("an open connection");
            if packet.starts_with("42[\"end\"") {
                return got;
            }
            let args = person.take(&packet);
            if args[0] == "n" {
                got.entry(args[1].as_u64().unwrap())
                    .or_default()
                    .push(args[2].as_u64().unwrap());
            }
            assert_ne!(args[0], "too late", "{packet}");
        }
        let next = match random.below(3) {
            0 => Client::Polling(Polling::handshake(sent.server.address).await),
            _ => websocket(&sent.server).await,
        };
        let before = std::mem::replace(&mut client, next);
        if random.below(2) == 0 {
            former.push(before);
        }
        assert!(person.connect(&mut client).await, "{} was not let back", person.id);
        sent.returns.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_cut_again_and_again_gets_everything_once_and_in_order() {
    let seed = Random::seed();
    let server = TestServer::start(recovering());
    let rooms: Vec<_> = (0..ROOMS)
        .map(|name| {
            server
                .service()
                .create_room(&name.to_string(), "default")
                .info
                .id
                .to_string()
        })
        .collect();
    let mut people = Vec::new();
    for index in 0..CLIENTS {
        let (mut person, mut client) = (Person::default(), websocket(&server).await);
        person.connect(&mut client).await;
        // Rooms overlap: the first client is in one, the last in all.
        for room in rooms.iter().take(1 + index % ROOMS) {
            server.service().join_room(&person.id, room).unwrap();
        }
        people.push((person, client));
    }
    let sent = Arc::new(Sent {
        ids: people.iter().map(|(person, _)| person.id.clone()).collect(),
        next: (0..ROOMS + 2 * CLIENTS).map(|_| Mutex::new(0)).collect(),
        is_over: AtomicBool::new(false),
        returns: AtomicUsize::new(0),
        server,
        rooms,
    });
    let readers: Vec<_> = people
        .into_iter()
        .zip(1..)
        .map(|((person, client), index)| tokio::spawn(blinks(sent.clone(), person, client, seed + index)))
        .collect();
    let mut senders: Vec<_> = (0..SENDERS)
        .map(|index| {
            let (sent, mut random) = (sent.clone(), Random::new(seed ^ (index + 1)));
            std::thread::spawn(move || (0..EVENTS).for_each(|_| sent.everywhere(&mut random)))
        })
        .collect();
    let (passing, mut random) = (sent.clone(), Random::new(!seed));
    senders.push(std::thread::spawn(move || {
        (0..EVENTS).for_each(|index| passing.in_passing(&mut random, &format!("passing {index}")));
    }));
    let joined = tokio::task::spawn_blocking(move || senders.into_iter().for_each(|sender| sender.join().unwrap()));
    joined.await.unwrap();
    sent.is_over.store(true, Ordering::Release);
    for id in &sent.ids {
        sent.server.service().emit_to_socket(id, event("[\"end\"]"), false);
    }
    for (index, reader) in readers.into_iter().enumerate() {
        let got = within("the end", reader).await.unwrap();
        for (stream, next) in sent.next.iter().enumerate() {
            let is_for_it = stream <= index % ROOMS || (stream >= ROOMS && (stream - ROOMS) / 2 == index);
            let expected: Vec<_> = (0..*next.lock()).filter(|_| is_for_it).collect();
            let numbers = got.get(&(stream as u64)).cloned().unwrap_or_default();
            let wrong = numbers.iter().zip(&expected).position(|(got, sent)| got != sent);
            assert!(
                numbers == expected,
                "client {index}, stream {stream}: {} of {} events, the first wrong one at {wrong:?}: {:?}",
                numbers.len(),
                expected.len(),
                wrong.map(|at| &numbers[at.saturating_sub(2)..(at + 3).min(numbers.len())]),
            );
        }
    }
    assert!(sent.returns.load(Ordering::Relaxed) > CLIENTS, "nobody was cut");
    for id in &sent.ids {
        let socket = sent.server.socket(id);
        sent.server.service().disconnect(&socket, "end".into(), Ending::Kick);
    }
    let sent = Arc::into_inner(sent).unwrap();
    sent.server.end().await;
}
