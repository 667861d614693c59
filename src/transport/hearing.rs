//! Time in which clients could be heard: what they send by way of Node.js waits while JavaScript is busy.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

/// Looks within `pingTimeout`: how soon is seen that JavaScript is busy.
const LOOKS_PER_TIMEOUT: u32 = 8;
/// The longest and the shortest time between two looks.
const LONGEST_STEP: Duration = Duration::from_secs(1);
const SHORTEST_STEP: Duration = Duration::from_millis(5);
/// Time in which JavaScript was not busy, in looks; goes round at 2^32.
#[derive(Debug, Default)]
pub(super) struct Hearing(AtomicU32);

impl Hearing {
    /// Now.
    pub(super) fn now(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// One more look at which JavaScript was not busy.
    pub(super) fn advance(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// The time between two looks.
pub(super) fn step(ping_timeout: Duration) -> Duration {
    (ping_timeout / LOOKS_PER_TIMEOUT).clamp(SHORTEST_STEP, LONGEST_STEP)
}

/// Looks within which a client that lives is heard.
pub(super) fn longest_silence(ping_interval: Duration, ping_timeout: Duration) -> u32 {
    let longest = (ping_interval + ping_timeout).as_micros();
    u32::try_from(longest.div_ceil(step(ping_timeout).as_micros())).unwrap_or(u32::MAX)
}
