//! Clients that lose their connection and come back: the socket stays, in its rooms, and gets on its new connection what
//! it missed; nobody else notices. It ends when its client has not come back in time.
//!
//! What a client names is its secret and the offset of what it saw last. It gets everything after that, or, where a part of
//! it is not kept any more, nothing: then it is a new client, and its former socket has ended.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use parking_lot::MutexGuard;

use super::{Loss, Service};
use crate::{
    disconnect::DisconnectReason,
    hub::{Claim, Handshake, Recovery, RoomState, Socket, Turn},
    link::{Ending, Link},
    ports::{EventKind, ServiceEvent},
};

/// How often it is looked at who is away for too long, and what was sent too long ago.
const STEP: Duration = Duration::from_millis(250);
/// How often it is looked whether all have gone.
const LOOK: Duration = Duration::from_millis(20);
/// Bytes that somebody who is away counts for.
const AWAY_COST: usize = 2 << 10;

impl Service {
    /// Whether clients may come back; if so, whether middleware is not asked again.
    pub fn recovers(&self) -> Option<bool> {
        let recovery = self.config.connection_state_recovery.as_ref();
        recovery.map(|recovery| recovery.skip_middlewares)
    }

    /// Puts a client that has come back on its new connection. Returns its socket, and the number of the connection; or
    /// nothing when it is to be taken for a new client. Where one was asked about in its place, only if that is the same
    /// person, or nobody was named either time.
    pub fn come_back(
        &self,
        claim: &Claim,
        asked: Option<&Socket>,
        link: &Arc<dyn Link>,
        handshake: Handshake,
    ) -> Option<(Arc<Socket>, u32)> {
        let _change = self.change();
        let socket = self.recoveries.named(&claim.secret)?;
        let recovery = socket.recovery()?;
        if self.is_closed() || asked.is_some_and(|asked| !is_same_person(asked, socket.user_id(), socket.id())) {
            return None;
        }
        let mut turn = recovery.turn();
        if !socket.is_connected() {
            // The server has just ended it.
            return None;
        }
        let Some(offset) = self.known_offset(&socket, recovery, claim) else {
            self.replace(&socket, turn);
            return None;
        };
        link.await_replay();
        let former = socket.attach(link.clone(), handshake);
        turn.connection += 1;
        turn.has_returned = true;
        let number = turn.connection;
        match turn.away.take() {
            Some((_, since)) => self.recoveries.is_back(&socket, since),
            // Faster than the end of its connection was noticed.
            None => {
                self.fanout.abandon(&socket, former);
                self.stop_typing(&socket);
                self.tell_away(&socket, DisconnectReason::TransportClose);
            }
        }
        let relink = |state: &mut RoomState| state.members.relink(&socket);
        // It comes into no room meanwhile: what was sent there would be withheld, and not be among what it missed.
        let is_brought = self.hub.places(&socket, relink, |places| {
            let missed = recovery.missed(offset, places);
            missed.is_some_and(|missed| self.fanout.resend(&socket, &missed).is_ok())
        });
        if is_brought != Some(true) {
            // Forgotten since it was looked at: it comes again, and is told so.
            self.fanout.close(&socket, Ending::Close);
        }
        // In its turn, so that it is told before the next absence.
        if self.sink.wants(EventKind::Recovered) || socket.is_touched() {
            self.sink.emit(ServiceEvent::Recovered(socket.clone()));
        }
        drop(turn);
        Some((socket, number))
    }

    /// Ends a socket whose client is a new one now.
    pub(super) fn replace(&self, socket: &Arc<Socket>, mut turn: MutexGuard<'_, Turn>) {
        let reason = turn.away.as_ref().map(|(reason, _)| reason.clone());
        turn.connection += 1;
        self.remove_in(socket, Some(turn), reason.unwrap_or(DisconnectReason::TransportClose));
        self.fanout.close(socket, Ending::Close);
    }

    /// The client with this secret has come to another instance, as a new one.
    pub fn moved_away(&self, secret: &str) {
        if let Some(orphan) = self
            .hub
            .remote()
            .with_secret(secret)
            .filter(|socket| socket.is_orphaned())
        {
            self.lose(&orphan, &Loss::Unannounced);
        }
        let _change = self.change();
        let Some(socket) = self.recoveries.named(secret) else {
            return;
        };
        if let Some(recovery) = socket.recovery() {
            self.replace(&socket, recovery.turn());
        }
    }

    /// The number that the client has seen; `None` when what it missed cannot be told, or is more than may wait for one
    /// client, or it names what it was never told.
    pub(super) fn known_offset(&self, socket: &Arc<Socket>, recovery: &Recovery, claim: &Claim) -> Option<u64> {
        let replay = self.hub.replay()?;
        let offset = recovery.number(claim.offset.as_deref(), replay)?;
        let missed = self
            .hub
            .places(socket, |_| (), |places| recovery.missed(offset, places))??;
        let bytes = replay.weigh(&missed, socket.key()).ok()?;
        (bytes <= self.config.limits.max_queued_bytes).then_some(offset)
    }

