//! Clients that come back to another instance than the one that their socket is on: the socket comes to them, in its rooms,
//! and nobody else notices.
//!
//! While it does, it is on both, and every packet for it is brought by at least one of them. First its instance tells what it
//! is. Then the new one puts it into everything, and withholds what is sent to it; from here on nothing escapes it. Only then
//! the former instance lets it go, and gives what was missed up to now, having heard all that the new one had heard before.
//! What both have got is told apart by where it was published, and brought once.

use std::sync::Arc;

use parking_lot::MutexGuard;

use super::{Service, promises::Memory, recovery::is_same_person, remote::Loss};
use crate::{
    disconnect::DisconnectReason,
    hub::{Claim, Handshake, Identity, Inheritance, Recovery, Room, Socket, Span, Turn, cut_named},
    link::Link,
    ports::{EventKind, Peers, Release, ServiceEvent, Session, Told},
};

/// How often a socket may come and go elsewhere while it is on its way here.
const MOST_MOVES: usize = 16;

/// What becomes of a client that comes with the secret of a socket on another instance.
#[derive(Debug)]
pub enum TakenOver {
    /// It is a new one.
    Not,
    /// This is its socket, and the number of its connection.
    Socket(Arc<Socket>, u32),
    /// Its connection is to be closed: the socket could be brought here, but not what it has missed.
    Broken,
}

/// Where a socket, and what its client has missed, comes from.
enum Source {
    /// From this instance, which has it, or remembers it.
    Instance(Session, Arc<str>),
    /// From what is known here: its instance says nothing.
    Memory(Memory),
}

impl Source {
    /// What the socket is, and whether the instance that has it was asked.
    fn session(&self) -> (&Session, bool) {
        match self {
            Self::Instance(session, _) => (session, !session.is_remembered),
            Self::Memory(Memory { session, .. }) => (session, false),
        }
    }
}

impl Service {
    /// Brings the socket of a client here that another instance has, and what it missed. Where one was asked about in its
    /// place, only if that is the same person, or nobody was named either time.
    pub async fn take_over(
        &self,
        claim: &Claim,
        asked: Option<&Socket>,
        link: &Arc<dyn Link>,
        handshake: Handshake,
    ) -> TakenOver {
        let Some(peers) = self.peers().filter(|_| Recovery::may_be_secret(&claim.secret)) else {
            return TakenOver::Not;
        };
        let (holder, source) = self.find(claim, asked, peers).await;
        let Some(source) = source.filter(|_| !self.is_closed()) else {
            // Perhaps it has just been made, and nothing is known of it here yet.
            peers.moved_here(&claim.secret);
            if let Some(orphan) = holder.filter(|holder| holder.is_orphaned()) {
                self.lose(&orphan, &Loss::InPlace(DisconnectReason::InstanceLost));
            }
            return TakenOver::Not;
        };
        let Some(socket) = self.receive(holder.as_ref(), &source, claim, (link, handshake)) else {
            return TakenOver::Broken;
        };
        let missed = match source {
            Source::Instance(Session { rooms, .. }, instance) => {
                self.have_released(&**peers, &instance, claim, &socket, rooms).await
            }
            Source::Memory(memory) => self.missed_of(&memory, socket.key()),
        };
        let taken_over = match missed.is_some_and(|missed| self.bring(&socket, claim, missed)) {
            true => TakenOver::Socket(socket, 0),
            false => {
                peers.moved_here(&claim.secret);
                self.unregister(&socket, DisconnectReason::TransportClose);
                TakenOver::Broken
            }
        };
        self.recoveries.brought.notify_waiters();
        taken_over
    }

