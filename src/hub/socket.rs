//! One connected socket. Never does I/O; packets leave through its [`Link`].

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashSet},
    sync::{Arc, OnceLock},
};

use parking_lot::RwLock;

use super::{
    Deferred, Ordered, Pace, Recovery,
    deferred::Waiting,
    handshake::{Handshake, Query},
    identity::Identity,
    members::{Recipient, shard_of},
    room::Room,
};
use crate::{
    link::Link,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    wire::packet::Packet,
};

/// Which of a client's own events have listeners in JavaScript.
#[derive(Debug, Default)]
pub struct Interest {
    /// Event names in canonical form.
    pub names: HashSet<Box<str>>,
    /// Every event, the built-in ones included.
    pub any: bool,
}

#[derive(Debug, Default)]
struct Rooms {
    gone: bool,
    list: Ordered<Room<Socket>>,
}

/// What few sockets need.
#[derive(Debug, Default)]
struct Rare {
    /// Packets of the client that wait for a decision about one of them.
    waiting: Mutex<Option<Box<Waiting>>>,
    /// How fast the client sends, where that is limited.
    pace: OnceLock<Pace>,
    /// When the socket is to be closed, milliseconds since the epoch; 0 for never.
    expires_at: AtomicU64,
    /// For a client that may lose its connection and come back.
    recovery: OnceLock<Recovery>,
    /// Another instance had the socket before.
    is_inherited: AtomicBool,
    /// The instance that has the socket is lost, and another one may take it over.
    is_orphaned: AtomicBool,
    /// What the application keeps in `socket.data`, as JSON, as far as another instance told, or was told.
    data: Mutex<Option<Arc<str>>>,
    /// What other instances were told of `expires_at`.
    told_expiry: AtomicU64,
}

/// The connection that the socket is on.
#[derive(Debug)]
struct Attachment {
    link: Arc<dyn Link>,
    handshake: Handshake,
}

/// A connected socket.
#[derive(Debug)]
pub struct Socket {
    key: u64,
    id: Box<str>,
    attachment: RwLock<Attachment>,
    identity: OnceLock<Identity>,
    /// What else `socket.user` holds, a JSON object; known where it is to be told to other instances.
    profile: OnceLock<Box<str>>,
    /// Uid of the instance that the socket is connected to, when it is another one.
    instance: Option<Arc<str>>,
    /// When the connection was made, milliseconds since the epoch.
    pub connected_at: u64,
    last_activity: AtomicU64,
    rooms: Mutex<Rooms>,
    interest: Mutex<Option<Box<Interest>>>,
    rare: OnceLock<Box<Rare>>,
    pending_acks: Mutex<PendingAcks>,
    /// JavaScript has heard of the connection, so that its listeners are in place.
    settled: AtomicBool,
    /// JavaScript holds objects that belong to the connection.
    touched: AtomicBool,
}

/// A way that leads nowhere. Packets for a socket on another instance are published instead.
#[derive(Debug)]
pub struct Unreachable;

impl Link for Unreachable {
    fn send(&self, _: &Packet, _: bool) -> bool {
        false
    }
}

/// Ids of events whose acknowledgement is awaited.
#[derive(Debug, Default)]
struct PendingAcks {
    /// By JavaScript.
    here: HashSet<u64>,
    /// By other servers, the oldest first.
    remote: BTreeSet<u64>,
}

impl Recipient for Socket {
    fn key(&self) -> u64 {
        self.key
    }

    fn link(&self) -> Arc<dyn Link> {
        Self::link(self)
    }

    fn is_remote(&self) -> bool {
        self.instance.is_some()
    }
}

impl Socket {
    /// A socket that is not registered yet. `key` is unique in the process.
    pub fn new(key: u64, id: &str, link: Arc<dyn Link>, handshake: Handshake, now: u64) -> Self {
        Self {
            key,
            id: id.into(),
            attachment: RwLock::new(Attachment { link, handshake }),
            identity: OnceLock::new(),
            profile: OnceLock::new(),
            instance: None,
            connected_at: now,
            last_activity: AtomicU64::new(now),
            rooms: Mutex::default(),
            interest: Mutex::new(None),
            rare: OnceLock::new(),
            pending_acks: Mutex::default(),
            settled: AtomicBool::new(true),
            touched: AtomicBool::new(false),
        }
    }

    /// A socket that is connected to another instance: known of, but out of reach of this one's deliveries.
    pub fn remote(key: u64, id: &str, instance: &Arc<str>, connected_at: u64) -> Self {
        Self {
            instance: Some(instance.clone()),
            ..Self::new(key, id, Arc::new(Unreachable), "{}".into(), connected_at)
        }
    }

    /// Whether the socket is connected to another instance of the cluster.
    pub fn is_remote(&self) -> bool {
        self.instance.is_some()
    }

    /// Uid of the instance that the socket is connected to, when it is another one.
    pub fn instance(&self) -> Option<&Arc<str>> {
        self.instance.as_ref()
    }

    /// Number of the connection, unique in the process.
    pub fn key(&self) -> u64 {
        self.key
    }

