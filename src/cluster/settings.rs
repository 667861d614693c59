//! What an instance needs to know of its cluster, whatever carries it.

use std::time::Duration;

/// The options of a cluster. Each is described where it is read: [`RedisConfig`](crate::config::RedisConfig).
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// What the names of all channels begin with.
    pub(crate) key_prefix: String,
    /// Time between two beats.
    pub(crate) heartbeat_interval: Duration,
    /// Publications that may wait while the bus is away, and writes while the store is.
    pub(crate) max_queued_messages: usize,
    /// Bytes of publications that may wait.
    pub(crate) max_queued_bytes: usize,
    /// How long a question to other servers may stay unanswered.
    pub(crate) requests_timeout: Duration,
}
