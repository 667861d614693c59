//! State in memory: sockets, rooms, history, presence and counters. Synchronous and without I/O; callers pass the time.

mod cut;
mod deferred;
mod except;
mod handshake;
mod history;
mod identity;
mod members;
mod ordered;
mod pace;
mod recovery;
mod remote;
mod replay;
mod room;
mod socket;

use std::{sync::Arc, time::Duration};

use dashmap::DashMap;

use crate::metrics::Metrics;

pub use cut::Cut;
pub use deferred::Deferred;
pub use except::Except;
pub use handshake::{Handshake, Query, URL_MEMBER};
pub use history::{History, StoredMessage};
pub use identity::{Identity, SocketId};
pub use members::Recipient;
pub use ordered::Ordered;
pub use pace::{Excess, Pace};
pub use recovery::{Claim, Place, Recovery, Turn};
pub use remote::RemoteSockets;
pub use replay::{Forgotten, Handed, Inheritance, Missed, Replay, Span, Trail, cut_named};
pub use room::RoomInfo;
pub use socket::{Interest, Socket, Unreachable};

/// A room of sockets.
pub type Room = room::Room<Socket>;
/// What a room's lock protects.
pub type RoomState = room::RoomState<Socket>;
/// The members of a room.
pub type Members = members::Members<Socket>;
/// A member of a room, with the way to it.
pub type Member = members::Member<Socket>;
/// A change of a room's members.
pub type Change = members::Change<Socket>;

/// How far apart two instances may be in hearing the same.
const APART: Duration = Duration::from_secs(1);

/// Everything that is known of who is connected and which rooms exist.
#[derive(Debug)]
pub struct Hub {
    sockets: DashMap<Box<str>, Arc<Socket>>,
    by_user: DashMap<Box<str>, Ordered<Socket>>,
    /// Sockets on the other instances of the cluster.
    remote: RemoteSockets,
    rooms: DashMap<Box<str>, Arc<Room>>,
    /// Socket.IO rooms that are not in the registry; they exist while they have members.
    plain_rooms: DashMap<Box<str>, Arc<Room>>,
    everyone: Room,
    /// What is counted over the life of the service.
    pub metrics: Metrics,
    /// What was sent lately, where clients may come back for it.
    replay: Option<Arc<Replay>>,
    shards: usize,
}

impl Hub {
    /// An empty hub whose rooms keep their members in `shards` parts.
    pub fn new(shards: usize) -> Self {
        Self::with_replay(shards, None)
    }

    /// As [`Hub::new`], with what was sent lately where clients may come back for it.
    pub fn with_replay(shards: usize, replay: Option<Arc<Replay>>) -> Self {
        Self {
            replay,
            sockets: DashMap::new(),
            by_user: DashMap::new(),
            remote: RemoteSockets::default(),
            rooms: DashMap::new(),
            plain_rooms: DashMap::new(),
            everyone: Room::new(RoomInfo::plain(""), shards),
            metrics: Metrics::default(),
            shards,
        }
    }

    /// Number of parts that members are kept in.
    pub fn shards(&self) -> usize {
        self.shards
    }

    /// Registers a connection. Returns whether it is the first of its person, or `None` when the id is taken.
    pub fn insert_socket(&self, socket: &Arc<Socket>) -> Option<bool> {
        match self.sockets.entry(socket.id().into()) {
            dashmap::Entry::Occupied(_) => return None,
            dashmap::Entry::Vacant(entry) => entry.insert(socket.clone()),
        };
        let mut sockets = self.by_user.entry(socket.user_id().into()).or_default();
        sockets.push(socket.clone());
        let first = sockets.len() == 1;
        drop(sockets);
        self.metrics.connections.count();
        Some(first)
    }

    /// Makes a registered connection one of everyone.
    pub fn publish(&self, socket: &Arc<Socket>) {
        socket.with_rooms(|_| {
            let mut everyone = self.everyone.state();
            if everyone.members.insert(socket) {
                self.came(socket, &self.everyone);
            }
        });
    }

    /// What was sent lately, where clients may come back for it.
    pub fn replay(&self) -> Option<&Arc<Replay>> {
        self.replay.as_ref()
    }

    /// A socket has come into a room: what was sent there before is not for it. Under the room's lock.
    pub fn came(&self, socket: &Socket, room: &Room) {
        if let (Some(recovery), Some(replay)) = (socket.recovery(), &self.replay) {
            let newest = match socket.is_remote() {
                // Its instance may have heard before what was heard here after.
                true => replay.newest_before(APART),
                false => replay.newest(),
            };
            recovery.came(room.order, newest);
        }
    }

