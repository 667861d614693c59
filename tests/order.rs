//! Many threads use one service at random: every member of a room sees one order, the history's, JavaScript and the other
//! servers are told in it as well, and each socket's events are told in order. A failing run is repeated with `SEED=… cargo test`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Barrier},
};

use native_websocket_service::{
    hub::{Identity, Room, Socket},
    link::{Ending, Link},
    ports::{Fact, ServiceEvent},
    selection::Selection,
    server::runtime,
    service::{ClientPacket, NewMessage, Service},
    wire::packet::Packet,
};
use parking_lot::Mutex;
use serde_json::Value;
use support::{
    Recorder, THREADS, config,
    peers::{RecordedPeers, Told},
    random::Random,
};

/// Threads that use the service at the same time.
const WORKERS: usize = 6;
/// Sockets of each thread; other threads act on them too.
const SOCKETS: usize = 6;
/// Calls of each thread.
const STEPS: usize = 3_000;
const ROOMS: usize = 4;

/// A client that takes everything at once, and notes it.
#[derive(Debug, Default)]
struct Inbox {
    packets: Mutex<Vec<Packet>>,
    closed: Mutex<bool>,
}

impl Link for Inbox {
    fn send(&self, packet: &Packet, _: bool) -> bool {
        if !*self.closed.lock() {
            self.packets.lock().push(packet.clone());
        }
        false
    }

    fn close(&self, _: Ending) {
        *self.closed.lock() = true;
    }
}

struct Stage {
    service: Arc<Service>,
    recorder: Arc<Recorder>,
    inboxes: Mutex<HashMap<String, Arc<Inbox>>>,
    /// Rooms that exist or did.
    rooms: Mutex<Vec<Arc<Room>>>,
    /// Sockets that are connected or were.
    sockets: Mutex<Vec<Arc<Socket>>>,
}

impl Stage {
    fn set() -> Arc<Self> {
        Self::set_among(None)
    }

    fn set_among(peers: Option<Arc<RecordedPeers>>) -> Arc<Self> {
        let recorder = Arc::new(Recorder::default());
        let service = Service::new(config(), recorder.clone(), &runtime(THREADS).unwrap());
        let service = Arc::new(service);
        if let Some(peers) = peers {
            service.join_cluster(peers);
        }
        let rooms = (0..ROOMS).map(|index| service.create_room(&index.to_string(), "default"));
        Arc::new(Self {
            rooms: Mutex::new(rooms.collect()),
            recorder,
            inboxes: Mutex::default(),
            sockets: Mutex::default(),
            service,
        })
    }

    fn connect(&self, person: &str) -> Arc<Socket> {
        let inbox = Arc::new(Inbox::default());
        let key = self.service.next_key();
        let socket = Arc::new(Socket::new(
            key,
            &format!("socket-{key}"),
            inbox.clone(),
            "{}".into(),
            0,
        ));
        socket.identify(Identity::new(person, None));
        self.inboxes.lock().insert(socket.id().to_owned(), inbox);
        self.service.register(&socket).unwrap();
        self.sockets.lock().push(socket.clone());
        socket
    }

    fn any_room(&self, random: &mut Random) -> Arc<Room> {
        random.pick(&self.rooms.lock()).clone()
    }

    fn any_user(&self, random: &mut Random) -> Option<Arc<Socket>> {
        let sockets = self.sockets.lock();
        (!sockets.is_empty()).then(|| random.pick(&sockets).clone())
    }

    fn client(&self, socket: &Arc<Socket>, args: &str) {
        let packet = ClientPacket {
            args,
            attachments: Vec::new(),
            id: None,
        };
        self.service.client_event(socket, packet).unwrap();
    }

    /// Ends every socket and waits until everything has been delivered.
    fn clear(&self) {
        for socket in self.service.hub.sockets() {
            self.service.disconnect(&socket, "end".into(), Ending::Kick);
        }
        self.flush();
    }

    fn flush(&self) {
        let flushed = self.service.fanout().flushed();
        runtime(THREADS).unwrap().block_on(async {
            tokio::time::timeout(support::PATIENCE, flushed)
                .await
                .expect("deliveries end");
        });
    }

