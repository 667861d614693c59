//! Broadcasts that arrived, for the clients of this instance.

use std::sync::Arc;

use bytes::Bytes;

use super::status::Status;
use crate::{
    adapter::{
        broadcast::{self, Broadcast, Decoded},
        channels::Scope,
    },
    selection::{Selection, names},
    service::Service,
    wire::{
        json::placeholders_fit,
        packet::{Origin, Packet, PacketKind},
    },
};

/// The way of a broadcast into the service.
pub(super) struct Delivery {
    pub(super) service: Arc<Service>,
    pub(super) status: Arc<Status>,
}

impl Delivery {
    /// Whether a broadcast concerns a client of this instance, or one that may come to it.
    pub(super) fn has_recipients(&self, scope: Scope<'_>) -> bool {
        match scope {
            Scope::Everyone => true,
            Scope::Room(name) => self.service.concerns(name),
        }
    }

    /// Decodes a broadcast and hands it on, if it is one for this package.
    pub(super) fn read(&self, channel: &str, payload: &Bytes, hand_on: impl FnOnce(Broadcast)) {
        match broadcast::decode(payload) {
            Ok(Decoded::Ours(broadcast)) if !are_complete(&broadcast) => {
                self.status.ignore(channel, "a placeholder names no attachment");
            }
            Ok(Decoded::Ours(broadcast)) => hand_on(broadcast),
            Ok(Decoded::OtherNamespace) => {}
            Err(error) => self.status.ignore(channel, &error.to_string()),
        }
    }

    pub(super) fn deliver(&self, broadcast: Broadcast, origin: Origin) {
        let packet = packet_of(&broadcast, origin);
        let selection = Selection {
            rooms: names(&broadcast.rooms),
            except: names(&broadcast.except),
            volatile: broadcast.volatile,
            ..Selection::default()
        };
        self.service.deliver(&selection, &packet);
    }
}

/// Whether every placeholder has its attachment. Clients close their connection over one that has none.
fn are_complete(broadcast: &Broadcast) -> bool {
    let attachments = broadcast.attachments.len();
    attachments == 0 || placeholders_fit(&broadcast.args, attachments)
}

pub(super) fn packet_of(broadcast: &Broadcast, origin: Origin) -> Packet {
    let packet = Packet::new(PacketKind::Event(None), &broadcast.args, broadcast.attachments.clone());
    packet.set_origin(origin);
    packet
}