    /// Where a socket is, everyone's room included, as long as it neither comes nor goes by itself. `look` is called with
    /// each. `None` when the socket is gone.
    pub fn places<R>(
        &self,
        socket: &Socket,
        look: impl Fn(&mut RoomState),
        then: impl FnOnce(&[Place]) -> R,
    ) -> Option<R> {
        socket.with_rooms(|rooms| {
            let rooms = rooms.iter().map(|room| &**room).chain([&self.everyone]);
            let place = |room: &Room| {
                let mut state = room.state();
                look(&mut state);
                // Something may be sent there for the first time meanwhile.
                (room.order, state.members.begin_trail().clone())
            };
            then(&rooms.map(place).collect::<Vec<_>>())
        })
    }

    /// A socket has left a room: what was sent there before is for it all the same. Under the room's lock.
    pub fn left(&self, socket: &Socket, room: &Room, members: &Members) {
        if let (Some(recovery), Some(replay)) = (socket.recovery(), &self.replay) {
            recovery.left(room.order, members.trail(), |trail, after| {
                replay.last(trail, socket.key(), after)
            });
        }
    }

    /// A socket of another instance is where this one, which has left everything, was before: what was kept for that is for
    /// it.
    pub fn follow(&self, socket: &Socket, former: &Socket) {
        if let (Some(recovery), Some(before), Some(replay)) = (socket.recovery(), former.recovery(), &self.replay)
            && recovery.secret() == before.secret()
        {
            recovery.follow(before, replay.last(before.trail(), former.key(), 0));
        }
    }

    /// Forgets a connection. Returns whether it was the last of its person, or `None` when it was not registered.
    pub fn remove_socket(&self, socket: &Arc<Socket>) -> Option<bool> {
        self.sockets
            .remove_if(socket.id(), |_, known| Arc::ptr_eq(known, socket))?;
        self.everyone.state().members.remove(socket.key());
        let last = match self.by_user.entry(socket.user_id().into()) {
            dashmap::Entry::Occupied(mut entry) => {
                entry.get_mut().remove(socket);
                let last = entry.get().is_empty();
                if last {
                    entry.remove();
                }
                last
            }
            dashmap::Entry::Vacant(_) => false,
        };
        Some(last)
    }

    /// The socket of this id.
    pub fn socket(&self, socket_id: &str) -> Option<Arc<Socket>> {
        self.sockets.get(socket_id).map(|entry| entry.value().clone())
    }

    /// All connections, in the order in which they came.
    pub fn sockets(&self) -> Vec<Arc<Socket>> {
        let mut sockets: Vec<_> = self.sockets.iter().map(|entry| entry.value().clone()).collect();
        sockets.sort_unstable_by_key(|socket| socket.key());
        sockets
    }

    /// At most so many connections. Which ones depends on nothing but their ids.
    pub fn sample(&self, most: usize) -> Vec<Arc<Socket>> {
        self.sockets
            .iter()
            .take(most)
            .map(|entry| entry.value().clone())
            .collect()
    }

    /// Number of live connections.
    pub fn socket_count(&self) -> usize {
        self.sockets.len()
    }

    /// Sockets on the other instances of the cluster.
    pub fn remote(&self) -> &RemoteSockets {
        &self.remote
    }

    /// The socket of this id, on any instance.
    pub fn anyone(&self, socket_id: &str) -> Option<Arc<Socket>> {
        self.socket(socket_id).or_else(|| self.remote.socket(socket_id))
    }

    /// The sockets of a person on any instance, those on this one first.
    pub fn sockets_anywhere(&self, user_id: &str) -> Vec<Arc<Socket>> {
        let mut sockets = self.sockets_of(user_id);
        sockets.extend(self.remote.sockets_of(user_id));
        sockets
    }

    /// The connections to any instance, in the order in which this one learnt of them.
    pub fn everyone_anywhere(&self) -> Vec<Arc<Socket>> {
        let mut sockets = self.sockets();
        if !self.remote.is_empty() {
            sockets.extend(self.remote.sockets());
            sockets.sort_unstable_by_key(|socket| socket.key());
        }
        sockets
    }

    /// The room that every connection of this instance is in.
    pub fn everyone(&self) -> &Room {
        &self.everyone
    }

