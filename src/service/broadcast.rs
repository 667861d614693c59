//! Packets from the application: to a room, to users, to everyone, to one socket.

use std::{collections::HashSet, sync::Arc};

use super::Service;
use crate::{
    error::{Error, Result},
    hub::{Except, Room, Socket},
    ports::{Broadcast, Fact},
    selection::Filter,
    wire::packet::Packet,
};

impl Filter {
    pub(super) fn is_plain(&self) -> bool {
        self.users.is_none() && self.room.is_none() && self.label.is_none()
    }
}

impl Service {
    /// `broadcastToRoom`.
    pub fn broadcast_to_room(&self, room_id: &str, packet: &Packet, filter: &Filter) -> Result<()> {
        let room = self.hub.room(room_id).ok_or(Error::RoomNotFound)?;
        self.broadcast_here(&room, packet, filter);
        if filter.is_plain() {
            self.publish(&[room_id], &filter.except, packet, false);
        } else if let Some(peers) = self.peers() {
            peers.select(packet, Some(room_id), filter);
        }
        Ok(())
    }

    /// `broadcastToAll`.
    pub fn broadcast_to_all(&self, packet: &Packet, filter: &Filter) {
        self.broadcast_here(self.hub.everyone(), packet, filter);
        let Some(peers) = self.peers() else { return };
        match filter {
            Filter {
                users: None,
                label: None,
                room,
                ..
            } => {
                let rooms: Vec<&str> = room.iter().map(String::as_str).collect();
                self.publish(&rooms, &filter.except, packet, false);
            }
            _ => peers.select(packet, None, filter),
        }
    }

    /// `broadcastToUsers`: every socket of each user, once.
    pub fn broadcast_to_users<'a>(&self, user_ids: impl IntoIterator<Item = &'a str>, packet: &Packet) {
        let unique: HashSet<&str> = user_ids.into_iter().collect();
        for socket in unique.iter().flat_map(|user_id| self.hub.sockets_of(user_id)) {
            self.send_to(&socket, packet.clone(), false);
        }
        let Some(peers) = self.peers() else { return };
        let remote = self.hub.remote();
        if !unique.is_empty() && (!peers.is_current() || unique.iter().any(|user_id| remote.is_online(user_id))) {
            let filter = Filter {
                users: Some(unique.into_iter().map(str::to_owned).collect()),
                ..Filter::default()
            };
            peers.select(packet, None, &filter);
        }
    }

    /// `emitToSocket`. An unknown socket changes nothing.
    pub fn emit_to_socket(&self, socket_id: &str, packet: Packet, volatile: bool) {
        match self.hub.socket(socket_id) {
            Some(socket) => self.send_to(&socket, packet, volatile),
            // On another instance, or on a Node.js server, whose sockets are not known here.
            None => self.publish(&[socket_id], &[], &packet, volatile),
        }
    }

    /// `in(rooms).except(rooms).emit`: the members of any of the rooms on all servers, each once; everyone without
    /// rooms. Rooms are registered ones, plain ones and those of sockets' own ids. `socket.to(rooms)` is the same with
    /// the socket's own id left out, whether it is still there or not.
    pub fn emit_to(&self, rooms: &[String], except: &[String], packet: &Packet, volatile: bool) {
        self.deliver(rooms, except, packet, volatile);
        let rooms: Vec<&str> = rooms.iter().map(String::as_str).collect();
        self.publish(&rooms, except, packet, volatile);
    }

    /// Sends to one socket, registered or still being admitted.
    pub fn send_to(&self, socket: &Arc<Socket>, packet: Packet, volatile: bool) {
        self.count_sent(&packet, 1);
        self.fanout.send_one(socket, packet, volatile);
    }

    /// Sends to members of these rooms, or everyone, on the other servers.
    pub(super) fn publish(&self, rooms: &[&str], except: &[String], packet: &Packet, volatile: bool) {
        if let Some(peers) = self.peers() {
            let except: Vec<&str> = except.iter().map(String::as_str).collect();
            peers.broadcast(&Broadcast {
                packet,
                rooms,
                except: &except,
                volatile,
                fact: Fact::None,
            });
        }
    }

    /// Sends to those members of a room on this instance whom the filter means.
    pub(super) fn broadcast_here(&self, room: &Room, packet: &Packet, filter: &Filter) {
        let except = self.excluded(&filter.except);
        if filter.is_plain() {
            let state = room.state();
            let sent = self.fanout.send_many(&state.members, &except, packet);
            self.count_sent(packet, sent);
            return;
        }
        let allowed = self.allowed(filter);
        let state = room.state();
        let recipients = state.members.local_in_order();
        for socket in recipients {
            if allowed.contains(&socket.key()) && !except.contains(socket.key()) {
                self.send_to(&socket, packet.clone(), false);
            }
        }
    }

    /// Keys of the sockets that these names leave out: socket ids, and rooms.
    pub(super) fn excluded(&self, names: &[String]) -> Except {
        let (mut except, mut named) = (Except::new(), HashSet::new());
        for name in names.iter().filter(|name| named.insert(name.as_str())) {
            match self.hub.socket(name) {
                Some(socket) => except.insert(socket.key()),
                None => {
                    if let Some(room) = self.hub.room(name).or_else(|| self.hub.plain_room(name)) {
                        except.extend(room.state().members.local_keys());
                    }
                }
            }
        }
        except
    }

    /// Keys of the sockets that satisfy every condition of the filter.
    pub(super) fn allowed(&self, filter: &Filter) -> HashSet<u64> {
        let keys = |sockets: Vec<Arc<Socket>>| sockets.into_iter().map(|socket| socket.key()).collect::<HashSet<_>>();
        let mut sets = Vec::new();
        if let Some(user_ids) = &filter.users {
            sets.push(
                user_ids
                    .iter()
                    .flat_map(|user_id| keys(self.hub.sockets_of(user_id)))
                    .collect(),
            );
        }
        if let Some(name) = &filter.room {
            let room = self.hub.room(name).or_else(|| self.hub.plain_room(name));
            sets.push(room.map_or_else(HashSet::new, |room| keys(room.state().members.local_in_order())));
        }
        if let Some(label) = &filter.label {
            let rooms = self.hub.rooms(Some(label));
            sets.push(
                rooms
                    .iter()
                    .flat_map(|room| keys(room.state().members.local_in_order()))
                    .collect(),
            );
        }
        sets.into_iter()
            .reduce(|one, other: HashSet<u64>| one.intersection(&other).copied().collect())
            .unwrap_or_default()
    }
}
