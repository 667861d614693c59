//! Packets from the application: to a room, to users, to everyone, to one socket.

use std::{collections::HashSet, sync::Arc};

use super::Service;
use crate::{
    error::{Error, Result},
    fanout::Except,
    hub::{Room, User},
    packet::Packet,
};

/// `BroadcastOptions`: who of the recipients is meant. An absent list or name excludes nobody.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Socket ids, and plain rooms, that are left out.
    pub except: Vec<String>,
    /// Only these user ids.
    pub users: Option<Vec<String>>,
    /// Only members of this room.
    pub room: Option<String>,
    /// Only members of rooms with this label.
    pub label: Option<String>,
}

impl Filter {
    fn is_plain(&self) -> bool {
        self.users.is_none() && self.room.is_none() && self.label.is_none()
    }
}

impl Service {
    /// `broadcastToRoom`.
    pub fn broadcast_to_room(&self, room_id: &str, packet: &Packet, filter: &Filter) -> Result<()> {
        let room = self.hub.room(room_id).ok_or(Error::RoomNotFound)?;
        self.broadcast(&room, packet, filter);
        Ok(())
    }

    /// `broadcastToAll`.
    pub fn broadcast_to_all(&self, packet: &Packet, filter: &Filter) {
        self.broadcast(self.hub.everyone(), packet, filter);
    }

    /// `broadcastToUsers`: every socket of each user, once.
    pub fn broadcast_to_users<'a>(&self, user_ids: impl IntoIterator<Item = &'a str>, packet: &Packet) {
        let unique: HashSet<&str> = user_ids.into_iter().collect();
        for user in unique.into_iter().flat_map(|user_id| self.hub.sockets_of(user_id)) {
            self.send_to(&user, packet.clone(), false);
        }
    }

    /// `emitToSocket`. An unknown socket changes nothing.
    pub fn emit_to_socket(&self, socket_id: &str, packet: Packet, volatile: bool) {
        if let Some(user) = self.hub.user(socket_id) {
            self.send_to(&user, packet, volatile);
        }
    }

    /// `socket.to(rooms)`: registered rooms, plain rooms and the rooms of sockets' own ids, each member once, without
    /// the sender.
    pub fn emit_to_rooms(&self, sender: &Arc<User>, names: &[String], packet: &Packet) {
        let mut except = Except::from_slice(&[sender.key()]);
        for name in names {
            if let Some(room) = self.hub.room(name).or_else(|| self.hub.plain_room(name)) {
                let state = room.state();
                let sent = self.fanout.send_many(&state.members, &except, packet);
                self.count_sent(packet, sent);
                if names.len() > 1 {
                    except.extend(state.members.in_order().iter().map(|user| user.key()));
                }
            } else if let Some(user) = self.hub.user(name).filter(|user| !except.contains(&user.key())) {
                self.send_to(&user, packet.clone(), false);
                except.push(user.key());
            }
        }
    }

    /// Sends to one socket, registered or still being admitted.
    pub fn send_to(&self, user: &Arc<User>, packet: Packet, volatile: bool) {
        self.count_sent(&packet, 1);
        self.fanout.send_one(user, packet, volatile);
    }

    fn broadcast(&self, room: &Room, packet: &Packet, filter: &Filter) {
        let except = self.excluded(&filter.except);
        if filter.is_plain() {
            let state = room.state();
            let sent = self.fanout.send_many(&state.members, &except, packet);
            self.count_sent(packet, sent);
            return;
        }
        let allowed = self.allowed(filter);
        let state = room.state();
        let recipients = state.members.in_order();
        for user in recipients {
            if allowed.contains(&user.key()) && !except.contains(&user.key()) {
                self.send_to(&user, packet.clone(), false);
            }
        }
    }

    fn excluded(&self, names: &[String]) -> Except {
        let mut except = Except::new();
        for name in names {
            match self.hub.user(name) {
                Some(user) => except.push(user.key()),
                None => {
                    if let Some(room) = self.hub.room(name).or_else(|| self.hub.plain_room(name)) {
                        except.extend(room.state().members.in_order().iter().map(|user| user.key()));
                    }
                }
            }
        }
        except
    }

    /// Keys of the sockets that satisfy every condition of the filter.
    fn allowed(&self, filter: &Filter) -> HashSet<u64> {
        let keys = |users: Vec<Arc<User>>| users.into_iter().map(|user| user.key()).collect::<HashSet<_>>();
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
            sets.push(room.map_or_else(HashSet::new, |room| keys(room.state().members.in_order())));
        }
        if let Some(label) = &filter.label {
            let rooms = self.hub.rooms(Some(label));
            sets.push(
                rooms
                    .iter()
                    .flat_map(|room| keys(room.state().members.in_order()))
                    .collect(),
            );
        }
        sets.into_iter()
            .reduce(|one, other: HashSet<u64>| one.intersection(&other).copied().collect())
            .unwrap_or_default()
    }
}
