//! What is counted, once: counters, and what they show at one moment. Decides nothing, and tells nobody by itself.
//!
//! A new figure is a counter in [`Metrics`] or a look at what is there, and a line in [`Stats`]; it is counted where it
//! happens. Figures that a mechanism works with lie with it, as a [`Gauge`]:
//!
//! | figure | unit | counted by |
//! |---|---|---|
//! | clients that are slow to read | clients | [`Congestion`](crate::backpressure::Congestion) |
//! | readers that pause | clients | [`Budget`](crate::backpressure::Budget) |
//! | what waits because of clients | bytes | [`Budget`](crate::backpressure::Budget) |

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use crate::config::Limit;

/// What the service counts of itself.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Connections since start.
    pub connections: Counter,
    /// Chat messages and payload bytes.
    pub traffic: Traffic,
    /// How often clients went beyond each bound.
    pub exceeded: Arc<Exceeded>,
}

/// How often clients went beyond each bound.
#[derive(Debug, Default)]
pub struct Exceeded([Counter; Limit::ALL.len()]);

impl Exceeded {
    /// A client went beyond a bound.
    pub fn count(&self, limit: Limit) {
        if let Some(counter) = self.0.get(limit as usize) {
            counter.count();
        }
    }

    /// The bounds that clients went beyond, and how often.
    pub fn counts(&self) -> impl Iterator<Item = (Limit, u64)> + '_ {
        let counts = Limit::ALL.into_iter().zip(self.0.iter().map(Counter::get));
        counts.filter(|(_, count)| *count > 0)
    }
}

/// What has been counted, at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stats {
    /// `totalConnections`: connections since start.
    pub total_connections: u64,
    /// `activeConnections`: live connections.
    pub active_connections: usize,
    /// `totalRooms`: rooms in the registry.
    pub total_rooms: usize,
    /// `messagesPerMinute`: chat messages of the last minute. `bytesPerMinute`: payload bytes of the last minute, in
    /// both directions.
    pub rates: Rates,
    /// `avgLatency`: mean round-trip of a sample of the connections, in milliseconds; 0 with no connection.
    pub avg_latency_ms: f64,
}

/// A number of things that have happened.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How many there have been.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number of things that are so now. Whoever sees a number sees what was done before it was changed.
#[derive(Debug, Default)]
pub struct Gauge(AtomicUsize);

impl Gauge {
    /// One more.
    pub fn rise(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }

    /// One less.
    pub fn fall(&self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }

    /// How many there are.
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}

const SECONDS: usize = 60;

#[derive(Debug, Default)]
struct Second {
    /// Which second since the epoch the counts belong to.
    stamp: AtomicU64,
    messages: AtomicU64,
    bytes: AtomicU64,
}

/// Chat messages and payload bytes of the last 60 seconds. A race at the turn of a second may cost a count or two, never
/// more.
#[derive(Debug)]
pub struct Traffic([Second; SECONDS]);

impl Default for Traffic {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Second::default()))
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

impl Traffic {
    /// Counts chat messages and payload bytes at a time in milliseconds since the epoch.
    pub fn record(&self, now: u64, messages: u64, bytes: u64) {
        let second = now / 1_000;
        let index = usize::try_from(second).unwrap_or(0) % SECONDS;
        let Some(slot) = self.0.get(index) else { return };
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
        self.0.iter().filter(recent).fold(Rates::default(), |sum, slot| Rates {
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
        let traffic = Traffic::default();
        traffic.record(1_000_000, 1, 10);
        traffic.record(1_030_000, 2, 20);
        assert_eq!(traffic.rates(1_030_500), Rates { messages: 3, bytes: 30 });
        assert_eq!(traffic.rates(1_065_000), Rates { messages: 2, bytes: 20 });
        traffic.record(1_060_000, 1, 1);
        assert_eq!(traffic.rates(1_060_000), Rates { messages: 3, bytes: 21 });
    }
}
