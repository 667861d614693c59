//! Instants, as JavaScript writes them.

use std::fmt::Write as _;

use chrono::{DateTime, Datelike as _, Timelike as _};

/// Largest distance from the epoch of a `Date`, in milliseconds (ECMAScript, "Time Values and Time Range").
const MAX_TIME: f64 = 8.64e15;
/// The Gregorian calendar repeats after this many years.
const CYCLE_YEARS: i64 = 400;
const CYCLE_MS: i64 = 146_097 * 86_400_000;

/// `new Date(ms).toISOString()`; `None` for an invalid `Date`, which `JSON.stringify` writes as `null`.
pub(super) fn iso(ms: f64) -> Option<String> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(iso(ms).as_deref(), Some(expected), "{ms}");
        }
    }

    #[test]
    fn what_is_no_date_in_javascript_is_none_here() {
        for ms in [8.64e15 + 2.0, -8.64e15 - 2.0, f64::NAN, f64::INFINITY] {
            assert_eq!(iso(ms), None, "{ms}");
        }
    }
}
