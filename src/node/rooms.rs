//! Rooms and their members.

use napi_derive::napi;

use super::{
    binding::{NativeService, invalid},
    field::{Field, Fields},
    protocol::{Failure, RoomFigures},
};
use crate::{hub::Change, service::NewRoom};

#[napi]
impl NativeService {
    /// Creates a room: its id and creation time. In a cluster, its creator and metadata, as JSON, are told as well.
    #[napi(catch_unwind)]
    pub fn create_room(
        &self,
        name: String,
        label: String,
        created_by: Option<String>,
        metadata: Option<String>,
        membership_events: Option<String>,
        private: bool,
    ) -> napi::Result<Vec<Field>> {
        let service = self.server.service();
        let membership_events = membership_events
            .map(|name| serde_json::from_value(name.into()))
            .transpose()
            .map_err(invalid)?;
        let room = service.create_room_with(
            &name,
            &label,
            &NewRoom {
                created_by: created_by.as_deref(),
                metadata: metadata.as_deref(),
                membership_events,
                private,
            },
        );
        room.touch();
        let mut fields = Fields::default();
        fields.text(&*room.info.id).integer(room.info.created_at);
        Ok(fields.into_vec())
    }

    /// Joins a room.
    #[napi(catch_unwind)]
    pub fn join_room(&self, socket_id: String, room_id: String) -> Option<Failure> {
        let outcome = self.server.service().join_room(&socket_id, &room_id);
        outcome.err().map(Failure::from)
    }

    /// Leaves a room.
    #[napi(catch_unwind)]
    pub fn leave_room(&self, socket_id: String, room_id: String) {
        self.server.service().leave_room(&socket_id, &room_id);
    }

    /// Deletes a room. False when there was none.
    #[napi(catch_unwind)]
    pub fn delete_room(&self, room_id: String) -> bool {
        self.server.service().delete_room(&room_id).is_some()
    }

    /// Whether there is such a room.
    #[napi(catch_unwind)]
    pub fn has_room(&self, room_id: String) -> bool {
        let _rest = self.server.service().at_rest();
        self.server.service().hub.room(&room_id).is_some()
    }

    /// The record of a room; empty when there is none.
    #[napi(catch_unwind)]
    pub fn room(&self, room_id: String) -> Vec<Field> {
        let mut fields = Fields::default();
        if let Some(room) = self.server.service().hub.room(&room_id) {
            fields.room(&room);
        }
        fields.into_vec()
    }

    /// Ids of the rooms with this label, of all without one, in the order of their creation.
    #[napi(catch_unwind)]
    pub fn room_ids(&self, label: Option<String>) -> Vec<String> {
        let _rest = self.server.service().at_rest();
        self.server.service().room_ids(label.as_deref())
    }

    /// Ids of a room's members, in the order in which they joined.
    #[napi(catch_unwind)]
    pub fn room_members(&self, room_id: String) -> Vec<String> {
        let _rest = self.server.service().at_rest();
        let room = self.server.service().hub.room(&room_id);
        let members = room.map_or_else(Vec::new, |room| room.state().members.in_order());
        members.iter().map(|socket| socket.id().to_owned()).collect()
    }

    /// Changes of a room's members since the last call: `+id` joined, `-id` left; after `*`, all members anew.
    #[napi(catch_unwind)]
    pub fn member_changes(&self, room_id: String) -> Vec<String> {
        let _rest = self.server.service().at_rest();
        let Some(room) = self.server.service().hub.room(&room_id) else {
            return vec!["*".to_owned()];
        };
        let (anew, changes) = room.state().members.take_changes();
        let changes = changes.iter().map(|change| match change {
            Change::Joined(socket) => format!("+{}", socket.id()),
            Change::Left(socket) => format!("-{}", socket.id()),
        });
        anew.then(|| "*".to_owned()).into_iter().chain(changes).collect()
    }

    /// Members, messages, creation and last activity; empty for an unknown room.
    #[napi(catch_unwind)]
    pub fn room_stats(&self, room_id: String) -> Option<RoomFigures> {
        self.server.service().restore(&room_id);
        let _rest = self.server.service().at_rest();
        self.server.service().room_stats(&room_id).map(RoomFigures::from)
    }

    /// A socket joins a registered or plain room.
    #[napi(catch_unwind)]
    pub fn socket_join(&self, socket_id: String, room: String) -> bool {
        let service = self.server.service();
        self.socket(&socket_id)
            .is_some_and(|socket| service.socket_join(&socket, &room).is_ok())
    }

    /// A socket leaves a registered or plain room.
    #[napi(catch_unwind)]
    pub fn socket_leave(&self, socket_id: String, room: String) {
        if let Some(socket) = self.socket(&socket_id) {
            self.server.service().socket_leave(&socket, &room);
        }
    }

    /// The rooms of a socket, its own id among them.
    #[napi(catch_unwind)]
    pub fn socket_rooms(&self, socket_id: String) -> Vec<String> {
        let _rest = self.server.service().at_rest();
        let socket = self.socket(&socket_id);
        socket.map_or_else(Vec::new, |socket| self.server.service().socket_rooms(&socket))
    }
}