    /// The sockets of a person, in the order in which they came.
    pub fn sockets_of(&self, user_id: &str) -> Vec<Arc<Socket>> {
        self.by_user
            .get(user_id)
            .map(|entry| entry.value().iter().cloned().collect())
            .unwrap_or_default()
    }

    /// Whether a person has a socket on any instance.
    pub fn is_online(&self, user_id: &str) -> bool {
        self.by_user.contains_key(user_id) || self.remote.is_online(user_id)
    }

    /// Puts a room into the registry. `None` when it is there already.
    pub fn insert_room(&self, info: RoomInfo) -> Option<Arc<Room>> {
        match self.rooms.entry(info.id.clone()) {
            dashmap::Entry::Occupied(_) => None,
            dashmap::Entry::Vacant(entry) => {
                let room = Arc::new(Room::new(info, self.shards));
                entry.insert(room.clone());
                Some(room)
            }
        }
    }

    /// A room of the registry.
    pub fn room(&self, room_id: &str) -> Option<Arc<Room>> {
        self.rooms.get(room_id).map(|entry| entry.value().clone())
    }

    /// Takes a room out of the registry.
    pub fn remove_room(&self, room_id: &str) -> Option<Arc<Room>> {
        self.rooms.remove(room_id).map(|(_, room)| room)
    }

    /// Number of rooms in the registry.
    pub fn room_count(&self) -> usize {
        self.rooms.len()
    }

    /// The rooms of the registry with this label; all with `None`. In no order.
    pub fn rooms(&self, label: Option<&str>) -> Vec<Arc<Room>> {
        self.rooms
            .iter()
            .filter(|entry| label.is_none_or(|label| entry.value().info.label.as_ref() == label))
            .map(|entry| entry.value().clone())
            .collect()
    }

    /// A Socket.IO room outside the registry, if it has members.
    pub fn plain_room(&self, name: &str) -> Option<Arc<Room>> {
        self.plain_rooms.get(name).map(|entry| entry.value().clone())
    }

    /// Puts a socket into a room outside the registry, and tells of it if it was not there. False when the socket is gone.
    pub fn join_plain(&self, socket: &Arc<Socket>, name: &str, tell: impl FnOnce()) -> bool {
        let entry = self
            .plain_rooms
            .entry(name.into())
            .or_insert_with(|| Arc::new(Room::new(RoomInfo::plain(name), self.shards)));
        let room = entry.value().clone();
        // The entry stays locked, so that a leaving last member cannot drop the room in between.
        let joined = socket.with_rooms(|rooms| {
            let mut state = room.state();
            if state.members.insert(socket) {
                rooms.push(room.clone());
                self.came(socket, &room);
                tell();
            }
        });
        drop(entry);
        if joined.is_none() {
            self.plain_rooms
                .remove_if(name, |_, room| room.state().members.is_empty());
        }
        joined.is_some()
    }

    /// Takes a socket out of a room outside the registry, and tells of it if it was there.
    pub fn leave_plain(&self, socket: &Arc<Socket>, name: &str, tell: impl FnOnce()) {
        if let dashmap::Entry::Occupied(entry) = self.plain_rooms.entry(name.into()) {
            let room = entry.get().clone();
            let depart = || {
                let mut state = room.state();
                if state.members.remove(socket.key()).is_some() {
                    self.left(socket, &room, &state.members);
                }
                state.members.is_empty()
            };
            // Under the socket's lock, if it is not gone: it is either there, or has left.
            let left = socket.with_rooms(|rooms| {
                if rooms.remove(&room) {
                    tell();
                }
                depart()
            });
            if left.unwrap_or_else(depart) {
                entry.remove();
            }
        }
    }

