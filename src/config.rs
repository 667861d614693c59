//! The options of a service: shapes, units and defaults (contract, section 2).
//!
//! Options arrive already checked: the JavaScript edge (`lib/config.js`) validates them once and names the field
//! in its error. This module never reads the environment.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

/// Everything the native side needs to know before it starts.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Config {
    /// Path of the Engine.IO endpoint, without a trailing slash. Default `/socket.io`.
    pub path: String,
    /// Time between two heartbeats. Milliseconds at the JavaScript edge, default 25,000.
    #[serde(deserialize_with = "millis")]
    pub ping_interval: Duration,
    /// How long a heartbeat may stay unanswered. Milliseconds at the JavaScript edge, default 60,000.
    #[serde(deserialize_with = "millis")]
    pub ping_timeout: Duration,
    /// Largest message in bytes, on either transport, attachments included. Default 1,000,000.
    pub max_http_buffer_size: usize,
    /// Whether a handshake over long-polling is accepted. Default true.
    pub polling: bool,
    /// Whether a handshake over WebSocket is accepted. Default true.
    pub websocket: bool,
    /// Whether a polling session may move to WebSocket. Default true.
    pub allow_upgrades: bool,
    /// How long an upgrade may take. Milliseconds at the JavaScript edge, default 10,000.
    #[serde(deserialize_with = "millis")]
    pub upgrade_timeout: Duration,
    /// How long a client may take from handshake to CONNECT, middleware included. Default 45,000 ms.
    #[serde(deserialize_with = "millis")]
    pub connect_timeout: Duration,
    /// Whether Engine.IO 3 clients (Socket.IO 2) are served. Default false.
    #[serde(rename = "allowEIO3")]
    pub allow_eio3: bool,
    /// How much of each room's history is kept.
    pub history: HistoryConfig,
    /// Whether a client may send only to rooms it is in. Default true.
    pub require_membership: bool,
    /// Client events that are passed on to the other members of `data.roomId`.
    pub relay_events: Vec<String>,
    /// Presence announcements.
    pub presence: PresenceConfig,
    /// Bounds on what one connection may use.
    pub limits: LimitsConfig,
    /// Native threads. Default: the number of cores.
    pub worker_threads: usize,
}

/// Retention of chat messages per room; `None` is unlimited.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct HistoryConfig {
    /// Newest messages kept in each room.
    pub max_messages_per_room: Option<usize>,
    /// Age at which a message is dropped, in milliseconds.
    pub max_age_ms: Option<u64>,
}

/// Presence announcements.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct PresenceConfig {
    /// Announce `user:status` to everyone when a user comes or goes. Default false.
    pub broadcast: bool,
}

/// Bounds on what one connection may use.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Bytes that may wait for one slow reader before it is closed. Default 16 MiB.
    pub max_queued_bytes: usize,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            max_queued_bytes: 16 << 20,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            path: "/socket.io".to_owned(),
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(60),
            max_http_buffer_size: 1_000_000,
            polling: true,
            websocket: true,
            allow_upgrades: true,
            upgrade_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(45),
            allow_eio3: false,
            history: HistoryConfig::default(),
            require_membership: true,
            relay_events: vec!["document:edit".to_owned()],
            presence: PresenceConfig::default(),
            limits: LimitsConfig::default(),
            worker_threads: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

fn millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_options_take_the_documented_defaults() {
        let config: Config = serde_json::from_str("{}").unwrap();
        assert_eq!(config.path, "/socket.io");
        assert_eq!(config.ping_timeout, Duration::from_millis(60_000));
        assert_eq!(config.limits.max_queued_bytes, 16 * 1024 * 1024);
        assert_eq!(config.history.max_messages_per_room, None);
    }

    #[test]
    fn an_unknown_option_is_refused_by_name() {
        let error = serde_json::from_str::<Config>(r#"{"pingIntervall":1}"#).unwrap_err();
        assert!(error.to_string().contains("pingIntervall"));
    }
}
