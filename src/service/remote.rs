//! What the other servers of a cluster bring: packets for clients of this instance, and news of sockets and rooms.

use std::sync::Arc;

use super::{Service, gathering::Movement, rooms::typing_packet};
use crate::{
    disconnect::DisconnectReason,
    error::{Error, Result},
    hub::{Except, Recovery, Room, RoomInfo, Socket},
    link::Ending,
    ports::{Command, EventKind, Fact, ServiceEvent},
    selection::Selection,
    wire::packet::Packet,
};

/// How a socket of another instance is lost from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loss {
    /// Its instance has told everybody, or nobody was to be told.
    Silent,
    /// Its instance could not tell: the clients of this instance are told.
    Unannounced,
    /// As `Unannounced`; and this instance tells the application and the Node.js servers, in place of the lost one.
    InPlace(DisconnectReason),
}

impl Service {
    /// Messages that were sent to a room before this instance could hear them: put before those that it has heard.
    pub fn restore_history(&self, room: &Room, messages: Vec<(Packet, u64)>) {
        let now = self.clock.now();
        room.state().history.restore(messages, now, &self.config.history);
    }

    /// A chat message of another instance: into history, and to the members here.
    pub fn receive_message(&self, room_id: &str, packet: &Packet, sent: u64) {
        let Some(room) = self.hub.room(room_id) else {
            return self.deliver(&Selection::room(room_id), packet);
        };
        let mut state = room.state();
        if state.deleted {
            return;
        }
        state.history.push_heard(packet, sent, &self.config.history);
        let recipients = self.fanout.send_many(&state.members, &Except::new(), packet, || {});
        self.count_sent(packet, recipients);
    }

    /// A chat message of another instance that only goes into history.
    pub fn keep_message(&self, room_id: &str, packet: &Packet, sent: u64) {
        if let Some(room) = self.hub.room(room_id) {
            let mut state = room.state();
            if !state.deleted {
                state.history.push_heard(packet, sent, &self.config.history);
            }
        }
    }

    /// A socket of another instance began or stopped to type.
    pub fn receive_typing(&self, socket: &Arc<Socket>, room_id: &str, is_typing: bool, packet: &Packet) {
        if let Some(room) = self.hub.room(room_id) {
            let is_there = socket.with_rooms(|_| ()).is_some();
            let mut state = room.state();
            if is_there {
                state.members.set_typing(socket.key(), is_typing);
            }
            self.send_to_others_here(&state, socket, packet);
        }
    }

    /// Another instance told of a room. Returns it unless it was known.
    pub fn learn_room(&self, info: RoomInfo) -> Option<Arc<Room>> {
        self.hub.insert_room(info)
    }

    /// A room was deleted by another instance. False when it was not known.
    pub fn forget_room(&self, room_id: &str) -> bool {
        let _change = self.change();
        let Some(room) = self.remove_room(room_id, false) else {
            return false;
        };
        self.sink.emit(ServiceEvent::RoomForgotten(room));
        true
    }

    /// A socket was registered on another instance: a new one, or one that has come there from a third one, or from this
    /// one, into these rooms. While it is here it is not there: that [appears](Self::release) when it is let go.
    pub fn meet(&self, socket: &Arc<Socket>, rooms: &[impl AsRef<str>]) {
        let _change = self.change();
        self.meet_now(socket, rooms);
    }

    /// A socket of another instance has come into a room outside the registry, or has left it.
    pub fn moved_plain_remotely(&self, socket: &Arc<Socket>, name: &str, is_in: bool) {
        match is_in {
            // In the place of one that is gone, and known by the same number, may be one that another instance has now.
            _ if socket.with_rooms(|_| ()).is_none() => {}
            true if self.is_here(socket) || self.hub.room(name).is_some() => {}
            true => drop(self.hub.join_plain(socket, name, || {})),
            false => self.hub.leave_plain(socket, name, || {}),
        }
    }

    fn meet_now(&self, socket: &Arc<Socket>, rooms: &[impl AsRef<str>]) {
        if self.is_here(socket) {
            return;
        }
        let former = self.hub.remote().socket(socket.id());
        if let Some(former) = &former {
            if is_before(former, socket) {
                // An instance that was cut off tells of one that has gone to another one meanwhile: of this, no more.
                socket.take_rooms();
                return;
            }
            self.lose_now(former, &Loss::Silent);
        }
        self.appear(socket, rooms, former.as_deref());
    }

    /// As [`Self::meet`], as a part of a change, for one that is nowhere else any more, but was there before as `former`.
    pub fn appear(&self, socket: &Arc<Socket>, rooms: &[impl AsRef<str>], former: Option<&Socket>) {
        self.hub.remote().insert(socket);
        self.hub.came(socket, self.hub.everyone());
        for room in rooms {
            self.joined_remotely(socket, room.as_ref(), None);
        }
        if let Some(former) = former {
            self.hub.follow(socket, former);
        }
    }

    /// Whether a socket of another instance, as that says, is still one of this instance.
    fn is_here(&self, socket: &Socket) -> bool {
        self.hub.socket(socket.id()).is_some()
    }

    /// A socket of another instance joined a room. With a packet, the members here are told.
    pub fn joined_remotely(&self, socket: &Arc<Socket>, room_id: &str, packet: Option<&Packet>) {
        let Some(room) = self.hub.room(room_id) else { return };
        if self.is_here(socket) {
            return;
        }
        socket.with_rooms(|rooms| {
            let mut state = room.state();
            if !state.deleted && state.members.insert(socket) {
                rooms.push(room.clone());
                self.hub.came(socket, &room);
                if let Some(packet) = packet {
                    self.moved_elsewhere(&mut state, socket, &room, Movement::Joined, packet);
                }
            }
        });
    }