    /// Whether nothing of connections is left: for tests of the invariants.
    pub fn is_clean(&self) -> bool {
        self.sockets.is_empty()
            && self.by_user.is_empty()
            && self.remote.is_empty()
            && self.plain_rooms.is_empty()
            && self.everyone.state().members.is_empty()
            && self.rooms.iter().all(|room| room.state().members.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(key: u64, person: &str) -> Arc<Socket> {
        let socket = Socket::new(key, &format!("socket-{key}"), Arc::new(Unreachable), "{}".into(), 0);
        socket.identify(Identity::new(person, None));
        Arc::new(socket)
    }

    #[test]
    fn a_person_is_online_from_the_first_socket_to_the_last() {
        let hub = Hub::new(2);
        let (one, other) = (socket(1, "ann"), socket(2, "ann"));
        assert_eq!(hub.insert_socket(&one), Some(true));
        assert_eq!(hub.insert_socket(&other), Some(false));
        let sockets: Vec<_> = hub.sockets_of("ann").iter().map(|socket| socket.key()).collect();
        assert_eq!(sockets, [1, 2]);
        assert_eq!(hub.remove_socket(&one), Some(false));
        assert!(hub.is_online("ann"));
        assert_eq!(hub.remove_socket(&other), Some(true));
        assert!(!hub.is_online("ann"));
        assert!(hub.is_clean());
        assert_eq!(hub.metrics.connections.get(), 2);
    }

    #[test]
    fn a_socket_id_is_taken_once() {
        let hub = Hub::new(2);
        let one = socket(1, "ann");
        let imposter = Arc::new(Socket::new(9, one.id(), Arc::new(Unreachable), "{}".into(), 0));
        assert_eq!(hub.insert_socket(&one), Some(true));
        assert_eq!(hub.insert_socket(&imposter), None);
        assert_eq!(hub.remove_socket(&imposter), None);
        assert_eq!(hub.socket(one.id()).map(|socket| socket.key()), Some(1));
        assert_eq!((hub.socket_count(), hub.sockets().len()), (1, 1));
    }

    #[test]
    fn a_plain_room_lives_as_long_as_it_has_members() {
        let hub = Hub::new(2);
        let (one, other) = (socket(1, "ann"), socket(2, "bob"));
        assert!(hub.join_plain(&one, "lobby", || {}));
        assert!(hub.join_plain(&one, "lobby", || {}));
        assert!(hub.join_plain(&other, "lobby", || {}));
        assert_eq!(one.with_rooms(|rooms| rooms.len()), Some(1));
        hub.leave_plain(&one, "lobby", || {});
        assert!(hub.plain_room("lobby").is_some());
        hub.leave_plain(&other, "lobby", || {});
        assert!(hub.plain_room("lobby").is_none());
        assert!(hub.is_clean());
    }

    #[test]
    fn a_socket_that_is_gone_gives_up_its_rooms_once() {
        let one = socket(1, "ann");
        assert!(one.take_rooms().is_some());
        assert!(one.take_rooms().is_none());
        assert!(!one.is_connected());
        assert_eq!(one.with_rooms(|rooms| rooms.len()), None);
    }

    #[test]
    fn rooms_are_found_by_label() {
        let hub = Hub::new(1);
        for (id, label) in [("1", "a"), ("2", "b"), ("3", "a")] {
            hub.insert_room(RoomInfo {
                label: label.into(),
                registered: true,
                ..RoomInfo::plain(id)
            });
        }
        let mut ids: Vec<_> = hub
            .rooms(Some("a"))
            .iter()
            .map(|room| room.info.id.to_string())
            .collect();
        ids.sort_unstable();
        assert_eq!(ids, ["1", "3"]);
        assert_eq!((hub.rooms(None).len(), hub.room_count()), (3, 3));
        assert!(hub.remove_room("1").is_some() && hub.remove_room("1").is_none());
    }

    #[test]
    fn rooms_know_their_order_and_whether_javascript_has_seen_them() {
        let hub = Hub::new(1);
        let rooms: Vec<_> = ["1", "2", "3"]
            .iter()
            .filter_map(|id| hub.insert_room(RoomInfo::plain(id)))
            .collect();
        assert!(rooms.is_sorted_by_key(|room| room.order));
        assert!(rooms.iter().all(|room| !room.touch() && room.touch()));
    }

    #[test]
    fn sockets_of_all_instances_are_listed_together() {
        let hub = Hub::new(1);
        let far = Arc::new(Socket::remote(2, "far", &"instance".into(), 0));
        for socket in [socket(1, "ann"), socket(3, "bob")] {
            hub.insert_socket(&socket);
        }
        assert!(hub.remote().insert(&far));
        let keys: Vec<_> = hub.everyone_anywhere().iter().map(|socket| socket.key()).collect();
        assert_eq!(keys, [1, 2, 3]);
        assert_eq!(hub.sockets().len(), 2);
    }

    #[test]
    fn an_acknowledgement_is_taken_once() {
        let one = socket(1, "ann");
        one.await_ack(4);
        assert!(one.take_ack(4));
        assert!(!one.take_ack(4));
    }

    #[test]
    fn ids_are_twenty_characters_that_differ() {
        let ids: std::collections::HashSet<_> = (0..100).filter_map(|_| SocketId::random()).collect();
        assert_eq!(ids.len(), 100);
        assert!(ids.iter().all(|id| id.as_str().len() == 20));
    }
}