    /// Ids of the messages of each room, in the order told to JavaScript.
    fn told(&self) -> HashMap<String, Vec<String>> {
        let mut told: HashMap<String, Vec<String>> = HashMap::new();
        for event in self.recorder.events() {
            if let ServiceEvent::Message(room, message) = event {
                told.entry(room.info.id.to_string())
                    .or_default()
                    .push(id_of(message.json()));
            }
        }
        told
    }

    /// Ids of the messages of each room that a socket received, in order.
    fn received(&self, socket: &str) -> HashMap<String, Vec<String>> {
        let mut received: HashMap<String, Vec<String>> = HashMap::new();
        for packet in self.inboxes.lock()[socket].packets.lock().iter() {
            let args: Value = serde_json::from_str(packet.args()).unwrap();
            if args[0] == "message" {
                let room = args[1]["roomId"].as_str().unwrap().to_owned();
                let id = args[1]["id"].as_str().unwrap().to_owned();
                received.entry(room).or_default().push(id);
            }
        }
        received
    }
}

fn id_of(message: &str) -> String {
    let message: Value = serde_json::from_str(message).unwrap();
    message["id"].as_str().unwrap().to_owned()
}

fn step(stage: &Stage, random: &mut Random, own: &mut Vec<Arc<Socket>>, person: &str) {
    let service = &stage.service;
    let room = stage.any_room(random);
    let room_id = room.info.id.to_string();
    let Some(socket) = (if random.below(4) == 0 {
        stage.any_user(random)
    } else {
        own.last().cloned()
    }) else {
        return own.push(stage.connect(person));
    };
    match random.below(100) {
        0..=39 => {
            let message = format!("[\"message\",{{\"roomId\":\"{room_id}\",\"content\":\"x\"}}]");
            stage.client(&socket, &message);
        }
        40..=54 => {
            let message = NewMessage {
                author: "\"userId\":\"server\"",
                content: "\"y\"",
                kind: Default::default(),
                metadata: None,
                attachments: Vec::new(),
            };
            let _ = service.send_message(&room_id, message);
        }
        55..=69 => {
            let _ = service.join_room(socket.id(), &room_id);
        }
        70..=79 => service.leave_room(socket.id(), &room_id),
        80..=83 => {
            let typing = format!("[\"typing\",{{\"roomId\":\"{room_id}\",\"isTyping\":true}}]");
            stage.client(&socket, &typing);
        }
        84..=86 => {
            let _ = service.socket_join(&socket, "plain");
        }
        87..=88 => service.socket_leave(&socket, "plain"),
        89..=93 => {
            if own.len() < SOCKETS {
                own.push(stage.connect(person));
            }
        }
        94..=96 if !own.is_empty() => {
            let socket = own.swap_remove(random.below(own.len()));
            service.disconnect(&socket, "random".into(), Ending::Kick);
        }
        97 => {
            // Of other threads too, and perhaps in the middle of their coming.
            service.disconnect_user(person, &"random".into());
        }
        98 => {
            service.delete_room(&room_id);
            let replacement = service.create_room("again", "default");
            stage.rooms.lock().push(replacement);
        }
        _ if own.is_empty() => own.push(stage.connect(person)),
        _ => own.rotate_left(1),
    }
}

