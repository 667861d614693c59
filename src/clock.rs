//! Wall-clock time in the two forms that the API uses, and as JavaScript has it.

use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use chrono::{DateTime, SecondsFormat, Utc};

/// Milliseconds since the epoch, as `Date.now()`.
pub fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}

/// The clock of a service: the system's, unless JavaScript's shows another time, because tests moved it. Then it goes on
/// from what JavaScript's showed at its last call.
#[derive(Debug, Default)]
pub struct Clock {
    /// What to add to the system's milliseconds.
    offset: AtomicI64,
    /// What JavaScript's clock showed at its last call; 0 before the first.
    called: AtomicU64,
}

/// Milliseconds by which JavaScript's clock may differ from the system's without having been moved: it is looked at
/// earlier, and is cut to milliseconds.
const SAME: u64 = 1_000;

impl Clock {
    /// Milliseconds since the epoch.
    pub fn now(&self) -> u64 {
        now_ms().saturating_add_signed(self.offset.load(Ordering::Relaxed))
    }

    /// What JavaScript's clock shows.
    pub fn set(&self, now: u64) {
        let system = now_ms();
        let offset = match now.abs_diff(system) {
            0..SAME => 0,
            _ => now.cast_signed().saturating_sub(system.cast_signed()),
        };
        self.offset.store(offset, Ordering::Relaxed);
        self.called.store(now, Ordering::Relaxed);
    }

    /// What JavaScript's clock showed at its last call, for what that call does.
    pub fn called(&self) -> u64 {
        match self.called.load(Ordering::Relaxed) {
            0 => self.now(),
            called => called,
        }
    }
}

/// ISO 8601 with milliseconds, as `Date.prototype.toISOString()`.
pub fn iso(ms: u64) -> String {
    i64::try_from(ms)
        .ok()
        .and_then(DateTime::<Utc>::from_timestamp_millis)
        .unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// As `String(new Date(ms))` in UTC.
pub fn date_text(ms: u64) -> String {
    i64::try_from(ms)
        .ok()
        .and_then(DateTime::<Utc>::from_timestamp_millis)
        .unwrap_or_default()
        .format("%a %b %d %Y %H:%M:%S GMT+0000 (Coordinated Universal Time)")
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_follows_javascripts_where_that_was_moved() {
        const HOUR: u64 = 3_600_000;
        let clock = Clock::default();
        assert!(clock.called().abs_diff(now_ms()) < SAME);
        for there in [now_ms() + HOUR, now_ms() - HOUR, 5] {
            clock.set(there);
            assert_eq!(clock.called(), there);
            assert!((there..there + HOUR / 2).contains(&clock.now()));
        }
        let before = now_ms();
        clock.set(before - 1);
        assert_eq!(clock.called(), before - 1);
        assert!(
            clock.now() >= before,
            "JavaScript's look at the clock was earlier, no more"
        );
    }

    #[test]
    fn dates_are_written_as_javascript_writes_them() {
        let text = "Thu Jan 01 1970 00:00:00 GMT+0000 (Coordinated Universal Time)";
        assert_eq!(date_text(7), text);
    }

    #[test]
    fn times_are_written_as_javascript_writes_them() {
        assert_eq!(iso(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(iso(1_766_102_400_007), "2025-12-19T00:00:00.007Z");
    }
}