    /// A socket of another instance left a room. With a packet, the members here are told.
    pub fn left_remotely(&self, socket: &Arc<Socket>, room_id: &str, packet: Option<&Packet>) {
        let Some(room) = self.hub.room(room_id) else { return };
        if socket.with_rooms(|rooms| rooms.remove(&room)).is_none() {
            // It is gone. In its place, and known by the same number, may be one that another instance has now.
            return;
        }
        let mut state = room.state();
        if state.members.remove(socket.key()).is_none() {
            return;
        }
        self.hub.left(socket, &room, &state.members);
        if let Some(packet) = packet {
            self.moved_elsewhere(&mut state, socket, &room, Movement::Left, packet);
        }
    }

    /// As [`Service::joined_remotely`], telling the members here what its own instance did not.
    pub fn rejoined_remotely(&self, socket: &Arc<Socket>, room_id: &str) {
        if let Some(room) = self.hub.room(room_id) {
            self.joined_remotely(socket, room_id, Some(&self.packet_of(socket, &room, Movement::Joined)));
        }
    }

    /// As [`Service::left_remotely`], telling the members here what its own instance did not.
    pub fn missed_leaving(&self, socket: &Arc<Socket>, room_id: &str) {
        if let Some(room) = self.hub.room(room_id) {
            self.left_remotely(socket, room_id, Some(&self.packet_of(socket, &room, Movement::Left)));
        }
    }

    /// A socket of another instance is gone.
    pub fn lose(&self, socket: &Arc<Socket>, loss: &Loss) {
        let _change = self.change();
        self.lose_now(socket, loss);
    }

    /// As [`Self::lose`], as a part of a change.
    pub(super) fn lose_now(&self, socket: &Arc<Socket>, loss: &Loss) {
        let Some(rooms) = socket.take_rooms() else { return };
        for room in &rooms {
            match room.info.registered {
                true => self.lose_member(socket, room, loss),
                false => self.hub.leave_plain(socket, &room.info.id, || {}),
            }
        }
        self.hub.remote().remove(socket);
        if *loss != Loss::Silent && !self.hub.is_online(socket.user_id()) {
            self.announce_here(socket, "offline", |packet| {
                self.tell_foreign(loss, &Selection::default(), packet);
            });
        }
        match loss {
            Loss::InPlace(reason) if self.sink.wants(EventKind::Disconnect) || socket.is_touched() => {
                self.sink
                    .emit(ServiceEvent::Disconnect(socket.clone(), reason.clone(), rooms));
            }
            _ if socket.is_touched() => self.sink.emit(ServiceEvent::Abandoned(socket.clone())),
            _ => {}
        }
    }

    /// As [`Service::meet`], for a socket of a lost instance that is there after all: told where its loss was told.
    pub fn find_again(&self, socket: &Arc<Socket>, leads: bool) {
        let _change = self.change();
        self.meet_now(socket, &[""; 0]);
        if leads {
            self.tell(EventKind::Connection, || ServiceEvent::Connection(socket.clone()));
        }
        if self.hub.remote().sockets_of(socket.user_id()).len() == 1 && self.hub.sockets_of(socket.user_id()).is_empty()
        {
            self.announce_here(socket, "online", |_| {});
        }
    }

    fn lose_member(&self, socket: &Arc<Socket>, room: &Arc<Room>, loss: &Loss) {
        let mut state = room.state();
        let Some(was_typing) = state.members.remove(socket.key()) else {
            return;
        };
        if *loss == Loss::Silent {
            return;
        }
        let members = Selection::room(&room.info.id);
        if was_typing {
            let packet = typing_packet(socket, room, false, self.clock.now());
            self.send_to_others_here(&state, socket, &packet);
            self.tell_foreign(loss, &members, &packet);
        }
        let packet = self.packet_of(socket, room, Movement::Left);
        self.moved_elsewhere(&mut state, socket, room, Movement::Left, &packet);
        self.tell_foreign(loss, &members, &packet);
        if matches!(loss, Loss::InPlace(_)) {
            self.tell(EventKind::RoomLeave, || {
                ServiceEvent::RoomLeave(socket.clone(), room.clone())
            });
        }
    }

    /// What instances find out by themselves, one of them tells the Node.js servers.
    fn tell_foreign(&self, loss: &Loss, selection: &Selection<'_>, packet: &Packet) {
        if let Loss::InPlace(_) = loss {
            self.publish(selection, packet, Fact::Foreign);
        }
    }

    /// Does what another instance asks of a socket of this one.
    pub fn apply(&self, socket_id: &str, command: &Command) -> Result<()> {
        let socket = self.hub.socket(socket_id);
        match command {
            Command::Join(room_id) => self.join_room(socket_id, room_id),
            Command::Leave(room_id) => {
                self.leave_room(socket_id, room_id);
                Ok(())
            }
            Command::Disconnect(reason) => {
                let socket = socket.ok_or(Error::UserNotFound)?;
                self.disconnect(&socket, reason.clone(), Ending::Kick);
                Ok(())
            }
        }
    }
}

/// Whether the first of two sockets of one id, as two instances say to have it, is the one: the one that has come there later,
/// or else, where both have taken it over at once, that of the first instance.
fn is_before(one: &Socket, other: &Socket) -> bool {
    let moves = |socket: &Socket| socket.recovery().map_or(0, Recovery::moves);
    (moves(one), other.instance()) > (moves(other), one.instance())
}