fn run(stage: &Arc<Stage>, seed: u64) {
    let start = Arc::new(Barrier::new(WORKERS));
    let workers = (0..WORKERS).map(|worker| {
        let (stage, start) = (stage.clone(), start.clone());
        std::thread::spawn(move || {
            let mut random = Random::new(seed + worker as u64);
            let mut own = Vec::new();
            start.wait();
            for _ in 0..STEPS {
                step(&stage, &mut random, &mut own, &format!("person-{}", worker / 2));
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.join().unwrap();
    }
}

/// Positions of what was received among what was told: rising, and without a gap but where the socket was away.
fn assert_in_order(received: &[String], told: &[String], absences: usize, what: &str) {
    let place: HashMap<&str, usize> = told.iter().enumerate().map(|(at, id)| (id.as_str(), at)).collect();
    let places: Vec<_> = received.iter().map(|id| place[id.as_str()]).collect();
    assert!(places.is_sorted_by(|one, next| one < next), "{what}: {places:?}");
    let gaps = places.windows(2).filter(|pair| pair[0] + 1 != pair[1]).count();
    assert!(gaps <= absences, "{what}: {gaps} gaps, {absences} absences: {places:?}");
}

#[test]
fn every_member_sees_the_order_of_history_whatever_others_do() {
    let seed = Random::seed();
    let stage = Stage::set();
    // These stay in the first room, which is never deleted, from before the first message.
    let first = stage.service.create_room("first", "default");
    let constant: Vec<_> = (0..5)
        .map(|index| stage.connect(&format!("constant-{index}")))
        .collect();
    for socket in &constant {
        stage.service.join_room(socket.id(), &first.info.id).unwrap();
    }
    stage.sockets.lock().clear();
    let sending = std::thread::spawn({
        let (stage, first) = (stage.clone(), first.clone());
        let authors = constant.clone();
        move || {
            for number in 0..2_000 {
                let author: &Arc<Socket> = &authors[number % authors.len()];
                let message = format!(
                    "[\"message\",{{\"roomId\":\"{}\",\"content\":\"{number}\"}}]",
                    first.info.id
                );
                stage.client(author, &message);
                if number % 3 == 0 {
                    let _ = stage
                        .any_user(&mut Random::new(number as u64))
                        .map(|socket| stage.service.join_room(socket.id(), &first.info.id));
                }
            }
        }
    });
    run(&stage, seed);
    sending.join().unwrap();
    stage.flush();

    let told = stage.told();
    let (_, history) = stage.service.messages(&first.info.id, 0..=u64::MAX);
    let history: Vec<_> = history.iter().rev().map(|message| id_of(message.json())).collect();
    assert_eq!(told[first.info.id.as_ref()], history);
    for socket in &constant {
        assert_eq!(
            stage.received(socket.id())[first.info.id.as_ref()],
            history,
            "{}",
            socket.id()
        );
    }
    for room in stage.service.hub.rooms(None) {
        let (_, messages) = stage.service.messages(&room.info.id, 0..=u64::MAX);
        let messages: Vec<_> = messages.iter().rev().map(|message| id_of(message.json())).collect();
        assert_eq!(told.get(room.info.id.as_ref()).cloned().unwrap_or_default(), messages);
        assert_suffixes(&stage, &room, &messages);
    }
    let mut away: HashMap<(String, String), usize> = HashMap::new();
    for event in stage.recorder.events() {
        if let ServiceEvent::RoomLeave(socket, room) = event {
            *away
                .entry((socket.id().to_owned(), room.info.id.to_string()))
                .or_default() += 1;
        }
    }
    let sockets: Vec<_> = stage.inboxes.lock().keys().cloned().collect();
    for socket in sockets {
        for (room, received) in stage.received(&socket) {
            let absences = away.get(&(socket.clone(), room.clone())).copied().unwrap_or(0);
            assert_in_order(&received, &told[&room], absences, &format!("{socket} in {room}"));
        }
    }
    stage.clear();
    assert!(stage.service.hub.is_clean());
}

/// Who is in a room that has messages since its last joining has received exactly those.
fn assert_suffixes(stage: &Stage, room: &Arc<Room>, messages: &[String]) {
    let mut since: HashMap<String, usize> = HashMap::new();
    let mut count = 0;
    for event in stage.recorder.events() {
        match event {
            ServiceEvent::Message(at, _) if Arc::ptr_eq(&at, room) => count += 1,
            ServiceEvent::RoomJoin(socket, at) if Arc::ptr_eq(&at, room) => {
                since.insert(socket.id().to_owned(), count);
            }
            _ => {}
        }
    }
    for socket in room.state().members.in_order() {
        let joined_at = since[socket.id()];
        let received = stage
            .received(socket.id())
            .remove(room.info.id.as_ref())
            .unwrap_or_default();
        let suffix = &messages[joined_at..];
        assert!(received.ends_with(suffix), "{} in {}", socket.id(), room.info.id);
    }
}

#[test]
fn each_connection_has_one_disconnect_and_leaves_nothing_behind() {
    let seed = Random::seed();
    let stage = Stage::set();
    run(&stage, seed);
    stage.clear();
    assert!(stage.service.hub.is_clean());
    let (mut connected, mut gone) = (Vec::new(), HashSet::new());
    for event in stage.recorder.events() {
        match event {
            ServiceEvent::Connection(socket) => connected.push(socket.key()),
            ServiceEvent::Disconnect(socket, ..) => assert!(gone.insert(socket.key()), "{} twice", socket.id()),
            _ => {}
        }
    }
    assert_eq!(connected.len(), gone.len());
    assert!(connected.iter().all(|key| gone.contains(key)));
    for socket in stage.sockets.lock().iter() {
        assert!(!socket.is_connected());
        assert_eq!(stage.service.socket_rooms(socket), Vec::<String>::new());
    }
}

#[test]
fn events_of_each_socket_are_told_in_order() {
    let seed = Random::seed();
    let stage = Stage::set();
    run(&stage, seed);
    stage.clear();
    stage.recorder.assert_balanced();
}

/// Sockets of the threads that use one room, and steps of each.
const BUSY_SOCKETS: usize = 3;
const BUSY_STEPS: usize = 2_000;

/// One thing that happens to the room, of which its members, JavaScript and the other servers hear in some way.
fn busy_step(stage: &Stage, random: &mut Random, own: &mut Vec<Arc<Socket>>, room: &Room, name: &str) {
    let (service, room_id) = (&stage.service, &*room.info.id);
    if own.len() < BUSY_SOCKETS {
        own.push(stage.connect(&format!("{name}-{}", random.below(usize::MAX))));
    }
    let at = random.below(own.len());
    let socket = own[at].clone();
    match random.below(100) {
        0..=24 => drop(service.join_room(socket.id(), room_id)),
        25..=39 => service.leave_room(socket.id(), room_id),
        40..=54 => stage.client(
            &socket,
            &format!("[\"typing\",{{\"roomId\":\"{room_id}\",\"isTyping\":true}}]"),
        ),
        55..=69 => stage.client(
            &socket,
            &format!("[\"message\",{{\"roomId\":\"{room_id}\",\"content\":\"x\"}}]"),
        ),
        70..=74 => stage.client(&socket, &format!("[\"document:edit\",{{\"roomId\":\"{room_id}\"}}]")),
        75..=89 => {
            let note = Packet::event("note", &format!("{{\"id\":\"{name}-{}\"}}", random.below(usize::MAX)));
            match random.below(3) {
                0 => drop(service.broadcast_to_room(room_id, &note, Selection::default())),
                1 => service.emit(&Selection::room(room_id), &note),
                _ => service.emit(&Selection::default(), &note),
            }
        }
        _ => {
            own.swap_remove(at);
            service.disconnect(&socket, "random".into(), Ending::Kick);
        }
    }
}

/// What a packet for a room says, as JavaScript is told of it: `None` when it is not.
fn as_event(args: &str) -> Option<String> {
    let args: Value = serde_json::from_str(args).unwrap();
    let text = |member: &str| args[1][member].as_str().unwrap_or_default().to_owned();
    Some(match args[0].as_str().unwrap() {
        "user:joined" => format!("join {}", text("userId")),
        "user:left" => format!("leave {}", text("userId")),
        "typing" => format!("typing {} {}", text("userId"), args[1]["isTyping"]),
        "message" => format!("message {}", text("id")),
        _ => return None,
    })
}

/// What JavaScript was told of a room.
fn events_of(stage: &Stage, room: &Arc<Room>) -> Vec<String> {
    let events = stage.recorder.events();
    let events = events.iter().filter_map(|event| match event {
        ServiceEvent::RoomJoin(socket, at) if Arc::ptr_eq(at, room) => Some(format!("join {}", socket.user_id())),
        ServiceEvent::RoomLeave(socket, at) if Arc::ptr_eq(at, room) => Some(format!("leave {}", socket.user_id())),
        ServiceEvent::Typing(socket, at, is_typing) if Arc::ptr_eq(at, room) => {
            Some(format!("typing {} {is_typing}", socket.user_id()))
        }
        ServiceEvent::Message(at, message) if Arc::ptr_eq(at, room) => {
            Some(format!("message {}", id_of(message.json())))
        }
        _ => None,
    });
    events.collect()
}

/// Where two lists that should be the same differ first.
fn assert_same(one: &[String], other: &[String], what: &str) {
    let differs = one.iter().zip(other).position(|(one, other)| one != other);
    if let Some(at) = differs {
        panic!("{what}: at {at} {} and {}", one[at], other[at]);
    }
    assert_eq!(one.len(), other.len(), "{what}");
}

#[test]
fn members_javascript_and_other_servers_hear_of_a_room_in_one_order() {
    let seed = Random::seed();
    let peers = Arc::new(RecordedPeers::default());
    let stage = Stage::set_among(Some(peers.clone()));
    let room = stage.service.create_room("busy", "default");
    let watchers: Vec<_> = (0..4).map(|index| stage.connect(&format!("watcher-{index}"))).collect();
    for socket in &watchers {
        stage.service.hub.publish(socket);
        stage.service.join_room(socket.id(), &room.info.id).unwrap();
    }
    stage.flush();
    // From here on, all of them hear everything.
    let before = watchers
        .iter()
        .map(|socket| stage.inboxes.lock()[socket.id()].packets.lock().len());
    let before: Vec<_> = before.collect();
    let (told_before, events_before) = (peers.told().len(), events_of(&stage, &room).len());
    let start = Arc::new(Barrier::new(WORKERS));
    let workers = (0..WORKERS).map(|worker| {
        let (stage, room, start) = (stage.clone(), room.clone(), start.clone());
        std::thread::spawn(move || {
            let mut random = Random::new(seed + worker as u64);
            let mut own = Vec::new();
            start.wait();
            for _ in 0..BUSY_STEPS {
                busy_step(&stage, &mut random, &mut own, &room, &format!("worker-{worker}"));
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.join().unwrap();
    }
    stage.flush();

    let told = &peers.told()[told_before..];
    let of_room = told.iter().filter_map(|told| match told {
        Told::ForRoom(id, args, ..) if *id == *room.info.id => Some(args.clone()),
        _ => None,
    });
    let of_room: Vec<_> = of_room.collect();
    let of_everyone = told.iter().filter_map(|told| match told {
        Told::ForEveryone(args) => Some(args.clone()),
        _ => None,
    });
    let of_everyone: Vec<_> = of_everyone.collect();
    let for_everyone: HashSet<&String> = of_everyone.iter().collect();
    for (socket, before) in watchers.iter().zip(before) {
        let packets = stage.inboxes.lock()[socket.id()].packets.lock()[before..].to_vec();
        let (everyone, own): (Vec<_>, Vec<_>) = packets
            .iter()
            .map(|packet| packet.args().to_owned())
            .partition(|args| for_everyone.contains(args));
        assert_same(&own, &of_room, "what a member and the other servers hear of the room");
        assert_same(
            &everyone,
            &of_everyone,
            "what a client and the other servers hear of everyone",
        );
    }
    let heard: Vec<_> = of_room.iter().filter_map(|args| as_event(args)).collect();
    assert!(heard.len() > BUSY_STEPS, "hardly anything happened: {}", heard.len());
    let events = &events_of(&stage, &room)[events_before..];
    assert_same(&heard, events, "what other servers and JavaScript hear of the room");
    assert_told_while_connected(told);
    stage.clear();
    stage.recorder.assert_balanced();
}

/// Other servers hear of a socket's joining and leaving between its coming and its going, in turns.
fn assert_told_while_connected(told: &[Told]) {
    let mut connected: HashMap<&str, bool> = HashMap::new();
    for each in told {
        match each {
            Told::Connected(id) => assert_eq!(connected.insert(id, false), None, "{id} came twice"),
            Told::Disconnected(id) => {
                assert_eq!(connected.remove(&**id), Some(false), "{id} went from the room or twice")
            }
            Told::ForRoom(_, args, fact @ (Fact::Joined | Fact::Left), Some(id)) => {
                let joins = *fact == Fact::Joined;
                assert_eq!(connected.insert(id, joins), Some(!joins), "{args}");
            }
            _ => {}
        }
    }
}
