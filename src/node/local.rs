//! Sockets that live in JavaScript: objects given to `handleConnection` by hand.

use std::sync::{Arc, OnceLock, Weak};

use super::queue::{Item, Queue};
use crate::{hub::Socket, link::Link, ports::ServiceEvent, wire::packet::Packet};

/// The way to a socket object: its own `emit`.
pub(super) struct JsSocket {
    queue: Arc<Queue>,
    socket: OnceLock<Weak<Socket>>,
}

impl std::fmt::Debug for JsSocket {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("JsSocket")
    }
}

impl JsSocket {
    pub(super) fn new(queue: Arc<Queue>) -> Self {
        Self {
            queue,
            socket: OnceLock::new(),
        }
    }

    pub(super) fn belongs_to(&self, socket: &Arc<Socket>) {
        let _ = self.socket.set(Arc::downgrade(socket));
    }
}

impl Link for JsSocket {
    fn send(&self, packet: &Packet, _: bool) -> bool {
        // Nobody comes back to it: its listeners get what was sent, and no more.
        if let Some(socket) = self.socket.get().and_then(Weak::upgrade) {
            self.queue
                .push(Item::Event(ServiceEvent::Deliver(socket, packet.without_offset())));
        }
        false
    }
}
