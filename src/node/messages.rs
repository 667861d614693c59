//! Chat messages.

use napi::bindgen_prelude::Buffer;
use napi_derive::napi;

use super::{
    binding::{NativeService, bytes_of, index},
    field::{Field, Fields},
};
use crate::service::{MessageType, NewMessage};

#[napi]
impl NativeService {
    /// Stores and sends a message: the position of the oldest kept message, then its own position, JSON and
    /// attachments; empty for an unknown room.
    #[napi]
    pub fn send_message(
        &self,
        room_id: String,
        user_id: String,
        content: String,
        kind: String,
        metadata: Option<String>,
        attachments: Vec<Buffer>,
    ) -> Vec<Field> {
        let service = self.server.service();
        let message = NewMessage {
            author: &service.author(&user_id),
            content: &content,
            kind: MessageType::parse(&kind).unwrap_or_default(),
            metadata: metadata.as_deref(),
            attachments: bytes_of(attachments),
        };
        let mut fields = Fields::default();
        if let Ok(stored) = service.send_message(&room_id, message) {
            let room = service.hub.room(&room_id);
            fields
                .integer(room.map_or(0, |room| room.state().history.first_seq()))
                .message(&stored);
        }
        fields.into_vec()
    }

    /// A page of history, newest first, behind the position of the oldest kept message.
    #[napi]
    pub fn messages(&self, room_id: String, limit: f64, offset: f64) -> Vec<Field> {
        let service = self.server.service();
        let size = |number: f64| usize::try_from(index(number)).unwrap_or(usize::MAX);
        let page = service.messages(&room_id, size(limit), size(offset));
        let first = service
            .hub
            .room(&room_id)
            .map_or(0, |room| room.state().history.first_seq());
        let mut fields = Fields::default();
        fields.integer(first);
        for message in page {
            fields.message(&message);
        }
        fields.into_vec()
    }
}
