//! What the other servers of a cluster bring: packets for clients of this instance, and news of sockets and rooms.

use std::{collections::HashSet, sync::Arc};

use super::{
    Service,
    rooms::{membership_packet, typing_packet},
};
use crate::{
    error::{Error, Result},
    hub::{Except, Members, Room, RoomInfo, User},
    link::Ending,
    ports::{Broadcast, Command, EventKind, Fact, ServiceEvent},
    selection::Filter,
    wire::packet::Packet,
};

/// How a socket of another instance is lost from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Its instance has told everybody, or nobody was to be told.
    Silent,
    /// Its instance could not tell: the clients of this instance are told.
    Unannounced,
    /// As `Unannounced`; and this instance tells the application and the Node.js servers, in place of the lost one.
    InPlace(&'static str),
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
                    let user = self.hub.user(name).filter(|user| !except.contains(user.key()));
                    if let Some(user) = user.filter(|user| served.insert(user.key())) {
                        self.send_to(&user, packet.clone(), volatile);
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
        for user in members.local_in_order() {
            if !except.contains(user.key()) {
                self.send_to(&user, packet.clone(), true);
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
    pub fn selected(&self, rooms: &[String], except: &[String]) -> Vec<Arc<User>> {
        let except = self.excluded(except);
        let mut users = if rooms.is_empty() { self.hub.users() } else { Vec::new() };
        let mut named = HashSet::new();
        for name in rooms.iter().filter(|name| named.insert(name.as_str())) {
            match self.hub.room(name).or_else(|| self.hub.plain_room(name)) {
                Some(room) => users.extend(room.state().members.local_in_order()),
                None => users.extend(self.hub.user(name)),
            }
        }
        let mut seen = HashSet::new();
        users.retain(|user| !except.contains(user.key()) && seen.insert(user.key()));
        users
    }

    /// Whether a socket of this instance is in a room of this name: one of the registry, a plain one, or its own.
    pub fn has_local_members(&self, name: &str) -> bool {
        match self.hub.room(name).or_else(|| self.hub.plain_room(name)) {
            Some(room) => room.state().members.local_len(&Except::new()) > 0,
            None => self.hub.user(name).is_some(),
        }
    }

    /// Messages that were sent to a room before this instance could hear them: put before those that it has heard.
    pub fn restore_history(&self, room: &Room, messages: Vec<(Packet, u64)>) {
        let now = self.clock.now();
        room.state().history.restore(messages, now, &self.config.history);
    }

    /// Makes the sockets of this instance that a selection means join rooms, or leave them.
    pub fn move_selected(&self, rooms: &[String], except: &[String], names: &[String], join: bool) {
        for user in self.selected(rooms, except) {
            for name in names {
                match join {
                    // One that is just going joins nothing any more.
                    true => drop(self.socket_join(&user, name)),
                    false => self.socket_leave(&user, name),
                }
            }
        }
    }

    /// Names of all Socket.IO rooms with members on this instance, those of the sockets' own ids among them.
    pub fn room_names(&self) -> HashSet<String> {
        let mut names = HashSet::new();
        for user in self.hub.users() {
            names.extend(self.socket_rooms(&user));
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
    pub fn receive_typing(&self, user: &Arc<User>, room_id: &str, is_typing: bool, packet: &Packet) {
        if let Some(room) = self.hub.room(room_id) {
            let mut state = room.state();
            state.members.set_typing(user.key(), is_typing);
            self.send_to_others_here(&state, user, packet);
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
    pub fn meet(&self, user: &Arc<User>) {
        if self.hub.user(user.id()).is_none() {
            self.hub.elsewhere().insert(user);
        }
    }

    /// A socket of another instance joined a room. With a packet, the members here are told.
    pub fn joined_elsewhere(&self, user: &Arc<User>, room_id: &str, packet: Option<&Packet>) {
        let Some(room) = self.hub.room(room_id) else { return };
        user.with_rooms(|rooms| {
            let mut state = room.state();
            if !state.deleted && state.members.insert(user) {
                rooms.push(room.clone());
                if let Some(packet) = packet {
                    self.send_to_others_here(&state, user, packet);
                }
            }
        });
    }

    /// A socket of another instance left a room. With a packet, the members here are told.
    pub fn left_elsewhere(&self, user: &Arc<User>, room_id: &str, packet: Option<&Packet>) {
        let Some(room) = self.hub.room(room_id) else { return };
        user.with_rooms(|rooms| rooms.remove(&room));
        let mut state = room.state();
        if state.members.remove(user.key()).is_some()
            && let Some(packet) = packet
        {
            self.send_to_others_here(&state, user, packet);
        }
    }

    /// As [`Service::joined_elsewhere`], telling the members here what its own instance did not.
    pub fn rejoined_elsewhere(&self, user: &Arc<User>, room_id: &str) {
        if let Some(room) = self.hub.room(room_id) {
            self.joined_elsewhere(
                user,
                room_id,
                Some(&membership_packet("user:joined", user, &room, self.clock.now())),
            );
        }
    }

    /// As [`Service::left_elsewhere`], telling the members here what its own instance did not.
    pub fn missed_leaving(&self, user: &Arc<User>, room_id: &str) {
        if let Some(room) = self.hub.room(room_id) {
            self.left_elsewhere(
                user,
                room_id,
                Some(&membership_packet("user:left", user, &room, self.clock.now())),
            );
        }
    }

    /// A socket of another instance is gone.
    pub fn lose(&self, user: &Arc<User>, loss: Loss) {
        let _change = self.change();
        let Some(rooms) = user.take_rooms() else { return };
        for room in &rooms {
            self.lose_member(user, room, loss);
        }
        self.hub.elsewhere().remove(user);
        if loss != Loss::Silent
            && !self.hub.is_online(user.user_id())
            && let Some(packet) = self.announce_here(user, "offline")
        {
            self.tell_foreign(loss, &[], &packet);
        }
        match loss {
            Loss::InPlace(reason) if self.sink.wants(EventKind::Disconnect) || user.is_touched() => {
                self.sink
                    .emit(ServiceEvent::Disconnect(user.clone(), reason.into(), rooms));
            }
            _ if user.is_touched() => self.sink.emit(ServiceEvent::Abandoned(user.clone())),
            _ => {}
        }
    }

    /// As [`Service::meet`], for a socket of a lost instance that is there after all: told where its loss was told.
    pub fn find_again(&self, user: &Arc<User>, leads: bool) {
        let _change = self.change();
        self.meet(user);
        if leads {
            self.tell(EventKind::Connection, || ServiceEvent::Connection(user.clone()));
        }
        if self.hub.elsewhere().sockets_of(user.user_id()).len() == 1 && self.hub.sockets_of(user.user_id()).is_empty()
        {
            self.announce_here(user, "online");
        }
    }

    fn lose_member(&self, user: &Arc<User>, room: &Arc<Room>, loss: Loss) {
        let mut state = room.state();
        let Some(was_typing) = state.members.remove(user.key()) else {
            return;
        };
        if loss == Loss::Silent {
            return;
        }
        let mut packets = Vec::new();
        if was_typing {
            packets.push(typing_packet(user, room, false, self.clock.now()));
        }
        packets.push(membership_packet("user:left", user, room, self.clock.now()));
        for packet in &packets {
            self.send_to_others_here(&state, user, packet);
            self.tell_foreign(loss, &[&room.info.id], packet);
        }
        if matches!(loss, Loss::InPlace(_)) {
            self.tell(EventKind::RoomLeave, || {
                ServiceEvent::RoomLeave(user.clone(), room.clone())
            });
        }
    }

    /// What instances find out by themselves, one of them tells the Node.js servers.
    fn tell_foreign(&self, loss: Loss, rooms: &[&str], packet: &Packet) {
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
        let user = self.hub.user(socket_id);
        match command {
            Command::Join(room_id) => self.join_room(socket_id, room_id),
            Command::Leave(room_id) => {
                self.leave_room(socket_id, room_id);
                Ok(())
            }
            Command::Disconnect(reason) => {
                let user = user.ok_or(Error::UserNotFound)?;
                self.disconnect(&user, reason, Ending::Kick);
                Ok(())
            }
        }
    }
}
