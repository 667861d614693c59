//! Acknowledgements that other servers wait for: which, until when, and to whom they go. Sends nothing itself.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use bytes::Bytes;
use dashmap::DashMap;

use crate::hub::Socket;

/// Ids from here on are ours; those below are given by JavaScript, for each socket.
pub(super) const FIRST_ID: u64 = 1 << 40;

/// Called with each acknowledgement: the JSON array of its arguments, and attachments.
pub type OnAck = Box<dyn Fn(&str, &[Bytes]) + Send + Sync>;

/// An event whose acknowledgements are awaited.
struct Awaited {
    until: Instant,
    on_ack: OnAck,
    sockets: Vec<Arc<Socket>>,
}

/// Events of other servers whose acknowledgements are awaited, by their ids.
#[derive(Default)]
pub(super) struct RemoteAcks {
    awaited: DashMap<u64, Awaited>,
    next: AtomicU64,
}

impl RemoteAcks {
    /// Awaits the acknowledgements of these sockets, at most so many of each, until the given time. Returns the id of the event to send them.
    pub(super) fn expect(&self, sockets: Vec<Arc<Socket>>, most: usize, until: Instant, on_ack: OnAck) -> u64 {
        let id = FIRST_ID + self.next.fetch_add(1, Ordering::Relaxed);
        for socket in &sockets {
            if !socket.await_remote_ack(id, most) {
                tracing::debug!(
                    socket = socket.id(),
                    "an acknowledgement that another server awaits has expired"
                );
            }
        }
        let awaited = Awaited { until, on_ack, sockets };
        self.awaited.insert(id, awaited);
        id
    }

    /// Passes an acknowledgement on to whoever waits for it.
    pub(super) fn collect(&self, id: u64, args: &str, attachments: &[Bytes]) {
        if let Some(awaited) = self.awaited.get(&id) {
            (awaited.on_ack)(args, attachments);
        }
    }

    /// Waits for nothing any more.
    pub(super) fn clear(&self) {
        self.awaited.clear();
    }

    /// Waits no longer for what should have come by now.
    pub(super) fn expire(&self) {
        let now = Instant::now();
        self.awaited.retain(|id, awaited| {
            let is_over = awaited.until <= now;
            if is_over {
                awaited.sockets.iter().for_each(|socket| {
                    socket.take_ack(*id);
                });
            }
            !is_over
        });
    }
}