    /// Where the socket of a client is that comes here: on an instance, or in memory; and what is known of it here.
    async fn find(
        &self,
        claim: &Claim,
        asked: Option<&Socket>,
        peers: &Arc<dyn Peers>,
    ) -> (Option<Arc<Socket>>, Option<Source>) {
        let mut former: Option<Arc<Socket>> = None;
        loop {
            let holder = self.hub.remote().with_secret(&claim.secret);
            let is_asked = |holder: &Arc<Socket>| former.as_ref().is_some_and(|former| Arc::ptr_eq(former, holder));
            let Some(holder) = holder.filter(|holder| !is_asked(holder)) else {
                break;
            };
            let (Some(instance), true) = (
                holder.instance(),
                asked.is_none_or(|asked| is_same_person(asked, holder.user_id(), holder.id())),
            ) else {
                return (Some(holder), None);
            };
            match peers.session(instance, claim).await {
                Told::Session(session) if session.id == holder.id() => {
                    let source = Source::Instance(session, instance.clone());
                    return (Some(holder), Some(source));
                }
                Told::Nothing => match self.remembered(&holder, claim, peers).await {
                    Some(memory) => return (Some(holder), Some(Source::Memory(memory))),
                    None => {
                        former = Some(holder);
                        break;
                    }
                },
                // It may have gone to a third instance just before: that is known here when the answer is.
                _ => match self.hub.remote().with_secret(&claim.secret) {
                    Some(now) if !Arc::ptr_eq(&now, &holder) => former = Some(holder),
                    _ => return (Some(holder), None),
                },
            }
        }
        // The instance that has been here for longest may remember one that is no more.
        let Some(eldest) = peers.eldest() else {
            return (former, None);
        };
        let told = peers.session(&eldest, claim).await;
        let source = match told {
            Told::Session(session)
                if asked.is_none_or(|asked| is_same_person(asked, &session.user_id, &session.id)) =>
            {
                Some(Source::Instance(session, eldest))
            }
            _ => None,
        };
        (former, source)
    }

    /// Has its instance let a socket go, which is here now, in these rooms. Where it has come or gone there meanwhile, it does
    /// here as well, before it is let go: nothing that is sent to its rooms escapes it.
    async fn have_released(
        &self,
        peers: &dyn Peers,
        instance: &Arc<str>,
        claim: &Claim,
        socket: &Arc<Socket>,
        mut rooms: Vec<String>,
    ) -> Option<Inheritance> {
        for _ in 0..MOST_MOVES {
            match peers.release(instance, claim, &rooms).await? {
                Release::Done(missed) => return Some(missed),
                Release::Moved(now) => {
                    self.follow(socket, &rooms, &now);
                    rooms = now;
                }
            }
        }
        None
    }

    /// Has a socket join those rooms that it came into elsewhere, and leave those that it left there.
    fn follow(&self, socket: &Arc<Socket>, before: &[String], now: &[String]) {
        for name in now.iter().filter(|name| !before.contains(name)) {
            // Refused only when either has gone meanwhile.
            let _ = self.socket_join(socket, name);
        }
        for name in before.iter().filter(|name| !now.contains(name)) {
            self.socket_leave(socket, name);
        }
    }

    /// Waits while the socket of a client is on its way here: until then nobody can say what that client has missed, not
    /// even to itself when it has lost its connection again and comes on another one.
    pub async fn brought(&self, claim: &Claim) {
        loop {
            let brought = self.recoveries.brought.notified();
            tokio::pin!(brought);
            // From now on, so that nothing is missed that happens before it is awaited.
            brought.as_mut().enable();
            let socket = self.recoveries.named(&claim.secret);
            if !socket.is_some_and(|socket| socket.recovery().is_some_and(Recovery::is_coming)) {
                return;
            }
            brought.await;
        }
    }

    /// Puts a socket of another instance into everything here. Nothing goes to its client yet. `None` when it is here
    /// already: its client has come twice.
    fn receive(
        &self,
        holder: Option<&Arc<Socket>>,
        source: &Source,
        claim: &Claim,
        (link, handshake): (&Arc<dyn Link>, Handshake),
    ) -> Option<Arc<Socket>> {
        let _change = self.change();
        let (session, was_asked) = source.session();
        let socket = Socket::new(
            self.next_key(),
            &session.id,
            link.clone(),
            handshake,
            session.connected_at,
        );
        socket.identify(Identity::new(&session.user_id, session.username.as_deref()));
        let recovery = Recovery::of(&claim.secret, true).after_moves(session.moves.saturating_add(1));
        recovery.begin(session.began.clone());
        socket.set_recovery(recovery);
        if let Some(profile) = &session.profile {
            socket.describe(profile);
        }
        socket.inherit(session.data.as_deref());
        let heard = self.sink.wants(EventKind::Connection);
        if heard {
            socket.unsettle();
        }
        let socket = Arc::new(socket);
        link.await_replay();
        self.hub.insert_socket(&socket)?;
        // Nobody sees that it is nowhere meanwhile.
        if let Some(holder) = holder {
            self.lose_now(holder, &Loss::Silent);
        }
        self.recoveries.insert(&socket);
        self.hub.publish(&socket);
        let mut rooms = Vec::new();
        for name in &session.rooms {
            match self.hub.room(name) {
                Some(room) if self.enter(&socket, &room) => rooms.push(room),
                Some(_) => {}
                // It has been deleted, or was none of the registry.
                None if self.hub.join_plain(&socket, name, || {}) => rooms.extend(self.hub.plain_room(name)),
                None => {}
            }
        }
        if let Some(peers) = self.peers() {
            peers.arrived(&socket, &rooms, was_asked);
        }
        if session.expires_at.is_some() {
            self.expire_at(&socket, session.expires_at);
        }
        if heard {
            self.sink.emit(ServiceEvent::Connection(socket.clone()));
        }
        Some(socket)
    }

