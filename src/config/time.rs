//! Times as options have them.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

/// Reads a number of milliseconds.
pub(super) fn millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}
