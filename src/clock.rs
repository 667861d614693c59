//! Wall-clock time in the two forms that the API uses, and as JavaScript has it.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use chrono::{DateTime, Datelike as _, Timelike as _, Utc};

/// Largest distance from the epoch of a `Date`, in milliseconds (ECMAScript, "Time Values and Time Range").
const MAX_TIME: f64 = 8.64e15;
/// The Gregorian calendar repeats after this many years.
const CYCLE_YEARS: i64 = 400;
const CYCLE_MS: i64 = 146_097 * 86_400_000;

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

/// ISO 8601 with milliseconds, as `Date.prototype.toISOString()`; the epoch for what is no `Date`.
pub fn iso(ms: u64) -> String {
    iso_of(ms as f64).unwrap_or_else(|| "1970-01-01T00:00:00.000Z".to_owned())
}

/// `new Date(ms).toISOString()`; `None` for an invalid `Date`, which `JSON.stringify` writes as `null`.
pub fn iso_of(ms: f64) -> Option<String> {
    if !(-MAX_TIME..=MAX_TIME).contains(&ms) {
        return None;
    }
    let ms = ms.trunc() as i64;
    // Shifted into years that chrono knows, for JavaScript's calendar reaches further.
    let date = DateTime::from_timestamp_millis(ms.rem_euclid(CYCLE_MS))?;
    let year = i64::from(date.year()) + ms.div_euclid(CYCLE_MS) * CYCLE_YEARS;
    let mut text = String::with_capacity(27);
    let written = if (0..=9999).contains(&year) {
        write!(text, "{year:04}")
    } else {
        write!(text, "{year:+07}")
    };
    written.ok()?;
    let (month, day) = (date.month(), date.day());
    let (hour, minute, second, ms) = (date.hour(), date.minute(), date.second(), ms.rem_euclid(1000));
    write!(text, "-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z").ok()?;
    Some(text)
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
    #[test]
    fn instants_are_written_as_to_iso_string_writes_them() {
        for (ms, expected) in [
            (0.0, "1970-01-01T00:00:00.000Z"),
            (1_766_102_400_007.0, "2025-12-19T00:00:00.007Z"),
            (-1.0, "1969-12-31T23:59:59.999Z"),
            (-499.9, "1969-12-31T23:59:59.501Z"),
            (951_782_400_000.0, "2000-02-29T00:00:00.000Z"),
            (253_402_300_800_000.0, "+010000-01-01T00:00:00.000Z"),
            (-62_167_219_200_001.0, "-000001-12-31T23:59:59.999Z"),
            (8.64e15, "+275760-09-13T00:00:00.000Z"),
            (-8.64e15, "-271821-04-20T00:00:00.000Z"),
        ] {
            assert_eq!(iso_of(ms).as_deref(), Some(expected), "{ms}");
        }
    }

    #[test]
    fn what_is_no_date_in_javascript_is_none_here() {
        for ms in [8.64e15 + 2.0, -8.64e15 - 2.0, f64::NAN, f64::INFINITY] {
            assert_eq!(iso_of(ms), None, "{ms}");
        }
    }
}
