//! Connections come and go: exactly one `connection` and one `disconnect` each, and nothing stays behind.

use std::{sync::Arc, time::Duration};

use parking_lot::MutexGuard;
use tokio::sync::oneshot;

use super::{Admitted, Loss, Refusal, Service};
use crate::{
    clock,
    disconnect::DisconnectReason,
    error::{Error, Result},
    hub::{Except, Recovery, Room, Socket, Turn},
    link::Ending,
    metrics::Stats,
    ports::{Answer, Command, EventKind, Fact, ServiceEvent},
    selection::Selection,
    wire::packet::Packet,
};

/// Connections whose round-trip time is asked of the kernel for one reading of the statistics.
const LATENCY_SAMPLE: usize = 1_000;

impl Service {
    /// Says whether JavaScript decides about connections.
    pub fn set_admits(&self, admits: bool) {
        self.admissions.set_asks(admits);
    }

    /// Lets a client in, asking JavaScript if it wants to be asked, for at most `patience`.
    pub async fn admit(&self, socket: &Arc<Socket>, patience: Duration) -> std::result::Result<Admitted, Refusal> {
        if self.is_closed() {
            return Err(Error::Closed.into());
        }
        let question = || self.sink.emit(ServiceEvent::Admission(socket.clone()));
        self.admissions.ask(socket, patience, question).await
    }

    /// JavaScript's decision about a connection; without effect when the client is gone.
    pub fn decide(&self, socket: &Socket, decision: std::result::Result<Admitted, Refusal>) {
        self.admissions.decide(socket, decision);
    }

    /// The client of a connection that may be waiting is gone: nobody need decide about it any more.
    pub fn withdraw(&self, socket: &Socket) {
        self.admissions.withdraw(socket);
    }

    /// The socket of this id that waits to be let in.
    pub fn pending(&self, socket_id: &str) -> Option<Arc<Socket>> {
        self.admissions.pending(socket_id)
    }

    /// Registers a connection and emits `connection`. The socket must be identified.
    pub fn register(&self, socket: &Arc<Socket>) -> Result<()> {
        if self.is_closed() {
            return Err(Error::Closed);
        }
        let _change = self.change();
        let heard = self.sink.wants(EventKind::Connection);
        if heard {
            socket.unsettle();
        }
        // Together with the look at whether it is gone: it cannot be registered after its end, nor told of after it.
        let inserted = socket.with_rooms(|rooms| {
            let first = self.hub.insert_socket(socket);
            if let (Some(recovery), Some(replay)) = (socket.recovery(), self.hub.replay()) {
                recovery.begin(replay.cut());
            }
            if let Some(peers) = self.peers().filter(|_| first.is_some()) {
                peers.connected(socket, &rooms.iter().cloned().collect::<Vec<_>>());
            }
            if first.is_some() {
                self.recoveries.insert(socket);
            }
            if heard && first.is_some() {
                // Broadcasts reach it from the moment its listeners run: nothing comes before what they send.
                self.sink.emit(ServiceEvent::Connection(socket.clone()));
            }
            first
        });
        let Some(first) = inserted.ok_or(Error::UserNotFound)? else {
            return Err(Error::InvalidArgument(format!(
                "socket.id {:?} is already connected",
                socket.id()
            )));
        };
        if !heard {
            self.hub.publish(socket);
        }
        if first {
            self.announce(socket, "online");
        }
        Ok(())
    }

    /// Registers a connection whose CONNECT answer waits until the listeners of `connection` have run, so that what
    /// they do comes before anything of the client. Waits for at most `patience`; without listeners not at all.
    pub async fn introduce(&self, socket: &Arc<Socket>, patience: Duration) -> Result<()> {
        if !self.sink.wants(EventKind::Connection) || self.hub.socket(socket.id()).is_some() {
            return Ok(());
        }
        let (heard, introduced) = oneshot::channel();
        self.introductions.insert(socket.key(), heard);
        let outcome = self.register(socket);
        if outcome.is_ok() {
            // JavaScript may be busy for longer; the client is not made to wait for ever.
            let _ = tokio::time::timeout(patience, introduced).await;
        }
        self.introductions.remove(&socket.key());
        outcome
    }

    /// The listeners of `connection` have run.
    pub fn introduced(&self, socket: &Socket) {
        socket.settle();
        if let Some((_, heard)) = self.introductions.remove(&socket.key()) {
            let _ = heard.send(());
        }
    }

    /// Takes a connection out of everything and emits `disconnect`, once. False when it was gone already.
    pub fn unregister(&self, socket: &Arc<Socket>, reason: DisconnectReason) -> bool {
        let _change = self.change();
        self.remove(socket, reason)
    }

    /// As [`Self::unregister`], as a part of a change.
    pub(super) fn remove(&self, socket: &Arc<Socket>, reason: DisconnectReason) -> bool {
        self.remove_in(socket, socket.recovery().map(Recovery::turn), reason)
    }