    /// The Socket.IO id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Which of `shards` parts the connection belongs to.
    pub fn shard(&self, shards: usize) -> usize {
        shard_of(self.key, shards)
    }

    /// The way to the client.
    pub fn link(&self) -> Arc<dyn Link> {
        self.attachment.read().link.clone()
    }

    /// The client has come back on another connection. Returns the way to it on the one before.
    pub fn attach(&self, link: Arc<dyn Link>, handshake: Handshake) -> Arc<dyn Link> {
        std::mem::replace(&mut *self.attachment.write(), Attachment { link, handshake }).link
    }

    /// The handshake as a JSON object: `auth`, `issued`, `headers`, `url`, `address`, `secure`.
    pub fn handshake(&self) -> String {
        self.attachment.read().handshake.json(self.connected_at).into_owned()
    }

    /// What is kept so that the client may come back, where it may.
    pub fn recovery(&self) -> Option<&Recovery> {
        self.rare.get()?.recovery.get()
    }

    /// The client may come back when it loses its connection.
    pub fn set_recovery(&self, recovery: Recovery) {
        let _ = self.rare().recovery.set(recovery);
    }

    /// Whether the client has lost its connection, and may come back.
    pub fn is_away(&self) -> bool {
        self.recovery().is_some_and(Recovery::is_away)
    }

    /// Whether the client has lost its connection and come back.
    pub fn has_returned(&self) -> bool {
        self.recovery().is_some_and(Recovery::has_returned)
    }

    /// Whether another instance had the socket before.
    pub fn is_inherited(&self) -> bool {
        let rare = self.rare.get();
        rare.is_some_and(|rare| rare.is_inherited.load(Ordering::Acquire))
    }

    /// Another instance had the socket before, where the application kept this in `socket.data`.
    pub fn inherit(&self, data: Option<&str>) {
        let rare = self.rare();
        rare.is_inherited.store(true, Ordering::Release);
        *rare.data.lock() = data.map(Into::into);
    }

    /// Whether the instance that has the socket is lost, and another one may take it over.
    pub fn is_orphaned(&self) -> bool {
        let rare = self.rare.get();
        rare.is_some_and(|rare| rare.is_orphaned.load(Ordering::Acquire))
    }

    /// The instance that has the socket is lost.
    pub fn orphan(&self) {
        self.rare().is_orphaned.store(true, Ordering::Release);
    }

    /// What the application keeps in `socket.data`, as JSON, as far as another instance told, or was told.
    pub fn told_data(&self) -> Option<Arc<str>> {
        self.rare.get()?.data.lock().clone()
    }

    /// Notes when the socket is to be closed. False when that was known.
    pub fn note_expiry(&self) -> bool {
        let Some(rare) = self.rare.get() else { return false };
        let at = rare.expires_at.load(Ordering::Acquire);
        rare.told_expiry.swap(at, Ordering::AcqRel) != at
    }

    /// Notes what the application keeps in `socket.data`. False when that was known.
    pub fn note_data(&self, json: &str) -> bool {
        let known = &mut *self.rare().data.lock();
        let is_new = known.as_deref() != Some(json);
        if is_new {
            *known = Some(json.into());
        }
        is_new
    }

    /// Names the person behind the connection; only the first call counts.
    pub fn identify(&self, identity: Identity) {
        let _ = self.identity.set(identity);
    }

    /// The person behind the connection.
    pub fn identity(&self) -> &Identity {
        self.identity.get_or_init(|| Identity::new(&self.id, None))
    }

    /// `socket.userId`, else the socket id.
    pub fn user_id(&self) -> &str {
        &self.identity().user_id
    }

    /// Says what `socket.user` holds, as a JSON object; only the first call counts.
    pub fn describe(&self, profile: &str) {
        let _ = self.profile.set(profile.into());
    }

    /// What `socket.user` holds, as a JSON object, if it was said.
    pub fn profile(&self) -> Option<&str> {
        self.profile.get().map(|profile| &**profile)
    }

    /// A parameter of the handshake's query, as [`Query::text`] reads it.
    pub fn query(&self, name: &str) -> Option<String> {
        let url = self.attachment.read().handshake.url()?;
        Query::of(&url).text(name).map(Cow::into_owned)
    }

    /// When the client last sent an event, milliseconds since the epoch.
    pub fn last_activity(&self) -> u64 {
        self.last_activity.load(Ordering::Relaxed)
    }

    /// Notes that the client sent an event.
    pub fn touch_activity(&self, now: u64) {
        self.last_activity.store(now, Ordering::Relaxed);
    }

    /// Runs `change` on the socket's rooms; `None` when the socket is gone.
    pub fn with_rooms<R>(&self, change: impl FnOnce(&mut Ordered<Room<Self>>) -> R) -> Option<R> {
        let mut rooms = self.rooms.lock();
        (!rooms.gone).then(|| change(&mut rooms.list))
    }