    /// A connection that the socket was on has ended. The socket ends with it, or is away.
    pub fn part(&self, socket: &Arc<Socket>, connection: u32, reason: DisconnectReason) {
        let _change = self.change();
        let Some(recovery) = socket.recovery() else {
            self.remove(socket, reason);
            return;
        };
        let mut turn = recovery.turn();
        if turn.connection != connection {
            // It is on another one already.
            return;
        }
        let is_over = self.is_closed() && !self.recoveries.are_sent_away();
        if is_over || !reason.is_recoverable() || !socket.is_connected() {
            turn.connection += 1;
            self.remove_in(socket, Some(turn), reason);
            return;
        }
        self.leave_away(socket, turn, reason);
    }

    /// Closes the connection of a client that may come back, so that it comes to another instance, which takes the socket
    /// over. False when it may not.
    pub fn send_away(&self, socket: &Arc<Socket>) -> bool {
        let _change = self.change();
        let Some(recovery) = socket.recovery() else {
            return false;
        };
        self.recoveries.send_away();
        let mut turn = recovery.turn();
        if !socket.is_connected() {
            return false;
        }
        // The end of the connection is not one of the socket any more.
        turn.connection += 1;
        if turn.away.is_none() {
            self.leave_away(socket, turn, DisconnectReason::Shutdown);
        }
        self.fanout.close(socket, Ending::Close);
        true
    }

    /// Resolves when no socket is left, or this time is over.
    pub async fn emptied(&self, patience: Duration) {
        let is_empty = async {
            while self.hub.socket_count() > 0 {
                tokio::time::sleep(LOOK).await;
            }
        };
        let _ = tokio::time::timeout(patience, is_empty).await;
    }

    /// The client of a socket is away from now on.
    fn leave_away(&self, socket: &Arc<Socket>, mut turn: MutexGuard<'_, Turn>, reason: DisconnectReason) {
        let now = Instant::now();
        turn.away = Some((reason.clone(), now));
        let most = self.config.connection_state_recovery.as_ref();
        let most = most.map_or(0, |recovery| recovery.max_buffered_bytes / AWAY_COST);
        let too_many = self.recoveries.is_away(socket, now, most);
        self.stop_typing(socket);
        self.tell_away(socket, reason);
        drop(turn);
        if let Some((since, socket)) = too_many {
            self.give_up(&socket, since);
        }
    }

    pub(super) fn tell_away(&self, socket: &Arc<Socket>, reason: DisconnectReason) {
        if self.sink.wants(EventKind::Away) || socket.is_touched() {
            self.sink.emit(ServiceEvent::Away(socket.clone(), reason));
        }
    }

    pub(super) fn stop_typing(&self, socket: &Arc<Socket>) {
        socket.with_rooms(|rooms| {
            for room in rooms.iter() {
                let state = &mut *room.state();
                if state.members.set_typing(socket.key(), false) == Some(true) {
                    self.send_typing(state, socket, room, false);
                }
            }
        });
    }

    /// Ends a socket that is away since then, if it still is.
    fn give_up(&self, socket: &Arc<Socket>, since: Instant) {
        let Some(recovery) = socket.recovery() else { return };
        let mut turn = recovery.turn();
        let reason = match &turn.away {
            Some((reason, began)) if *began == since => reason.clone(),
            _ => return,
        };
        turn.connection += 1;
        self.remove_in(socket, Some(turn), reason);
    }

    /// Ends those who have been away for too long.
    fn end_those_away(&self) {
        let Some(recovery) = &self.config.connection_state_recovery else {
            return;
        };
        let Some(before) = Instant::now().checked_sub(recovery.max_disconnection_duration) else {
            return;
        };
        for (since, socket) in self.recoveries.away_before(before) {
            let _change = self.change();
            self.give_up(&socket, since);
        }
    }
}

/// Whether a socket is of the same person as one of this user and id, or both of nobody that was named.
pub(super) fn is_same_person(socket: &Socket, user_id: &str, id: &str) -> bool {
    let named = |user_id: &str, id: &str| Some(user_id.to_owned()).filter(|user_id| user_id != id);
    named(socket.user_id(), socket.id()) == named(user_id, id)
}

/// Looks after those who are away, for as long as the service lives.
pub async fn watch(service: Weak<Service>) {
    loop {
        tokio::time::sleep(STEP).await;
        let Some(service) = service.upgrade() else { return };
        service.end_those_away();
        service.promises.forget_old();
        if let Some(replay) = service.hub.replay() {
            replay.expire();
        }
    }
}
