//! Chat messages.

use napi::bindgen_prelude::{Buffer, Either};
use napi_derive::napi;

use super::{
    binding::{NativeService, bytes_of, index},
    field::{Field, Fields},
    protocol::Failure,
};
use crate::service::{MessageType, NewMessage};

#[napi]
impl NativeService {
    /// Stores and sends a message: the position of the oldest kept message, then its own position, JSON and
    /// attachments.
    #[napi(catch_unwind)]
    pub fn send_message(
        &self,
        room_id: String,
        user_id: String,
        content: String,
        kind: String,
        metadata: Option<String>,
        attachments: Vec<Buffer>,
    ) -> Either<Vec<Field>, Failure> {
        let service = self.server.service();
        let message = NewMessage {
            author: &service.author(&user_id),
            content: &content,
            kind: MessageType::parse(&kind).unwrap_or_default(),
            metadata: metadata.as_deref(),
            attachments: bytes_of(attachments),
        };
        let stored = match service.send_message(&room_id, message) {
            Ok(stored) => stored,
            Err(error) => return Either::B(error.into()),
        };
        let room = service.hub.room(&room_id);
        let mut fields = Fields::default();
        fields
            .integer(room.map_or(0, |room| room.state().history.first_seq()))
            .message(&stored);
        Either::A(fields.into_vec())
    }

    /// Positions of the oldest kept message and of the next one to come; empty for an unknown room.
    #[napi(catch_unwind)]
    pub fn kept_messages(&self, room_id: String) -> Vec<f64> {
        self.server.service().restore(&room_id);
        let _rest = self.server.service().at_rest();
        let kept = self.server.service().kept_messages(&room_id);
        kept.map_or_else(Vec::new, |kept| vec![kept.start as f64, kept.end as f64])
    }

    /// The kept messages at positions from `oldest` to `newest`, newest first, behind the position of the oldest kept
    /// message.
    #[napi(catch_unwind)]
    pub fn messages(&self, room_id: String, oldest: f64, newest: f64) -> Vec<Field> {
        let (first, messages) = self.server.service().messages(&room_id, index(oldest)..=index(newest));
        let mut fields = Fields::default();
        fields.integer(first);
        for message in messages {
            fields.message(&message);
        }
        fields.into_vec()
    }
}