    /// Marks the socket as gone and takes its rooms; `None` when it was gone already.
    pub fn take_rooms(&self) -> Option<Vec<Arc<Room<Self>>>> {
        let mut rooms = self.rooms.lock();
        if std::mem::replace(&mut rooms.gone, true) {
            return None;
        }
        let list = std::mem::take(&mut rooms.list).into_vec();
        drop(rooms);
        // Nobody decides about it any more.
        if let Some(rare) = self.rare.get() {
            drop(rare.waiting.lock().take());
        }
        Some(list)
    }

    fn rare(&self) -> &Rare {
        self.rare.get_or_init(Box::default)
    }

    /// How fast the client sends.
    pub fn pace(&self, make: impl FnOnce() -> Pace) -> &Pace {
        self.rare().pace.get_or_init(make)
    }

    /// When the socket is to be closed, in milliseconds since the epoch.
    pub fn expires_at(&self) -> Option<u64> {
        let at = self.rare.get()?.expires_at.load(Ordering::Acquire);
        Some(at).filter(|at| *at > 0)
    }

    /// Says when the socket is to be closed. Returns what was said before.
    pub fn set_expiry(&self, at: Option<u64>) -> Option<u64> {
        let at = at.map_or(0, |at| at.max(1));
        let before = self.rare().expires_at.swap(at, Ordering::AcqRel);
        Some(before).filter(|at| *at > 0)
    }

    /// Has a packet of the client be decided, by a question of this number; what comes after it waits.
    pub fn decide_about(&self, number: u64, packet: Deferred) {
        let mut waiting = self.rare().waiting.lock();
        waiting.get_or_insert_default().decide(number, packet);
    }

    /// Has a packet wait if there are some that do. False when there are none.
    pub fn defer(&self, packet: impl FnOnce() -> Deferred) -> bool {
        let Some(rare) = self.rare.get() else { return false };
        match &mut *rare.waiting.lock() {
            Some(waiting) => {
                waiting.push(packet());
                true
            }
            None => false,
        }
    }

    /// The packet about which the question of this number was; `None` when it has been answered.
    pub fn decided(&self, number: u64) -> Option<Deferred> {
        self.rare.get()?.waiting.lock().as_mut()?.decided(number)
    }

    /// The next packet that waits and need not any more. Without one, those that come need not wait either, unless one is
    /// being decided.
    pub fn next_deferred(&self) -> Option<Deferred> {
        let mut waiting = self.rare.get()?.waiting.lock();
        let next = waiting.as_mut()?.next();
        if next.is_none() && waiting.as_ref().is_some_and(|waiting| waiting.is_over()) {
            *waiting = None;
        }
        next
    }

    /// Whether the socket is still connected.
    pub fn is_connected(&self) -> bool {
        !self.rooms.lock().gone
    }

    /// Changes which events have listeners.
    pub fn set_interest(&self, change: impl FnOnce(&mut Interest)) {
        change(self.interest.lock().get_or_insert_default());
    }

    /// Whether an event of the client has a listener; built-in events only count for `onAny` and their own name.
    pub fn is_heard(&self, event: &str) -> bool {
        self.interest
            .lock()
            .as_ref()
            .is_some_and(|interest| interest.any || interest.names.contains(event))
    }

    /// Keeps unheard events coming until JavaScript has had a chance to add listeners.
    pub fn unsettle(&self) {
        self.settled.store(false, Ordering::Release);
    }

    /// JavaScript has heard of the connection.
    pub fn settle(&self) {
        self.settled.store(true, Ordering::Release);
    }

    /// Whether JavaScript has heard of the connection.
    pub fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Acquire)
    }

    /// Notes that JavaScript holds objects of this connection. Returns whether it did before.
    pub fn touch(&self) -> bool {
        self.touched.swap(true, Ordering::AcqRel)
    }

    /// Whether JavaScript holds objects of this connection.
    pub fn is_touched(&self) -> bool {
        self.touched.load(Ordering::Acquire)
    }

    /// Waits for the acknowledgement of an event of JavaScript's.
    pub fn await_ack(&self, id: u64) {
        self.pending_acks.lock().here.insert(id);
    }

    /// Waits for the acknowledgement of an event of another server, and for at most so many. False when an older one expired
    /// for it.
    pub fn await_remote_ack(&self, id: u64, most: usize) -> bool {
        let mut pending = self.pending_acks.lock();
        pending.remote.insert(id);
        pending.remote.len() <= most || pending.remote.pop_first().is_none()
    }

    /// Takes an awaited acknowledgement; false for one nobody waits for.
    pub fn take_ack(&self, id: u64) -> bool {
        let mut pending = self.pending_acks.lock();
        pending.here.remove(&id) || pending.remote.remove(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_other_servers_await_the_oldest_expires() {
        let socket = Socket::new(1, "a", Arc::new(Unreachable), "{}".into(), 0);
        socket.await_ack(1);
        let most = 100;
        let kept = (10..10 + most as u64).all(|id| socket.await_remote_ack(id, most));
        assert!(
            kept && !socket.await_remote_ack(u64::MAX, most),
            "one expired too early, or none did"
        );
        assert!(!socket.take_ack(10) && socket.take_ack(11) && socket.take_ack(u64::MAX) && socket.take_ack(1));
    }
}
