//! Sockets that live in JavaScript: objects given to `handleConnection` by hand.

use std::sync::{Arc, OnceLock, Weak};

use super::queue::{Item, Queue};
use crate::{hub::User, link::Link, ports::ServiceEvent, wire::packet::Packet};

/// The way to a socket object: its own `emit`.
pub(super) struct JsSocket {
    queue: Arc<Queue>,
    user: OnceLock<Weak<User>>,
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
            user: OnceLock::new(),
        }
    }

    pub(super) fn belongs_to(&self, user: &Arc<User>) {
        let _ = self.user.set(Arc::downgrade(user));
    }
}

impl Link for JsSocket {
    fn send(&self, packet: &Packet, _: bool) -> bool {
        if let Some(user) = self.user.get().and_then(Weak::upgrade) {
            self.queue
                .push(Item::Event(ServiceEvent::Deliver(user, packet.clone())));
        }
        false
    }
}