    /// What is known here of a socket whose instance says nothing, once as much has been heard as its client has seen.
    async fn remembered(&self, holder: &Arc<Socket>, claim: &Claim, peers: &Arc<dyn Peers>) -> Option<Memory> {
        let recovery = holder.recovery()?;
        let seen = match &claim.offset {
            Some(offset) => cut_named(offset)?,
            None => recovery.began(),
        };
        if !peers.heard(holder, &seen).await {
            return None;
        }
        let data = holder.told_data().map(|data| data.to_string());
        let memory = Memory {
            session: self.session_of(holder, data),
            key: holder.key(),
            spans: self.hub.places(holder, |_| (), |places| recovery.kept(places))??,
            seen,
        };
        // Before anything has happened.
        self.missed_of(&memory, holder.key())?;
        Some(memory)
    }

    /// What this instance remembers of a socket of another one that says nothing, for a third one, which will ask for what its
    /// client has missed.
    pub async fn promise(&self, claim: &Claim) -> Option<Session> {
        let peers = self.peers()?;
        let holder = self.hub.remote().with_secret(&claim.secret)?;
        let memory = self.remembered(&holder, claim, peers).await?;
        let session = memory.session.clone();
        self.promises.make(&claim.secret, memory);
        Some(session)
    }

    /// What a client has missed as far as it was heard here, where its socket has this number by now; `None` when that may
    /// not be all, or is more than may wait for it.
    fn missed_of(&self, memory: &Memory, here: u64) -> Option<Inheritance> {
        let replay = self.hub.replay()?;
        let Memory { seen, spans, key, .. } = memory;
        let missed = replay.missed_elsewhere(seen, spans, (*key, here)).ok()?;
        let bytes: usize = missed.missed.iter().map(|handed| handed.packet.len()).sum();
        (bytes <= self.config.limits.max_queued_bytes).then_some(missed)
    }

    /// Makes a socket a member, and tells nobody.
    fn enter(&self, socket: &Arc<Socket>, room: &Arc<Room>) -> bool {
        let entered = socket.with_rooms(|rooms| {
            let mut state = room.state();
            let enters = !state.deleted && state.members.insert(socket);
            if enters {
                rooms.push(room.clone());
                self.hub.came(socket, room);
            }
            enters
        });
        entered == Some(true)
    }

    /// Brings a client what it missed: where its socket was, and since it is here. False when the socket has ended, or not
    /// all of that is kept.
    fn bring(&self, socket: &Arc<Socket>, claim: &Claim, missed: Inheritance) -> bool {
        let Some(recovery) = socket.recovery() else {
            return false;
        };
        let mut turn = recovery.turn();
        let brought = self.hub.places(
            socket,
            |_| (),
            |places| {
                let since = recovery.missed(0, places)?;
                let before = self.fanout.inherit(socket, missed, &since).ok()?;
                recovery.inherit(claim.offset.clone(), before);
                Some(())
            },
        );
        let is_brought = brought.flatten().is_some();
        turn.is_coming = !is_brought;
        if is_brought && (self.sink.wants(EventKind::Recovered) || socket.is_touched()) {
            self.sink.emit(ServiceEvent::Recovered(socket.clone()));
        }
        drop(turn);
        is_brought
    }

    /// Another instance has taken a socket of this one over, because this one could not be asked: it is gone from here. Where
    /// it has come to both at once, as the number of its moves tells, only if the other instance `comes_first`.
    pub fn taken_away(&self, socket_id: &str, moves: u32, comes_first: bool) {
        let _change = self.change();
        if let Some(socket) = self.hub.socket(socket_id) {
            let here = socket.recovery().map_or(0, Recovery::moves);
            if moves > here || (moves == here && comes_first) {
                self.let_go(&socket, socket.recovery().map(Recovery::turn));
            }
        }
    }

