//! What one other instance has told of its sockets, and what becomes of it in the service.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::message::{Returning, Snapshot, SocketFacts, digest};
use crate::{
    hub::{Identity, Recovery, Socket},
    selection::Selection,
    service::{Loss, Service},
    wire::{json::is_json, packet::Packet},
};

/// News that wait for a snapshot; beyond it the snapshot is asked for anew.
const MOST_BUFFERED: usize = 100_000;
/// Beats after which a snapshot that does not come is asked for again.
const PATIENCE: u32 = 3;

/// News of an instance's own sockets.
#[derive(Debug, Clone)]
pub(super) enum News {
    /// A socket was registered; one that was on another instance before is in these rooms.
    Connected(SocketFacts, Vec<String>),
    /// A socket is gone.
    Disconnected(String),
    /// A socket joined a room; with what the members are told.
    Joined(String, String, Option<Packet>),
    /// A socket left a room; with what the members are told.
    Left(String, String, Option<Packet>),
    /// A socket has come into a room outside the registry, or has left it.
    MovedPlain(String, String, bool),
    /// What the application keeps in `socket.data`, and when the socket is to be closed.
    Kept(String, String, Option<u64>),
    /// All sockets are out of a room, because it was deleted.
    Cleared(String),
}

/// A socket of the instance.
#[derive(Debug)]
struct Known {
    socket: Arc<Socket>,
    rooms: HashSet<Box<str>>,
}

impl Known {
    /// What may have been missed of a socket that is known.
    fn catch_up(&self, service: &Service, returns: &Returning) {
        if let Some(data) = returns.data.as_ref().filter(|data| is_json(data)) {
            self.socket.note_data(data);
        }
        self.socket.set_expiry(returns.expires_at);
        let plain = self.socket.with_rooms(|rooms| {
            let plain = rooms.iter().filter(|room| !room.info.registered);
            plain.map(|room| room.info.id.to_string()).collect::<Vec<_>>()
        });
        let plain = plain.unwrap_or_default();
        for name in plain.iter().filter(|name| !returns.plain.contains(name)) {
            service.moved_plain_remotely(&self.socket, name, false);
        }
        for name in &returns.plain {
            service.moved_plain_remotely(&self.socket, name, true);
        }
    }
}

/// How much is known.
#[derive(Debug)]
enum Knowledge {
    /// A snapshot was asked for; what is told meanwhile waits for it.
    Asked {
        beats: u32,
        buffer: Vec<(u64, News)>,
        parts: Vec<(SocketFacts, Vec<String>)>,
        next_part: u32,
        since: u64,
    },
    /// Everything, but for news older than this number, which the snapshot contained already; and whether clients were
    /// told then what it brought.
    Whole { since: u64, told: bool },
}

/// The sockets of one other instance.
#[derive(Debug)]
pub(super) struct Replica {
    instance: Arc<str>,
    sockets: HashMap<Box<str>, Known>,
    digest: u64,
    knowledge: Knowledge,
    /// Clients have been told of these sockets, so they are told of what a snapshot changes.
    is_told: bool,
    /// Sockets that clients were told are gone, when the instance was thought to be lost; they are told that they are
    /// not, and of what has changed meanwhile.
    returning: Option<HashSet<Box<str>>>,
}

impl Replica {
    /// Nothing is known yet; a snapshot is being asked for. `returning`: the sockets that were told to be gone when the
    /// instance was thought to be lost.
    pub(super) fn new(instance: Arc<str>, returning: Option<HashSet<Box<str>>>) -> Self {
        Self {
            instance,
            sockets: HashMap::new(),
            digest: 0,
            knowledge: asked(Vec::new()),
            is_told: false,
            returning,
        }
    }

    /// Number of the sockets that are known.
    pub(super) fn len(&self) -> usize {
        self.sockets.len()
    }

