//! Streams that JavaScript reads and writes for us: TLS, and anything without a descriptor.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::queue::{Item, Queue};
use crate::transport::{ByteSink, Connection};

/// Chunks that may wait for a busy native thread before JavaScript is told to pause its stream.
pub(super) const CHUNKS: usize = 256;

/// The writing side of a bridged stream.
pub(super) struct JsStream {
    pub(super) id: f64,
    pub(super) queue: Arc<Queue>,
}

impl ByteSink for JsStream {
    fn write(&self, bytes: Bytes) {
        self.queue.push(Item::BridgeWrite(self.id, bytes));
    }

    fn end(&self) {
        self.queue.push(Item::BridgeEnd(self.id, false));
    }

    fn destroy(&self) {
        self.queue.push(Item::BridgeEnd(self.id, true));
    }
}

/// The reading side of a bridged stream, and the connection to account written bytes to.
pub(super) struct Bridge {
    pub(super) incoming: mpsc::Sender<Bytes>,
    pub(super) connection: Arc<Connection>,
}
