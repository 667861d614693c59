//! What the other servers of a cluster bring: packets for clients of this instance, and news of sockets and rooms.

use std::{collections::HashSet, sync::Arc};

use super::{
    Service,
    rooms::{membership_packet, typing_packet},
};
use crate::{
    disconnect::DisconnectReason,
    error::{Error, Result},
    hub::{Except, Members, Room, RoomInfo, Socket},
    link::Ending,
    ports::{Broadcast, Command, EventKind, Fact, ServiceEvent},
    selection::Filter,
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
    /// Delivers a packet to the members of any of these rooms on this instance, to each once; to everyone when there
    /// is no room. Every socket is in the room of its own id. Members of `except` are left out.
    pub fn deliver(&self, rooms: &[String], except: &[String], packet: &Packet, volatile: bool) {
        let except = self.excluded(except);
        match rooms {
            [] => self.deliver_to(self.hub.everyone(), &except, packet, volatile),
            rooms => self.deliver_to_any(rooms, &except, packet, volatile),
        }
    }

    fn deliver_to_any(&self, rooms: &[String], except: &Except, packet: &Packet, volatile: bool) {
        let (mut named, mut served) = (HashSet::new(), HashSet::new());
        for name in rooms.iter().filter(|name| named.insert(name.as_str())) {
            let room = self.hub.room(name).or_else(|| self.hub.plain_room(name));
            match room {
                Some(room) if rooms.len() == 1 => self.deliver_to(&room, except, packet, volatile),
                Some(room) => {
                    let state = room.state();
                    // Of this room's members alone, so that many rooms do not copy a growing set.
                    let keys = state.members.local_keys();
                    let left_out = keys.filter(|key| except.contains(*key) || !served.insert(*key));
                    let left_out: Except = left_out.collect();
                    self.deliver_to_members(&state.members, &left_out, packet, volatile);
                }
                None => {
                    let socket = self.hub.socket(name).filter(|socket| !except.contains(socket.key()));
                    if let Some(socket) = socket.filter(|socket| served.insert(socket.key())) {
                        self.send_to(&socket, packet.clone(), volatile);
                    }
                }
            }
        }
    }

    fn deliver_to(&self, room: &Room, except: &Except, packet: &Packet, volatile: bool) {
        self.deliver_to_members(&room.state().members, except, packet, volatile);
    }

    fn deliver_to_members(&self, members: &Members, except: &Except, packet: &Packet, volatile: bool) {
        if !volatile {
            let sent = self.fanout.send_many(members, except, packet);
            return self.count_sent(packet, sent);
        }
        for socket in members.local_in_order() {
            if !except.contains(socket.key()) {
                self.send_to(&socket, packet.clone(), true);
            }
        }
    }

    /// Delivers a packet to those whom the filter means: of a room, or of everyone.
    pub fn deliver_selected(&self, within: Option<&str>, filter: &Filter, packet: &Packet) {
        match within {
            None => self.broadcast_here(self.hub.everyone(), packet, filter),
            Some(room_id) => {
                if let Some(room) = self.hub.room(room_id) {
                    self.broadcast_here(&room, packet, filter);
                }
            }
        }
    }

    /// The sockets of this instance that a selection of rooms means; all of them without rooms.
    pub fn selected(&self, rooms: &[String], except: &[String]) -> Vec<Arc<Socket>> {
        let except = self.excluded(except);
        let mut sockets = if rooms.is_empty() {
            self.hub.sockets()
        } else {
            Vec::new()
        };
        let mut named = HashSet::new();
        for name in rooms.iter().filter(|name| named.insert(name.as_str())) {
            match self.hub.room(name).or_else(|| self.hub.plain_room(name)) {
                Some(room) => sockets.extend(room.state().members.local_in_order()),
                None => sockets.extend(self.hub.socket(name)),
            }
        }
        let mut seen = HashSet::new();
        sockets.retain(|socket| !except.contains(socket.key()) && seen.insert(socket.key()));
        sockets
    }

    /// Whether a socket of this instance is in a room of this name: one of the registry, a plain one, or its own.
    pub fn has_local_members(&self, name: &str) -> bool {
        match self.hub.room(name).or_else(|| self.hub.plain_room(name)) {
            Some(room) => room.state().members.local_len(&Except::new()) > 0,
            None => self.hub.socket(name).is_some(),
        }
    }

    /// Messages that were sent to a room before this instance could hear them: put before those that it has heard.
    pub fn restore_history(&self, room: &Room, messages: Vec<(Packet, u64)>) {
        let now = self.clock.now();
        room.state().history.restore(messages, now, &self.config.history);
    }

    /// Makes the sockets of this instance that a selection means join rooms, or leave them.
    pub fn move_selected(&self, rooms: &[String], except: &[String], names: &[String], join: bool) {
        for socket in self.selected(rooms, except) {
            for name in names {
                match join {
                    // One that is just going joins nothing any more.
                    true => drop(self.socket_join(&socket, name)),
                    false => self.socket_leave(&socket, name),
                }
            }
        }
    }

    /// Names of all Socket.IO rooms with members on this instance, those of the sockets' own ids among them.
    pub fn room_names(&self) -> HashSet<String> {
        let mut names = HashSet::new();
        for socket in self.hub.sockets() {
            names.extend(self.socket_rooms(&socket));
        }
        names
    }

    /// A chat message of another instance: into history, and to the members here.
    pub fn receive_message(&self, room_id: &str, packet: &Packet, sent: u64) {
        let Some(room) = self.hub.room(room_id) else {
            return self.deliver(&[room_id.to_owned()], &[], packet, false);
        };
        let mut state = room.state();
        if state.deleted {
            return;
        }
        state.history.push_heard(packet, sent, &self.config.history);
        let recipients = self.fanout.send_many(&state.members, &Except::new(), packet);
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

    /// A socket of another instance began or ceased to type.
    pub fn receive_typing(&self, socket: &Arc<Socket>, room_id: &str, is_typing: bool, packet: &Packet) {
        if let Some(room) = self.hub.room(room_id) {
            let mut state = room.state();
            state.members.set_typing(socket.key(), is_typing);
            self.send_to_others_here(&state, socket, packet);
        }
    }

    /// Another instance told of a room. Returns it unless it was known.
    pub fn learn_room(&self, info: RoomInfo) -> Option<Arc<Room>> {
        self.hub.insert_room(info)
    }

    /// A room was deleted elsewhere. False when it was not known.
    pub fn forget_room(&self, room_id: &str) -> bool {
        let _change = self.change();
        let Some(room) = self.remove_room(room_id, false) else {
            return false;
        };
        self.sink.emit(ServiceEvent::RoomForgotten(room));
        true
    }

    /// A socket was registered on another instance. Nothing happens when its id is known already.
    pub fn meet(&self, socket: &Arc<Socket>) {
        if self.hub.socket(socket.id()).is_none() {
            self.hub.remote().insert(socket);
        }
    }

    /// A socket of another instance joined a room. With a packet, the members here are told.
    pub fn joined_remotely(&self, socket: &Arc<Socket>, room_id: &str, packet: Option<&Packet>) {
        let Some(room) = self.hub.room(room_id) else { return };
        socket.with_rooms(|rooms| {
            let mut state = room.state();
            if !state.deleted && state.members.insert(socket) {
                rooms.push(room.clone());
                if let Some(packet) = packet {
                    self.send_to_others_here(&state, socket, packet);
                }
            }
        });
    }

    /// A socket of another instance left a room. With a packet, the members here are told.
    pub fn left_remotely(&self, socket: &Arc<Socket>, room_id: &str, packet: Option<&Packet>) {
        let Some(room) = self.hub.room(room_id) else { return };
        socket.with_rooms(|rooms| rooms.remove(&room));
        let mut state = room.state();
        if state.members.remove(socket.key()).is_some()
            && let Some(packet) = packet
        {
            self.send_to_others_here(&state, socket, packet);
        }
    }

    /// As [`Service::joined_remotely`], telling the members here what its own instance did not.
    pub fn rejoined_remotely(&self, socket: &Arc<Socket>, room_id: &str) {
        if let Some(room) = self.hub.room(room_id) {
            self.joined_remotely(
                socket,
                room_id,
                Some(&membership_packet("user:joined", socket, &room, self.clock.now())),
            );
        }
    }

    /// As [`Service::left_remotely`], telling the members here what its own instance did not.
    pub fn missed_leaving(&self, socket: &Arc<Socket>, room_id: &str) {
        if let Some(room) = self.hub.room(room_id) {
            self.left_remotely(
                socket,
                room_id,
                Some(&membership_packet("user:left", socket, &room, self.clock.now())),
            );
        }
    }

    /// A socket of another instance is gone.
    pub fn lose(&self, socket: &Arc<Socket>, loss: &Loss) {
        let _change = self.change();
        let Some(rooms) = socket.take_rooms() else { return };
        for room in &rooms {
            self.lose_member(socket, room, loss);
        }
        self.hub.remote().remove(socket);
        if *loss != Loss::Silent
            && !self.hub.is_online(socket.user_id())
            && let Some(packet) = self.announce_here(socket, "offline")
        {
            self.tell_foreign(loss, &[], &packet);
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
        self.meet(socket);
        if leads {
            self.tell(EventKind::Connection, || ServiceEvent::Connection(socket.clone()));
        }
        if self.hub.remote().sockets_of(socket.user_id()).len() == 1 && self.hub.sockets_of(socket.user_id()).is_empty()
        {
            self.announce_here(socket, "online");
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
        let mut packets = Vec::new();
        if was_typing {
            packets.push(typing_packet(socket, room, false, self.clock.now()));
        }
        packets.push(membership_packet("user:left", socket, room, self.clock.now()));
        for packet in &packets {
            self.send_to_others_here(&state, socket, packet);
            self.tell_foreign(loss, &[&room.info.id], packet);
        }
        if matches!(loss, Loss::InPlace(_)) {
            self.tell(EventKind::RoomLeave, || {
                ServiceEvent::RoomLeave(socket.clone(), room.clone())
            });
        }
    }

    /// What instances find out by themselves, one of them tells the Node.js servers.
    fn tell_foreign(&self, loss: &Loss, rooms: &[&str], packet: &Packet) {
        if let (Loss::InPlace(_), Some(peers)) = (loss, self.peers()) {
            peers.broadcast(&Broadcast {
                packet,
                rooms,
                except: &[],
                volatile: false,
                fact: Fact::Foreign,
            });
        }
    }

    /// Does what another instance asks of a socket of this one.
    pub fn obey(&self, socket_id: &str, command: &Command) -> Result<()> {
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
