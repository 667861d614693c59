//! Rooms of the registry: create, join, leave, delete.

use std::sync::Arc;

use super::Service;
use crate::{
    clock,
    error::{Error, Result},
    event::{EventKind, ServiceEvent},
    fanout::Except,
    hub::{Room, RoomInfo, RoomState, User},
    packet::Packet,
};

/// `getRoomStats()`.
#[derive(Debug, Clone, Copy)]
pub struct RoomStats {
    /// Members now.
    pub members: usize,
    /// Messages in history.
    pub messages: usize,
    /// Creation, milliseconds since the epoch.
    pub created_at: u64,
    /// Newest message, else creation.
    pub last_activity: u64,
}

impl Service {
    /// `createRoom`.
    pub fn create_room(&self, name: &str, label: &str) -> Arc<Room> {
        self.hub.insert_room(RoomInfo {
            id: uuid::Uuid::new_v4().to_string().into(),
            name: name.into(),
            label: label.into(),
            created_at: clock::now_ms(),
            registered: true,
        })
    }

    /// `joinRoom`. Joining twice is once.
    pub fn join_room(&self, socket_id: &str, room_id: &str) -> Result<()> {
        match (self.hub.user(socket_id), self.hub.room(room_id)) {
            (Some(user), Some(room)) => self.join(&user, &room),
            _ => Err(Error::UserOrRoomNotFound),
        }
    }

    pub(super) fn join(&self, user: &Arc<User>, room: &Arc<Room>) -> Result<()> {
        user.with_rooms(|rooms| {
            let mut state = room.state();
            if state.deleted {
                return Err(Error::UserOrRoomNotFound);
            }
            if state.members.insert(user) {
                rooms.push(room.clone());
                self.tell(EventKind::RoomJoin, || {
                    ServiceEvent::RoomJoin(user.clone(), room.clone())
                });
                self.send_to_others(&state, user, &membership_packet("user:joined", user, room));
            }
            Ok(())
        })
        .unwrap_or(Err(Error::UserOrRoomNotFound))
    }

    /// `leaveRoom`. An unknown socket or room changes nothing.
    pub fn leave_room(&self, socket_id: &str, room_id: &str) {
        if let (Some(user), Some(room)) = (self.hub.user(socket_id), self.hub.room(room_id)) {
            self.leave(&user, &room);
        }
    }

    pub(super) fn leave(&self, user: &Arc<User>, room: &Arc<Room>) -> bool {
        // Under the socket's lock, so that it is told before the socket's end.
        user.with_rooms(|rooms| {
            let before = rooms.len();
            rooms.retain(|other| !Arc::ptr_eq(other, room));
            rooms.len() < before && self.depart(user, room)
        })
        .unwrap_or(false)
    }

    /// Takes a member out of the room and tells the others. False when it was none.
    pub(super) fn depart(&self, user: &Arc<User>, room: &Arc<Room>) -> bool {
        let mut state = room.state();
        let Some(was_typing) = state.members.remove(user.key()) else {
            return false;
        };
        if was_typing {
            self.send_typing(&state, user, room, false);
        }
        self.tell(EventKind::RoomLeave, || {
            ServiceEvent::RoomLeave(user.clone(), room.clone())
        });
        self.send_to_others(&state, user, &membership_packet("user:left", user, room));
        true
    }

    /// `deleteRoom`. Returns the room, or `None` when there was none.
    pub fn delete_room(&self, room_id: &str) -> Option<Arc<Room>> {
        let room = self.hub.remove_room(room_id)?;
        let members = {
            let mut state = room.state();
            state.deleted = true;
            state.history.clear();
            state.members.clear()
        };
        for user in members {
            user.with_rooms(|rooms| rooms.retain(|other| !Arc::ptr_eq(other, &room)));
        }
        Some(room)
    }

    /// `getRoomStats`.
    pub fn room_stats(&self, room_id: &str) -> Option<RoomStats> {
        let room = self.hub.room(room_id)?;
        let mut state = room.state();
        state.history.prune(clock::now_ms(), &self.config.history);
        Some(RoomStats {
            members: state.members.len(),
            messages: state.history.len(),
            created_at: room.info.created_at,
            last_activity: state.history.last_timestamp().unwrap_or(room.info.created_at),
        })
    }

    /// `socket.join(name)`: a registered room, or else a plain one.
    pub fn socket_join(&self, user: &Arc<User>, name: &str) -> Result<()> {
        match self.hub.room(name) {
            Some(room) => self.join(user, &room),
            None if self.hub.join_plain(user, name) => Ok(()),
            None => Err(Error::UserNotFound),
        }
    }

    /// `socket.leave(name)`.
    pub fn socket_leave(&self, user: &Arc<User>, name: &str) {
        match self.hub.room(name) {
            Some(room) => {
                self.leave(user, &room);
            }
            None => self.hub.leave_plain(user, name),
        }
    }

    /// `socket.rooms`: its own id first, then the rooms it is in.
    pub fn socket_rooms(&self, user: &Arc<User>) -> Vec<String> {
        let mut names = vec![user.id().to_owned()];
        let rooms = user.with_rooms(|rooms| rooms.clone());
        match rooms {
            Some(rooms) => names.extend(rooms.iter().map(|room| room.info.id.to_string())),
            None => names.clear(),
        }
        names
    }

    pub(super) fn send_to_others(&self, state: &RoomState, user: &Arc<User>, packet: &Packet) -> usize {
        let sent = self
            .fanout
            .send_many(&state.members, &Except::from_slice(&[user.key()]), packet);
        self.count_sent(packet, sent);
        sent
    }

    pub(super) fn send_typing(&self, state: &RoomState, user: &Arc<User>, room: &Arc<Room>, is_typing: bool) {
        let packet = Packet::event(
            "typing",
            &format!(
                "{{{},\"roomId\":{},\"isTyping\":{is_typing},\"timestamp\":\"{}\"}}",
                user.identity().fragment,
                json_string(&room.info.id),
                clock::iso(clock::now_ms()),
            ),
        );
        self.tell(EventKind::Typing, || {
            ServiceEvent::Typing(user.clone(), room.clone(), is_typing)
        });
        self.send_to_others(state, user, &packet);
    }

    pub(super) fn count_sent(&self, packet: &Packet, recipients: usize) {
        self.hub.stats.record(
            clock::now_ms(),
            0,
            (packet.len() as u64).saturating_mul(recipients as u64),
        );
    }
}

fn membership_packet(event: &str, user: &User, room: &Room) -> Packet {
    Packet::event(
        event,
        &format!(
            "{{{},\"socketId\":{},\"roomId\":{},\"timestamp\":\"{}\"}}",
            user.identity().fragment,
            json_string(user.id()),
            json_string(&room.info.id),
            clock::iso(clock::now_ms()),
        ),
    )
}

pub(super) fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