    /// As [`Self::remove`], in the turn of a socket whose client may come back.
    pub(super) fn remove_in(
        &self,
        socket: &Arc<Socket>,
        turn: Option<MutexGuard<'_, Turn>>,
        reason: DisconnectReason,
    ) -> bool {
        let Some(rooms) = self.take_rooms(socket, turn) else {
            return false;
        };
        for room in &rooms {
            if room.info.registered {
                self.depart(socket, room);
            } else {
                self.hub.leave_plain(socket, &room.info.id, || {});
            }
        }
        self.recoveries.remove(socket);
        let Some(last) = self.hub.remove_socket(socket) else {
            if socket.is_touched() {
                self.sink.emit(ServiceEvent::Abandoned(socket.clone()));
            }
            return false;
        };
        if let Some(peers) = self.peers() {
            peers.disconnected(socket);
        }
        if last {
            self.announce(socket, "offline");
        }
        // A listener of `connection` may have ended it: there is nothing more to wait for.
        self.introductions.remove(&socket.key());
        if self.sink.wants(EventKind::Disconnect) || socket.is_touched() {
            self.sink.emit(ServiceEvent::Disconnect(socket.clone(), reason, rooms));
        }
        true
    }

    /// Marks a socket as gone: it is neither away any more, nor is it put on another connection.
    pub(super) fn take_rooms(&self, socket: &Socket, mut turn: Option<MutexGuard<'_, Turn>>) -> Option<Vec<Arc<Room>>> {
        let rooms = socket.take_rooms()?;
        if let Some((_, since)) = turn.as_mut().and_then(|turn| turn.away.take()) {
            self.recoveries.is_back(socket, since);
        }
        Some(rooms)
    }

    /// Ends a connection for a reason of the server; what was sent to it before still arrives.
    pub fn disconnect(&self, socket: &Arc<Socket>, reason: DisconnectReason, ending: Ending) -> bool {
        let was_connected = self.unregister(socket, reason);
        self.fanout.close(socket, ending);
        was_connected
    }

    /// `disconnectUser`: every socket of the person on this instance. Returns how many.
    pub fn disconnect_user(&self, user_id: &str, reason: &DisconnectReason) -> usize {
        let sockets = self.hub.sockets_of(user_id);
        sockets
            .iter()
            .filter(|socket| self.disconnect(socket, reason.clone(), Ending::Kick))
            .count()
    }

    /// The sockets of the person on other instances: `answer` is called for each, when its instance has answered.
    /// Returns how many.
    pub fn disconnect_remote(&self, user_id: &str, reason: &DisconnectReason, answer: &dyn Fn() -> Answer) -> usize {
        let Some(peers) = self.peers() else { return 0 };
        let sockets = self.hub.remote().sockets_of(user_id);
        for socket in &sockets {
            match socket.recovery().filter(|_| socket.is_orphaned()) {
                // Nobody is there to be asked, and its client is not to come here, or to others.
                Some(recovery) => {
                    peers.moved_here(recovery.secret());
                    self.lose(socket, &Loss::InPlace(reason.clone()));
                    answer()(Ok(()));
                }
                None => peers.ask(socket, Command::Disconnect(reason.clone()), answer()),
            }
        }
        sockets.len()
    }

    /// `cleanup`: closes the connections of sockets that sent no event for `idle_ms`. Returns how many.
    pub fn cleanup(&self, idle_ms: u64) -> usize {
        let now = self.clock.called();
        let idle = |socket: &&Arc<Socket>| now.saturating_sub(socket.last_activity()) >= idle_ms;
        self.hub
            .sockets()
            .iter()
            .filter(idle)
            .filter(|socket| self.disconnect(socket, DisconnectReason::Inactive, Ending::Close))
            .count()
    }

    /// `getStats()`.
    pub fn stats(&self) -> Stats {
        let sample = self.hub.sample(LATENCY_SAMPLE);
        let times: Vec<f64> = sample
            .iter()
            .filter_map(|socket| socket.link().round_trip_us())
            .map(|micros| f64::from(micros) / 1_000.0)
            .collect();
        Stats {
            total_connections: self.hub.metrics.connections.get(),
            active_connections: self.connections(),
            total_rooms: self.hub.room_count(),
            rates: self.hub.metrics.traffic.rates(self.clock.now()),
            avg_latency_ms: if times.is_empty() {
                0.0
            } else {
                times.iter().sum::<f64>() / times.len() as f64
            },
        }
    }

    /// Tells everyone that a person has come or gone, unless the person is still connected to another instance.
    fn announce(&self, socket: &Arc<Socket>, status: &str) {
        if self.hub.remote().is_online(socket.user_id()) {
            return;
        }
        self.announce_here(socket, status, |packet| {
            self.publish(&Selection::default(), packet, Fact::None);
        });
    }

    /// Tells everyone on this instance, if presence is announced at all, and has it published: under everyone's lock, so that
    /// others hear it in the same order.
    pub(super) fn announce_here(&self, socket: &Socket, status: &str, publish: impl FnOnce(&Packet)) {
        if !self.config.presence.broadcast {
            return;
        }
        let now = clock::iso(self.clock.now());
        let packet = Packet::event(
            "user:status",
            &format!(
                "{{{},\"status\":\"{status}\",\"timestamp\":\"{now}\"}}",
                socket.identity().fragment
            ),
        );
        let everyone = self.hub.everyone().state();
        self.fanout
            .send_many(&everyone.members, &Except::new(), &packet, || publish(&packet));
    }
}
