//! Rooms of the registry: create, join, leave, delete.

use std::sync::Arc;

use super::{Service, gathering::Movement};
use crate::{
    clock,
    config::MembershipEvents,
    error::{Error, Result},
    hub::{Room, RoomInfo, RoomState, Socket},
    ports::{Answer, Command, EventKind, Fact, Peers, ServiceEvent},
    wire::{json, packet::Packet},
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

/// What may be known of a new room besides its name.
#[derive(Debug, Clone, Copy, Default)]
pub struct NewRoom<'a> {
    /// User id of its creator, for the other instances of a cluster.
    pub created_by: Option<&'a str>,
    /// Metadata as JSON, for them as well.
    pub metadata: Option<&'a str>,
    /// What its members are told of those who come and go, where that is not left to the service.
    pub membership_events: Option<MembershipEvents>,
    /// Whether clients may come in only as `authorize.join` allows, or the server.
    pub private: bool,
}

impl Service {
    /// `createRoom`.
    pub fn create_room(&self, name: &str, label: &str) -> Arc<Room> {
        self.create_room_with(name, label, &NewRoom::default())
    }

    /// `createRoom`, with what else is known of it.
    pub fn create_room_with(&self, name: &str, label: &str, room: &NewRoom<'_>) -> Arc<Room> {
        loop {
            let inserted = self.hub.insert_room(RoomInfo {
                id: uuid::Uuid::new_v4().to_string().into(),
                name: name.into(),
                label: label.into(),
                created_at: self.clock.called(),
                created_by: room.created_by.map(Into::into),
                metadata: room.metadata.map(Into::into),
                membership_events: room.membership_events,
                private: room.private,
                registered: true,
            });
            // Only an id that is taken, which never comes twice, keeps it from the registry.
            if let Some(room) = inserted {
                if let Some(peers) = self.peers() {
                    peers.room_created(&room);
                }
                return room;
            }
        }
    }

    /// `joinRoom` for a socket of this instance. Joining twice is once.
    pub fn join_room(&self, socket_id: &str, room_id: &str) -> Result<()> {
        let _change = self.change();
        match (self.hub.socket(socket_id), self.hub.room(room_id)) {
            (Some(socket), Some(room)) => self.join(&socket, &room),
            _ => Err(Error::UserOrRoomNotFound),
        }
    }

    /// `joinRoom` for a socket of any instance. `answer` is called now, or when the socket's instance has answered.
    pub fn join_room_anywhere(&self, socket_id: &str, room_id: &str, answer: Answer) {
        match self.remote(socket_id) {
            Some((socket, peers)) if self.hub.room(room_id).is_some() => {
                peers.ask(&socket, Command::Join(room_id.to_owned()), answer);
            }
            _ => answer(self.join_room(socket_id, room_id)),
        }
    }

    /// `leaveRoom` for a socket of any instance. `answer` is called now, or when the socket's instance has answered.
    pub fn leave_room_anywhere(&self, socket_id: &str, room_id: &str, answer: Answer) {
        match self.remote(socket_id) {
            Some((socket, peers)) if self.hub.room(room_id).is_some() => {
                peers.ask(&socket, Command::Leave(room_id.to_owned()), answer);
            }
            _ => {
                self.leave_room(socket_id, room_id);
                answer(Ok(()));
            }
        }
    }

    pub(super) fn join(&self, socket: &Arc<Socket>, room: &Arc<Room>) -> Result<()> {
        socket
            .with_rooms(|rooms| {
                let mut state = room.state();
                if state.deleted {
                    return Err(Error::UserOrRoomNotFound);
                }
                if state.members.insert(socket) {
                    rooms.push(room.clone());
                    self.hub.came(socket, room);
                    self.tell(EventKind::RoomJoin, || {
                        ServiceEvent::RoomJoin(socket.clone(), room.clone())
                    });
                    self.moved(&mut state, socket, room, Movement::Joined);
                }
                Ok(())
            })
            .unwrap_or(Err(Error::UserOrRoomNotFound))
    }

    /// `leaveRoom`. An unknown socket or room changes nothing.
    pub fn leave_room(&self, socket_id: &str, room_id: &str) {
        let _change = self.change();
        if let (Some(socket), Some(room)) = (self.hub.socket(socket_id), self.hub.room(room_id)) {
            self.leave(&socket, &room);
        }
    }

    pub(super) fn leave(&self, socket: &Arc<Socket>, room: &Arc<Room>) -> bool {
        // Under the socket's lock, so that it is told before the socket's end.
        socket
            .with_rooms(|rooms| rooms.remove(room) && self.depart(socket, room))
            .unwrap_or(false)
    }

