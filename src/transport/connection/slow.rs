//! Clients that read slowly: how much may wait for one, and who is watched, stalled, or closed.

use std::{
    sync::Weak,
    time::{Duration, Instant},
};

use super::Connection;
use crate::transport::{common::Limits, outbox::Outbox};

/// Bytes that may wait for a client that reads, as a multiple of those for one that does not.
const MOST_FOR_READERS: usize = 4;
/// Looks at a slow client within the time after which it counts as one that does not read.
const LOOKS_PER_STALL: u32 = 8;

impl Connection {
    fn limits(&self) -> &Limits {
        &self.seat.common().limits
    }

    /// Closes a client for which far too much waits, and watches one for which much does.
    pub(super) fn check_limit(&self, outbox: &mut Outbox) {
        let waiting = outbox.waiting();
        if waiting > self.limits().queued_bytes.saturating_mul(MOST_FOR_READERS) {
            self.overflow(outbox);
        } else if waiting >= self.limits().slow() && !outbox.is_slow {
            outbox.is_slow = true;
            self.limits().congestion.enter();
            self.seat
                .common()
                .runtime
                .spawn(watch(self.me.clone(), self.limits().stall));
        }
    }

    /// Bytes have left, or do not wait any more.
    pub(super) fn progressed(&self, outbox: &Outbox) {
        if outbox.is_slow {
            self.limits().congestion.progressed(outbox.awaited());
        }
    }

    /// Looks at a slow client. False when there is nothing to watch any more.
    fn look(&self, seen: &mut Seen) -> bool {
        let mut outbox = self.outbox.lock();
        let waiting = outbox.waiting();
        if waiting < self.limits().slow() {
            outbox.is_slow = false;
            outbox.is_stalled = false;
            self.limits().congestion.leave();
            return false;
        }
        if seen.left != Some(outbox.left) {
            *seen = Seen {
                left: Some(outbox.left),
                since: Instant::now(),
            };
        } else if seen.since.elapsed() >= self.limits().stall {
            if waiting > self.limits().queued_bytes {
                self.overflow(&mut outbox);
            } else if !std::mem::replace(&mut outbox.is_stalled, true) {
                self.progressed(&outbox);
            }
        }
        true
    }
}

/// What was seen of a slow client: how much had left, and since when that has been so.
#[derive(Debug)]
struct Seen {
    left: Option<usize>,
    since: Instant,
}

/// Watches a slow client until it is fast again: one that does not read is closed.
async fn watch(connection: Weak<Connection>, stall: Duration) {
    let mut seen = Seen {
        left: None,
        since: Instant::now(),
    };
    let step = (stall / LOOKS_PER_STALL).max(Duration::from_millis(1));
    while connection
        .upgrade()
        .is_some_and(|connection| connection.look(&mut seen))
    {
        tokio::time::sleep(step).await;
    }
}
