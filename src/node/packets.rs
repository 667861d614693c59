//! Packets of the application, and shutdown.

use std::{borrow::Cow, panic::AssertUnwindSafe};

use futures_util::FutureExt as _;
use napi::bindgen_prelude::{Buffer, Result};
use napi_derive::napi;

use super::{
    binding::{NativeService, bytes_of, index, invalid},
    protocol::Failure,
    queue::Item,
};
use crate::{
    selection::Selection,
    server::Farewell,
    wire::packet::{Packet, PacketKind},
};

/// `BroadcastOptions`, as JSON.
fn filter<'n>(json: Option<&str>) -> Result<Selection<'n>> {
    json.map_or_else(
        || Ok(Selection::default()),
        |text| serde_json::from_str(text).map_err(invalid),
    )
}

pub(super) fn event(args: &str, attachments: Vec<Buffer>) -> Packet {
    Packet::new(PacketKind::Event(None), args, bytes_of(attachments))
}

/// Whom something was sent to.
#[napi(string_enum = "lowercase")]
#[derive(Debug)]
pub enum Scope {
    /// Everyone.
    Everyone,
    /// The members of a room.
    Room,
    /// Every socket of some users.
    Users,
    /// One socket.
    Socket,
}

#[napi]
impl NativeService {
    /// Sends an event to a room.
    #[napi(catch_unwind)]
    pub fn broadcast_to_room(
        &self,
        room_id: String,
        args: String,
        attachments: Vec<Buffer>,
        options: Option<String>,
    ) -> Result<Option<Failure>> {
        let filter = filter(options.as_deref())?;
        let packet = event(&args, attachments);
        let outcome = self.server.service().broadcast_to_room(&room_id, &packet, filter);
        Ok(outcome.err().map(Failure::from))
    }

    /// Sends an event to every socket of some users.
    #[napi(catch_unwind)]
    pub fn broadcast_to_users(&self, user_ids: Vec<String>, args: String, attachments: Vec<Buffer>) {
        let users = user_ids.iter().map(String::as_str);
        self.server
            .service()
            .broadcast_to_users(users, &event(&args, attachments));
    }

    /// Sends an event to everyone.
    #[napi(catch_unwind)]
    pub fn broadcast_to_all(&self, args: String, attachments: Vec<Buffer>, options: Option<String>) -> Result<()> {
        let filter = filter(options.as_deref())?;
        self.server.service().emit(&filter, &event(&args, attachments));
        Ok(())
    }

    /// Sends an event to one socket; with an id, its acknowledgement is awaited. False when it is not here.
    #[napi(catch_unwind)]
    pub fn emit(
        &self,
        socket_id: String,
        args: String,
        attachments: Vec<Buffer>,
        ack: Option<f64>,
        volatile: bool,
    ) -> bool {
        let _still = self.server.service().while_none_moves();
        let Some(socket) = self.socket(&socket_id) else {
            return false;
        };
        let ack = ack.map(index);
        if let Some(id) = ack {
            socket.await_ack(id);
        }
        let packet = Packet::new(PacketKind::Event(ack), &args, bytes_of(attachments));
        self.server.service().send_to(&socket, packet, volatile);
        true
    }

    /// Forgets an awaited acknowledgement.
    #[napi(catch_unwind)]
    pub fn forget_ack(&self, socket_id: String, id: f64) {
        if let Some(socket) = self.socket(&socket_id) {
            socket.take_ack(index(id));
        }
    }

    /// Acknowledges a client's event.
    #[napi(catch_unwind)]
    pub fn acknowledge(&self, socket_id: String, id: f64, args: String, attachments: Vec<Buffer>) {
        if let Some(socket) = self.socket(&socket_id) {
            let packet = Packet::new(PacketKind::Ack(index(id)), &args, bytes_of(attachments));
            self.server.service().send_to(&socket, packet, false);
        }
    }

    /// Whether callers should wait for [`NativeService::flush`] or [`NativeService::ease`] before they send more.
    #[napi(catch_unwind)]
    pub fn is_congested(&self) -> bool {
        self.server.service().fanout().is_congested()
    }

    /// Reports under this number when everything sent before has been written.
    #[napi(catch_unwind)]
    pub fn flush(&self, id: f64) {
        let (service, queue) = (self.server.service().clone(), self.queue.clone());
        self.server.runtime().spawn(async move {
            service.fanout().flushed().await;
            queue.push(Item::Done(id));
        });
    }

    /// Reports under this number when everything sent before has been handed to its connections, and few bytes wait for
    /// those that it was sent to; after `limits.stallMs` at the latest. `names`: the room, the users or the socket;
    /// `options` as of the broadcast.
    #[napi(catch_unwind)]
    pub fn ease(&self, id: f64, scope: Scope, names: Vec<String>, options: Option<String>) -> Result<()> {
        let filter = filter(options.as_deref())?;
        let names = || names.into_iter().map(Cow::Owned).collect();
        let selection = match scope {
            Scope::Everyone => filter,
            Scope::Room | Scope::Socket => Selection {
                rooms: names(),
                ..filter
            },
            Scope::Users => Selection::users(names()),
        };
        let (service, queue) = (self.server.service().clone(), self.queue.clone());
        self.server.runtime().spawn(async move {
            service.eased(&selection).await;
            queue.push(Item::Done(id));
        });
        Ok(())
    }

    /// Shuts down and reports under this number when it is done.
    #[napi(catch_unwind)]
    pub fn shutdown(&self, id: f64, drain_ms: f64, hands_over: bool) {
        let farewell = Farewell {
            drain: std::time::Duration::from_millis(index(drain_ms)),
            hands_over,
        };
        let (ended, queue) = (self.server.shutdown(farewell), self.queue.clone());
        self.server.runtime().spawn(async move {
            // Whatever has gone wrong, the caller does not wait for ever.
            let _ = AssertUnwindSafe(ended).catch_unwind().await;
            queue.push(Item::Done(id));
        });
    }
}