    /// Takes a member out of the room and tells the others. False when it was none.
    pub(super) fn depart(&self, socket: &Arc<Socket>, room: &Arc<Room>) -> bool {
        let mut state = room.state();
        let Some(was_typing) = state.members.remove(socket.key()) else {
            return false;
        };
        self.hub.left(socket, room, &state.members);
        if was_typing {
            self.send_typing(&state, socket, room, false);
        }
        self.tell(EventKind::RoomLeave, || {
            ServiceEvent::RoomLeave(socket.clone(), room.clone())
        });
        self.moved(&mut state, socket, room, Movement::Left);
        true
    }

    /// `deleteRoom`. Returns the room, or `None` when there was none.
    pub fn delete_room(&self, room_id: &str) -> Option<Arc<Room>> {
        let _change = self.change();
        self.remove_room(room_id, true)
    }

    /// Takes a room out of the registry, with its members and history; `here` when no other instance has done so.
    pub(super) fn remove_room(&self, room_id: &str, here: bool) -> Option<Arc<Room>> {
        let room = self.hub.remove_room(room_id)?;
        let members = {
            let mut state = room.state();
            state.deleted = true;
            state.history.clear();
            let local = state.members.local_in_order();
            if let Some(peers) = self.peers() {
                peers.room_deleted(room_id, &local, here);
            }
            for socket in &state.members.in_order() {
                self.hub.left(socket, &room, &state.members);
            }
            state.members.clear()
        };
        for socket in members {
            socket.with_rooms(|rooms| rooms.remove(&room));
        }
        Some(room)
    }

    /// `listRooms`: ids of the rooms with this label, of all without one, in the order of their creation.
    pub fn room_ids(&self, label: Option<&str>) -> Vec<String> {
        let mut rooms = self.hub.rooms(label);
        rooms.sort_unstable_by_key(|room| (room.info.created_at, room.order));
        rooms.iter().map(|room| room.info.id.to_string()).collect()
    }

    /// `getRoomStats`.
    pub fn room_stats(&self, room_id: &str) -> Option<RoomStats> {
        let room = self.hub.room(room_id)?;
        let mut state = room.state();
        state.history.prune(self.clock.called(), &self.config.history);
        Some(RoomStats {
            members: state.members.len(),
            messages: state.history.len(),
            created_at: room.info.created_at,
            last_activity: state.history.last_timestamp().unwrap_or(room.info.created_at),
        })
    }

    /// `socket.join(name)`: a registered room, or else a plain one.
    pub fn socket_join(&self, socket: &Arc<Socket>, name: &str) -> Result<()> {
        let _change = self.change();
        match self.hub.room(name) {
            Some(room) => self.join(socket, &room),
            None if self
                .hub
                .join_plain(socket, name, || self.tell_plain(socket, name, true)) =>
            {
                Ok(())
            }
            None => Err(Error::UserNotFound),
        }
    }

    /// `socket.leave(name)`.
    pub fn socket_leave(&self, socket: &Arc<Socket>, name: &str) {
        let _change = self.change();
        match self.hub.room(name) {
            Some(room) => {
                self.leave(socket, &room);
            }
            None => self
                .hub
                .leave_plain(socket, name, || self.tell_plain(socket, name, false)),
        }
    }

    /// A socket has come into a room outside the registry, or has left it: others are to know where it may come to them.
    fn tell_plain(&self, socket: &Socket, name: &str, is_in: bool) {
        if let Some(peers) = self.peers().filter(|_| socket.recovery().is_some()) {
            peers.moved_plain(socket, name, is_in);
        }
    }

    /// `socket.rooms`: its own id first, then the rooms it is in.
    pub fn socket_rooms(&self, socket: &Arc<Socket>) -> Vec<String> {
        let mut names = vec![socket.id().to_owned()];
        let listed = socket.with_rooms(|rooms| names.extend(rooms.iter().map(|room| room.info.id.to_string())));
        listed.map_or_else(Vec::new, |()| names)
    }

    pub(super) fn send_typing(&self, state: &RoomState, socket: &Arc<Socket>, room: &Arc<Room>, is_typing: bool) {
        self.tell(EventKind::Typing, || {
            ServiceEvent::Typing(socket.clone(), room.clone(), is_typing)
        });
        let packet = typing_packet(socket, room, is_typing, self.clock.now());
        self.send_to_others(state, socket, room, &packet, Fact::Typing(is_typing));
    }

    /// A socket on another instance, and the way to that instance.
    pub(super) fn remote(&self, socket_id: &str) -> Option<(Arc<Socket>, &Arc<dyn Peers>)> {
        Some((self.hub.remote().socket(socket_id)?, self.peers()?))
    }
}

pub(super) fn typing_packet(socket: &Socket, room: &Room, is_typing: bool, now: u64) -> Packet {
    Packet::event(
        "typing",
        &format!(
            "{{{},\"roomId\":{},\"isTyping\":{is_typing},\"timestamp\":\"{}\"}}",
            socket.identity().fragment,
            json_string(&room.info.id),
            clock::iso(now),
        ),
    )
}

pub(super) fn json_string(text: &str) -> String {
    json::quoted(text)
}
