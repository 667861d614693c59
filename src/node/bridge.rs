//! Streams that JavaScript reads and writes for us: TLS, and anything without a descriptor.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::queue::{Item, Queue};
use crate::transport::{ByteSink, Connection};

/// Chunks that may wait for a busy native thread, or for a client that may cause no more, before JavaScript has to pause
/// its stream. Of TLS they have 16 KiB.
pub(super) const CHUNKS: usize = 16;

/// The writing side of a bridged stream.
pub(super) struct JsStream {
    id: f64,
    queue: Arc<Queue>,
    /// What JavaScript has not taken yet; the connection's own limit bounds it.
    buffer: Arc<Mutex<Vec<u8>>>,
}

impl JsStream {
    pub(super) fn new(id: f64, queue: Arc<Queue>) -> Self {
        Self {
            id,
            queue,
            buffer: Arc::default(),
        }
    }
}

impl ByteSink for JsStream {
    fn write(&self, bytes: Bytes) {
        let mut buffer = self.buffer.lock();
        let first = buffer.is_empty();
        buffer.extend_from_slice(&bytes);
        drop(buffer);
        if first {
            self.queue.push(Item::BridgeWrite(self.id, self.buffer.clone()));
        }
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
