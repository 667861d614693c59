//! What clients are told of their events: acknowledgements, and `error` when one failed.

use std::{fmt::Write as _, sync::Arc};

use super::{
    events::BuiltIn,
    packet::{Call, ClientPacket, Done},
};
use crate::{
    error::{Error, Result},
    hub::Socket,
    service::Service,
    wire::{
        json::quoted,
        packet::{Packet, PacketKind},
    },
};

/// How an event of a client went.
pub(super) struct Outcome<'a> {
    /// Its name, in canonical form.
    pub(super) event: &'a str,
    /// What it is, if it is built in and was looked at.
    pub(super) built_in: Option<&'static BuiltIn>,
    /// The room that it named, a JSON string.
    pub(super) room_id: Option<&'a str>,
    /// What the acknowledgement holds, or what went wrong.
    pub(super) result: Result<Done>,
}

impl<'a> Outcome<'a> {
    /// Runs a built-in event.
    pub(super) fn of(service: &Service, socket: &Arc<Socket>, built_in: &'static BuiltIn, call: &Call<'a>) -> Self {
        Self {
            event: call.name,
            built_in: Some(built_in),
            room_id: call.named_room(),
            result: (built_in.run)(service, socket, call),
        }
    }

    /// A built-in event that the application does not allow.
    pub(super) fn refused(call: &Call<'a>, error: Error) -> Self {
        Self {
            event: call.name,
            built_in: None,
            room_id: call.named_room(),
            result: Err(error),
        }
    }

    /// An event that went beyond a bound, and so was not looked at.
    pub(super) fn beyond_bounds(event: &'a str, error: Error) -> Self {
        Self {
            event,
            built_in: None,
            room_id: None,
            result: Err(error),
        }
    }

    /// What `error` says.
    fn failure(&self, error: &Error) -> Packet {
        let text = match (error, self.built_in) {
            (Error::UserNotFound, _) => "User not found".to_owned(),
            (Error::Forbidden(text), _) => text.clone(),
            (_, Some(built_in)) => (built_in.failure)(self.event),
            (error, None) => format!("{} is {error}", self.event),
        };
        error_event(&text, Some(self.event), self.room_id, error)
    }
}

impl Service {
    /// Tells the client how its event went: the acknowledgement if it asked for one, and `error` if it failed.
    pub(super) fn answer(&self, socket: &Arc<Socket>, packet: &ClientPacket<'_>, outcome: &Outcome<'_>) {
        let mut attachments = Vec::new();
        let body = match &outcome.result {
            Ok(done) => {
                attachments.clone_from(&done.attachments);
                format!("[{{\"ok\":true,{}}}]", done.members)
            }
            Err(error) => {
                self.send_to(socket, outcome.failure(error), false);
                format!(
                    "[{{\"ok\":false,\"error\":{{\"code\":\"{}\",\"message\":{}}}}}]",
                    error.code(),
                    quoted(&error.to_string())
                )
            }
        };
        if let Some(id) = packet.id {
            self.send_to(socket, Packet::new(PacketKind::Ack(id), &body, attachments), false);
        }
    }
}

/// What the client is told of an acknowledgement that is not passed on.
pub(super) fn refused_ack(error: &Error) -> Packet {
    error_event(&format!("An acknowledgement is {error}"), None, None, error)
}

/// The event `error`. The name is in canonical form, and so stands between quotes as it is; the room id is JSON.
fn error_event(text: &str, event: Option<&str>, room_id: Option<&str>, error: &Error) -> Packet {
    let mut body = format!("{{\"message\":{},\"code\":\"{}\"", quoted(text), error.code());
    if let Some(event) = event {
        let _ = write!(body, ",\"event\":\"{event}\"");
    }
    if let Some(room_id) = room_id {
        let _ = write!(body, ",\"roomId\":{room_id}");
    }
    body.push('}');
    Packet::event("error", &body)
}
