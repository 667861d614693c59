//! Clients that come back to another instance than the one that their socket is on: the socket comes to them, in its rooms,
//! and nobody else notices.
//!
//! While it does, it is on both, and every packet for it is brought by at least one of them. First its instance tells what it
//! is. Then the new one puts it into everything, and withholds what is sent to it; from here on nothing escapes it. Only then
//! the former instance lets it go, and gives what was missed up to now, having heard all that the new one had heard before.
//! What both have got is told apart by where it was published, and brought once.

use std::sync::Arc;

use parking_lot::MutexGuard;

use super::{Service, recovery::is_same_person, remote::Loss};
use crate::{
    disconnect::DisconnectReason,
    hub::{Claim, Cut, Handshake, Identity, Inheritance, Recovery, Room, Socket, Span, Turn, cut_named},
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
    /// From the instance that has it.
    Instance(Session),
    /// From what is known here: that instance says nothing.
    Memory(Memory),
}

/// What is known here of a socket whose instance says nothing.
struct Memory {
    session: Session,
    /// What its client has seen.
    seen: Cut,
    /// Where it is, and was.
    spans: Vec<Span>,
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
        let mut former: Option<Arc<Socket>> = None;
        let (holder, source) = loop {
            let holder = self.hub.remote().with_secret(&claim.secret);
            let is_asked = |holder: &Arc<Socket>| former.as_ref().is_some_and(|former| Arc::ptr_eq(former, holder));
            let Some(holder) = holder.filter(|holder| !is_asked(holder)) else {
                // Perhaps it has just been made, and nothing is known of it here yet.
                peers.moved_here(&claim.secret);
                if let Some(orphan) = former.filter(|former| former.is_orphaned()) {
                    self.lose(&orphan, &Loss::InPlace(DisconnectReason::InstanceLost));
                }
                return TakenOver::Not;
            };
            let told = match asked.is_none_or(|asked| is_same_person(asked, &holder)) {
                true => peers.session(&holder, claim).await,
                false => Told::New,
            };
            let source = match told {
                Told::Session(session) if session.id == holder.id() => Some(Source::Instance(session)),
                Told::Nothing => self.remembered(&holder, claim, peers).await,
                _ => None,
            };
            match source.filter(|_| !self.is_closed()) {
                Some(source) => break (holder, source),
                // It may have gone to a third instance just before: that is known here when the answer is.
                None => former = Some(holder),
            }
        };
        let (session, was_asked) = match &source {
            Source::Instance(session) => (session, true),
            Source::Memory(Memory { session, .. }) => (session, false),
        };
        let Some(socket) = self.receive(&holder, session, claim, was_asked, (link, handshake)) else {
            return TakenOver::Broken;
        };
        let missed = match source {
            Source::Instance(Session { rooms, .. }) => {
                self.have_released(&**peers, &holder, claim, &socket, rooms).await
            }
            Source::Memory(memory) => self.missed_of((&holder, &socket), &memory),
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

    /// Has its instance let a socket go, which is here now, in these rooms. Where it has come or gone there meanwhile, it does
    /// here as well, before it is let go: nothing that is sent to its rooms escapes it.
    async fn have_released(
        &self,
        peers: &dyn Peers,
        holder: &Socket,
        claim: &Claim,
        socket: &Arc<Socket>,
        mut rooms: Vec<String>,
    ) -> Option<Inheritance> {
        for _ in 0..MOST_MOVES {
            match peers.release(holder, claim, &rooms).await? {
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
        holder: &Arc<Socket>,
        session: &Session,
        claim: &Claim,
        was_asked: bool,
        (link, handshake): (&Arc<dyn Link>, Handshake),
    ) -> Option<Arc<Socket>> {
        let _change = self.change();
        let socket = Socket::new(
            self.next_key(),
            &session.id,
            link.clone(),
            handshake,
            session.connected_at,
        );
        socket.identify(Identity::new(&session.user_id, session.username.as_deref()));
        let moves = holder.recovery().map_or(0, Recovery::moves);
        let recovery = Recovery::of(&claim.secret, true).after_moves(moves.saturating_add(1));
        recovery.begin(holder.recovery().map(Recovery::began).unwrap_or_default());
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
        self.lose_now(holder, &Loss::Silent);
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
    async fn remembered(&self, holder: &Arc<Socket>, claim: &Claim, peers: &Arc<dyn Peers>) -> Option<Source> {
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
            spans: self.hub.places(holder, |_| (), |places| recovery.kept(places))??,
            seen,
        };
        // Before anything has happened.
        self.missed_of((holder, holder), &memory)?;
        Some(Source::Memory(memory))
    }

    /// What a client has missed as far as it was heard here, whose socket is one of these; `None` when that may not be all, or is more than may wait for it.
    fn missed_of(&self, (holder, here): (&Socket, &Socket), memory: &Memory) -> Option<Inheritance> {
        let replay = self.hub.replay()?;
        let Memory { seen, spans, .. } = memory;
        let missed = replay.missed_elsewhere(seen, spans, (holder.key(), here.key())).ok()?;
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
        }
    }

    /// Lets a socket go to another instance, whose socket `appears` in its place, if it is in these rooms. `None` when the
    /// socket has ended, or ends because what its client has missed cannot be told.
    pub fn release(&self, claim: &Claim, rooms: &[String], appears: impl FnOnce(&str)) -> Option<Release> {
        // Nobody has it join or leave meanwhile: the other instance would not know.
        let _rest = self.at_rest();
        let socket = self.recoveries.named(&claim.secret)?;
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
        appears(socket.id());
        Some(Release::Done(missed))
    }
}

/// The rooms that a socket is in, those of the registry and others.
fn rooms_of(socket: &Socket) -> Vec<String> {
    let rooms = socket.with_rooms(|rooms| rooms.iter().map(|room| room.info.id.to_string()).collect());
    rooms.unwrap_or_default()
}