    /// Whether everything is known.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self.knowledge, Knowledge::Whole { .. })
    }

    /// Something was missed: until a snapshot comes, news wait. Those that wait already go on waiting.
    pub(super) fn ask_again(&mut self) {
        let waiting = match &mut self.knowledge {
            Knowledge::Asked { buffer, .. } => std::mem::take(buffer),
            Knowledge::Whole { .. } => Vec::new(),
        };
        self.knowledge = asked(waiting);
    }

    /// Whether what is known agrees with what the instance has told; true when that cannot be said.
    pub(super) fn agrees(&self, digest: u64) -> bool {
        !self.is_whole() || self.digest == digest
    }

    /// A beat has passed. Whether a snapshot is to be asked for again.
    pub(super) fn tick(&mut self) -> bool {
        let Knowledge::Asked { beats, .. } = &mut self.knowledge else {
            return false;
        };
        *beats += 1;
        let late = *beats >= PATIENCE;
        if late {
            self.ask_again();
        }
        late
    }

    /// One of the instance's sockets.
    pub(super) fn socket(&self, socket_id: &str) -> Option<&Arc<Socket>> {
        self.sockets.get(socket_id).map(|known| &known.socket)
    }

    /// Takes news with its number. False when a snapshot is to be asked for, because too much waits for one.
    pub(super) fn learn(&mut self, service: &Service, seq: u64, news: News) -> bool {
        match &mut self.knowledge {
            Knowledge::Whole { since, .. } if seq >= *since => self.apply(service, news),
            Knowledge::Whole { told: true, .. } => {}
            Knowledge::Whole { told: false, .. } => deliver(service, news),
            Knowledge::Asked { buffer, .. } => {
                if self.returning.is_some() {
                    // What clients are told of it depends on what they were told before.
                    buffer.push((seq, news));
                } else {
                    // Clients are told now; what is known changes when the snapshot is there.
                    buffer.push((seq, without_packet(&news)));
                    deliver(service, news);
                }
                if buffer.len() > MOST_BUFFERED {
                    self.knowledge = asked(Vec::new());
                    return false;
                }
            }
        }
        true
    }

    /// Takes a part of a snapshot. True when it was the last one. `leads`: this instance speaks for a returning one.
    pub(super) fn take(&mut self, service: &Service, snapshot: Snapshot, leads: bool) -> bool {
        let Knowledge::Asked {
            parts,
            next_part,
            since,
            buffer,
            beats,
        } = &mut self.knowledge
        else {
            return false;
        };
        if snapshot.part == 0 {
            parts.clear();
            *since = snapshot.since;
        } else if snapshot.part != *next_part || snapshot.since != *since {
            // A part of a snapshot that was asked for before.
            return false;
        }
        *next_part = snapshot.part + 1;
        *beats = 0;
        parts.extend(snapshot.sockets);
        if !snapshot.is_last {
            return false;
        }
        let (parts, since, buffer) = (std::mem::take(parts), *since, std::mem::take(buffer));
        let told = self.is_told || self.returning.is_some();
        self.knowledge = Knowledge::Whole { since, told };
        let (older, newer): (Vec<_>, Vec<_>) = buffer.into_iter().partition(|(seq, _)| *seq < since);
        if self.is_told {
            // Clients have been told of these: the snapshot is to tell only what they were not told.
            older.into_iter().for_each(|(_, news)| self.apply(service, news));
        }
        self.replace(service, parts, leads);
        newer.into_iter().for_each(|(_, news)| self.apply(service, news));
        self.is_told = true;
        true
    }

    /// The room has become known: sockets that are in it are its members.
    pub(super) fn attach(&self, service: &Service, room_id: &str) {
        for known in self.sockets.values() {
            if known.rooms.contains(room_id) {
                service.joined_remotely(&known.socket, room_id, None);
            }
        }
    }

    /// A socket that was on this instance until now is on that one, if it is there.
    pub(super) fn appear(&self, service: &Service, former: &Socket) {
        let known = self.sockets.get(former.id());
        // One that it has left for another instance before, which this one could not tell, is gone.
        if let Some(known) = known.filter(|known| known.socket.is_connected()) {
            let rooms: Vec<&str> = known.rooms.iter().map(|room| &**room).collect();
            service.appear(&known.socket, &rooms, Some(former));
        }
    }

    /// The instance is lost: all of its sockets are. Returns the ids of those that have been told to be gone.
    pub(super) fn lose(self, service: &Service, loss: &Loss) -> HashSet<Box<str>> {
        self.lose_but(service, loss, |_| false)
    }

    /// As [`Self::lose`], but for those that are to be spared.
    pub(super) fn lose_but(
        self,
        service: &Service,
        loss: &Loss,
        mut is_spared: impl FnMut(&Arc<Socket>) -> bool,
    ) -> HashSet<Box<str>> {
        let mut gone = self.returning.unwrap_or_default();
        let mut sockets: Vec<_> = self.sockets.into_values().map(|known| known.socket).collect();
        sockets.sort_unstable_by_key(|socket| socket.key());
        for socket in sockets {
            if !is_spared(&socket) {
                gone.insert(socket.id().into());
                service.lose(&socket, loss);
            }
        }
        gone
    }

    fn apply(&mut self, service: &Service, news: News) {
        match news {
            News::Connected(facts, rooms) => {
                self.connect(service, facts, &rooms, |service, socket| service.meet(socket, &rooms));
            }
            News::Disconnected(id) => self.disconnect(service, &id, &Loss::Silent),
            News::Joined(id, room, packet) => self.join(service, &id, &room, packet.as_ref()),
            News::Left(id, room, packet) => self.leave(service, &id, &room, packet.as_ref()),
            News::MovedPlain(id, name, is_in) => {
                if let Some(known) = self.sockets.get(&*id) {
                    service.moved_plain_remotely(&known.socket, &name, is_in);
                }
            }
            News::Kept(id, data, expires_at) => {
                if let Some(known) = self.sockets.get(&*id) {
                    if is_json(&data) {
                        known.socket.note_data(&data);
                    }
                    known.socket.set_expiry(expires_at);
                }
            }
            News::Cleared(room) => {
                for (id, known) in &mut self.sockets {
                    if known.rooms.remove(&*room) {
                        self.digest ^= digest(id, Some(&room));
                        service.left_remotely(&known.socket, &room, None);
                    }
                }
            }
        }
    }

    /// Learns of a socket that is in these rooms, by `meet`, unless it is known.
    fn connect(
        &mut self,
        service: &Service,
        facts: SocketFacts,
        rooms: &[String],
        meet: impl FnOnce(&Service, &Arc<Socket>),
    ) {
        if self.sockets.contains_key(&*facts.id) {
            return;
        }
        // Whom a packet was not for is kept by the number of the socket: it stays, wherever that goes.
        let former = service.hub.remote().socket(&facts.id);
        let key = former.map_or_else(|| service.next_key(), |former| former.key());
        let socket = Socket::remote(key, &facts.id, &self.instance, facts.connected_at);
        socket.identify(Identity::new(&facts.user_id, facts.username.as_deref()));
        if let Some(profile) = facts.profile.as_ref().filter(|profile| is_json(profile)) {
            socket.describe(profile);
        }
        let returns = facts.returns.filter(|returns| Recovery::may_be_secret(&returns.secret));
        if let Some(returns) = &returns {
            let recovery = Recovery::of(&returns.secret, false).after_moves(returns.moves);
            recovery.begin(returns.began.clone());
            socket.set_recovery(recovery);
            socket.set_expiry(returns.expires_at);
            if let Some(data) = returns.data.as_ref().filter(|data| is_json(data)) {
                socket.note_data(data);
            }
        }
        let socket = Arc::new(socket);
        meet(service, &socket);
        for name in returns.iter().flat_map(|returns| &returns.plain) {
            service.moved_plain_remotely(&socket, name, true);
        }
        self.digest ^= digest(&facts.id, None);
        let rooms: HashSet<Box<str>> = rooms.iter().map(|room| room.as_str().into()).collect();
        for room in &rooms {
            self.digest ^= digest(&facts.id, Some(room));
        }
        let known = Known { socket, rooms };
        self.sockets.insert(facts.id.into(), known);
    }

    fn disconnect(&mut self, service: &Service, id: &str, loss: &Loss) {
        if let Some(known) = self.sockets.remove(id) {
            for room in &known.rooms {
                self.digest ^= digest(id, Some(room));
            }
            self.digest ^= digest(id, None);
            service.lose(&known.socket, loss);
        }
    }

    fn join(&mut self, service: &Service, id: &str, room: &str, packet: Option<&Packet>) {
        let Some(known) = self.sockets.get_mut(id) else {
            return deliver(service, News::Joined(id.to_owned(), room.to_owned(), packet.cloned()));
        };
        if known.rooms.insert(room.into()) {
            self.digest ^= digest(id, Some(room));
        }
        service.joined_remotely(&known.socket, room, packet);
    }

    fn leave(&mut self, service: &Service, id: &str, room: &str, packet: Option<&Packet>) {
        let Some(known) = self.sockets.get_mut(id) else {
            return deliver(service, News::Left(id.to_owned(), room.to_owned(), packet.cloned()));
        };
        if known.rooms.remove(room) {
            self.digest ^= digest(id, Some(room));
        }
        service.left_remotely(&known.socket, room, packet);
    }

    /// What is known becomes what the snapshot says; clients that were told otherwise are told.
    fn replace(&mut self, service: &Service, parts: Vec<(SocketFacts, Vec<String>)>, leads: bool) {
        let returning = self.returning.take();
        let tells = self.is_told || returning.is_some();
        let present: HashSet<&str> = parts.iter().map(|(facts, _)| &*facts.id).collect();
        let gone: Vec<_> = self
            .sockets
            .keys()
            .filter(|id| !present.contains(&***id))
            .cloned()
            .collect();
        for id in gone {
            let loss = if tells { Loss::Unannounced } else { Loss::Silent };
            self.disconnect(service, &id, &loss);
        }
        if tells {
            // Those that had to wait for their clients, and have ended meanwhile: their instance has told the application.
            let sockets = service.hub.remote().sockets();
            let waits = |socket: &&Arc<Socket>| socket.is_orphaned() && socket.instance() == Some(&self.instance);
            for socket in sockets
                .iter()
                .filter(waits)
                .filter(|socket| !present.contains(socket.id()))
            {
                service.lose(socket, &Loss::Unannounced);
            }
        }
        for (facts, rooms) in parts {
            let id = facts.id.clone();
            let is_new = !self.sockets.contains_key(&*id);
            if let (Some(known), Some(returns)) = (self.sockets.get(&*id), &facts.returns) {
                known.catch_up(service, returns);
            }
            // One that came while the instance was away was told by the instance itself.
            let was_gone = returning.as_ref().is_some_and(|gone| gone.contains(&*id));
            // Nobody was told that one has gone which waited for its client: it is where it was.
            let orphan = service.hub.remote().socket(&id).filter(|socket| socket.is_orphaned());
            let stays_in = orphan.map(|socket| registered_rooms(&socket)).unwrap_or_default();
            self.connect(service, facts, &stays_in, |service, socket| match was_gone {
                true => service.find_again(socket, leads),
                false => service.meet(socket, &stays_in),
            });
            self.replace_rooms(service, &id, &rooms, tells);
            if let Some(recovery) = self
                .sockets
                .get(&*id)
                .and_then(|known| known.socket.recovery())
                .filter(|_| is_new)
            {
                recovery.came_before();
            }
        }
    }

    fn replace_rooms(&mut self, service: &Service, id: &str, rooms: &[String], tells: bool) {
        let Some(known) = self.sockets.get(id) else { return };
        let socket = known.socket.clone();
        let before = known.rooms.clone();
        let now: HashSet<&str> = rooms.iter().map(String::as_str).collect();
        for room in before.iter().filter(|room| !now.contains(&***room)) {
            if tells {
                service.missed_leaving(&socket, room);
            }
            self.leave(service, id, room, None);
        }
        for room in rooms.iter().filter(|room| !before.contains(room.as_str())) {
            if tells {
                service.rejoined_remotely(&socket, room);
            }
            self.join(service, id, room, None);
        }
    }
}

/// The rooms of the registry that a socket is in.
fn registered_rooms(socket: &Socket) -> Vec<String> {
    let rooms = socket.with_rooms(|rooms| {
        let registered = rooms.iter().filter(|room| room.info.registered);
        registered.map(|room| room.info.id.to_string()).collect()
    });
    rooms.unwrap_or_default()
}

fn asked(buffer: Vec<(u64, News)>) -> Knowledge {
    Knowledge::Asked {
        beats: 0,
        buffer,
        parts: Vec::new(),
        next_part: 0,
        since: 0,
    }
}

fn without_packet(news: &News) -> News {
    match news.clone() {
        News::Joined(id, room, _) => News::Joined(id, room, None),
        News::Left(id, room, _) => News::Left(id, room, None),
        other => other,
    }
}

/// Tells the clients of this instance what news bring them, where nothing is known of the socket.
fn deliver(service: &Service, news: News) {
    if let News::Joined(id, room, Some(packet)) | News::Left(id, room, Some(packet)) = news {
        service.deliver(&Selection::room(&room).but(&id), &packet);
    }
}
