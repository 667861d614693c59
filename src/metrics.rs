//! Counters: connections since start, and messages and bytes over the last minute.

use std::sync::atomic::{AtomicU64, Ordering};

const SECONDS: usize = 60;

#[derive(Debug, Default)]
struct Second {
    /// Which second since the epoch the counts belong to.
    stamp: AtomicU64,
    messages: AtomicU64,
    bytes: AtomicU64,
}

/// Counters of a service. A race at the turn of a second may cost a count or two, never more.
#[derive(Debug)]
pub struct Stats {
    total_connections: AtomicU64,
    window: [Second; SECONDS],
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            total_connections: AtomicU64::new(0),
            window: std::array::from_fn(|_| Second::default()),
        }
    }
}

/// Totals of the last 60 seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rates {
    /// Chat messages.
    pub messages: u64,
    /// Payload bytes in both directions.
    pub bytes: u64,
}

impl Stats {
    /// Counts a connection.
    pub fn connected(&self) {
        self.total_connections.fetch_add(1, Ordering::Relaxed);
    }

    /// Connections since start.
    pub fn total_connections(&self) -> u64 {
        self.total_connections.load(Ordering::Relaxed)
    }

    /// Counts chat messages and payload bytes at a time in milliseconds since the epoch.
    pub fn record(&self, now: u64, messages: u64, bytes: u64) {
        let second = now / 1_000;
        let index = usize::try_from(second).unwrap_or(0) % SECONDS;
        let Some(slot) = self.window.get(index) else { return };
        if slot.stamp.swap(second, Ordering::AcqRel) != second {
            slot.messages.store(0, Ordering::Relaxed);
            slot.bytes.store(0, Ordering::Relaxed);
        }
        if messages > 0 {
            slot.messages.fetch_add(messages, Ordering::Relaxed);
        }
        slot.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Totals of the 60 seconds before `now`.
    pub fn rates(&self, now: u64) -> Rates {
        let second = now / 1_000;
        let recent = |slot: &&Second| {
            let stamp = slot.stamp.load(Ordering::Acquire);
            stamp <= second && second - stamp < SECONDS as u64
        };
        self.window
            .iter()
            .filter(recent)
            .fold(Rates::default(), |sum, slot| Rates {
                messages: sum.messages + slot.messages.load(Ordering::Relaxed),
                bytes: sum.bytes + slot.bytes.load(Ordering::Relaxed),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_cover_the_last_minute_only() {
        let stats = Stats::default();
        stats.record(1_000_000, 1, 10);
        stats.record(1_030_000, 2, 20);
        assert_eq!(stats.rates(1_030_500), Rates { messages: 3, bytes: 30 });
        assert_eq!(stats.rates(1_065_000), Rates { messages: 2, bytes: 20 });
        stats.record(1_060_000, 1, 1);
        assert_eq!(stats.rates(1_060_000), Rates { messages: 3, bytes: 21 });
    }
}