    /// Takes a socket out of everything, and tells nobody.
    fn let_go(&self, socket: &Arc<Socket>, mut turn: Option<MutexGuard<'_, Turn>>) -> bool {
        if let Some(turn) = turn.as_mut().filter(|turn| turn.away.is_none()) {
            self.stop_typing(socket);
            self.tell_away(socket, DisconnectReason::TransportClose);
            turn.connection += 1;
        }
        let Some(mut rooms) = self.take_rooms(socket, turn) else {
            return false;
        };
        rooms.retain(|room| match room.info.registered {
            // It is told to have left a room that is just being deleted: not once more.
            true => room.state().members.remove(socket.key()).is_some(),
            false => {
                self.hub.leave_plain(socket, &room.info.id, || {});
                true
            }
        });
        self.recoveries.remove(socket);
        self.hub.remove_socket(socket);
        if let Some(peers) = self.peers() {
            peers.handed_over(socket, &rooms);
        }
        self.introductions.remove(&socket.key());
        if socket.is_touched() {
            self.sink.emit(ServiceEvent::Abandoned(socket.clone()));
        }
        // The client has left it, noticed or not: nobody is there to be told goodbye.
        self.fanout.abandon(socket, socket.link());
        true
    }

    /// The socket whose client shows this on another instance, if that can be told everything. Otherwise it ends: its
    /// client is a new one there.
    pub fn claimed(&self, claim: &Claim) -> Option<Arc<Socket>> {
        let _change = self.change();
        let socket = self.recoveries.named(&claim.secret)?;
        let recovery = socket.recovery()?;
        let turn = recovery.turn();
        if !socket.is_connected() {
            return None;
        }
        if self.known_offset(&socket, recovery, claim).is_none() {
            self.replace(&socket, turn);
            return None;
        }
        drop(turn);
        Some(socket)
    }

    /// What another instance is to know of a socket of this one. `data`: what the application keeps there.
    pub fn session_of(&self, socket: &Arc<Socket>, data: Option<String>) -> Session {
        let identity = socket.identity();
        Session {
            id: socket.id().to_owned(),
            user_id: identity.user_id.to_string(),
            username: identity.username.as_deref().map(str::to_owned),
            profile: socket.profile().map(str::to_owned),
            connected_at: socket.connected_at,
            rooms: rooms_of(socket),
            data,
            expires_at: socket.expires_at(),
            began: socket.recovery().map(Recovery::began).unwrap_or_default(),
            moves: socket.recovery().map_or(0, Recovery::moves),
            is_remembered: socket.is_remote(),
        }
    }

    /// Lets a socket go to another instance, whose socket `appears` in its place, if it is in these rooms. `None` when the
    /// socket has ended, or ends because what its client has missed cannot be told.
    pub fn release(&self, claim: &Claim, rooms: &[String], appears: impl FnOnce(&Socket)) -> Option<Release> {
        // Nobody has it join or leave meanwhile: the other instance would not know.
        let _rest = self.at_rest();
        let Some(socket) = self.recoveries.named(&claim.secret) else {
            let memory = self.promises.keep(&claim.secret)?;
            return self.missed_of(&memory, memory.key).map(Release::Done);
        };
        let (recovery, replay) = (socket.recovery()?, self.hub.replay()?);
        let turn = recovery.turn();
        if !socket.is_connected() {
            return None;
        }
        let now = rooms_of(&socket);
        if now.len() != rooms.len() || !now.iter().all(|name| rooms.contains(name)) {
            return Some(Release::Moved(now));
        }
        let missed = self.known_offset(&socket, recovery, claim).and_then(|offset| {
            let spans = self
                .hub
                .places(&socket, |_| (), |places| recovery.missed(offset, places))??;
            let newest = replay.newest();
            Some((replay.inheritance(&spans, socket.key()).ok()?, newest))
        });
        let Some((mut missed, newest)) = missed else {
            self.replace(&socket, turn);
            return None;
        };
        if !self.let_go(&socket, Some(turn)) {
            return None;
        }
        // What was sent to it alone since, and cannot be any more.
        let late = Span {
            trail: recovery.trail().clone(),
            after: newest,
            until: u64::MAX,
        };
        let late = replay.inheritance(&[late], socket.key()).unwrap_or_default();
        missed.missed.extend(late.missed);
        appears(&socket);
        Some(Release::Done(missed))
    }
}

/// The rooms that a socket is in, those of the registry and others.
fn rooms_of(socket: &Socket) -> Vec<String> {
    let rooms = socket.with_rooms(|rooms| rooms.iter().map(|room| room.info.id.to_string()).collect());
    rooms.unwrap_or_default()
}
