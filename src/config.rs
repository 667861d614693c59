//! The options of a service: shapes, units and defaults (contract, section 2).
//!
//! Options arrive already checked: the JavaScript edge (`lib/options/config.js`) validates them once and names the field
//! in its error. This module never reads the environment.

mod limits;
mod time;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::time::millis;

pub use limits::{Limit, LimitsConfig, MOST_DEPTH, TrustProxy};

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
    /// Largest message in bytes: the text of an event, each attachment, on polling a request. Default 1,000,000.
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
    /// Whether `sendMessage` delivers what it stores. Default true. What clients send is delivered in any case.
    pub deliver_messages: bool,
    /// Client events that are passed on to the other members of `data.roomId`, each as `JSON.stringify` writes it
    /// between the quotes.
    pub relay_events: Vec<String>,
    /// What the application decides about clients.
    pub authorize: AuthorizeConfig,
    /// Whether clients may send chat messages of the type `system`. Default false.
    pub allow_system_messages: bool,
    /// Presence announcements.
    pub presence: PresenceConfig,
    /// What the members of a room are told of those who come and go, where the room does not say. Default each.
    pub membership_events: MembershipEvents,
    /// Bounds on what clients may use.
    pub limits: LimitsConfig,
    /// Whether clients that lose their connection may come back for what they missed. Default not.
    pub connection_state_recovery: Option<RecoveryConfig>,
    /// Native threads. Default: the number of cores.
    pub worker_threads: usize,
    /// The cluster; without it the service is alone.
    pub redis: Option<RedisConfig>,
}

/// The Redis that connects the instances of a cluster.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct RedisConfig {
    /// Prefix of every channel and key, the same as of `@socket.io/redis-adapter`. Default `socket.io`.
    pub key_prefix: String,
    /// Where the servers, the nodes of a Redis Cluster, or the sentinels are. Default `localhost:6379`.
    pub servers: Vec<RedisAddress>,
    /// What listens there.
    pub mode: RedisMode,
    /// ACL user; the default user without it.
    pub username: Option<String>,
    /// Password of the user.
    pub password: Option<Secret>,
    /// ACL user of the sentinels.
    pub sentinel_username: Option<String>,
    /// Password of the sentinels.
    pub sentinel_password: Option<Secret>,
    /// Number of the database, which holds the keys; channels have none. Default 0.
    pub db: u8,
    /// TLS, if it is to be used.
    pub tls: Option<RedisTlsConfig>,
    /// Time between two beats of an instance. Milliseconds at the JavaScript edge, default 2,000. An instance that is
    /// silent for three beats is gone.
    #[serde(deserialize_with = "millis")]
    pub heartbeat_interval: Duration,
    /// How long Redis may take to accept a connection, or to answer. Default 5,000 ms.
    #[serde(deserialize_with = "millis")]
    pub response_timeout: Duration,
    /// Publications that may wait while Redis is away; beyond it the oldest are dropped. Default 100,000.
    pub max_queued_messages: usize,
    /// Bytes that may wait while Redis is away; beyond it the oldest are dropped. Default 64 MiB.
    pub max_queued_bytes: usize,
    /// How long a question to the other servers may stay unanswered. Default 5,000 ms, as with
    /// `@socket.io/redis-adapter`.
    #[serde(deserialize_with = "millis")]
    pub requests_timeout: Duration,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            key_prefix: "socket.io".to_owned(),
            servers: vec![RedisAddress {
                host: "localhost".to_owned(),
                port: 6379,
            }],
            mode: RedisMode::Single,
            username: None,
            password: None,
            sentinel_username: None,
            sentinel_password: None,
            db: 0,
            tls: None,
            heartbeat_interval: Duration::from_secs(2),
            response_timeout: Duration::from_secs(5),
            max_queued_messages: 100_000,
            max_queued_bytes: 64 << 20,
            requests_timeout: Duration::from_secs(5),
        }
    }
}

/// A host name or address, and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisAddress {
    /// Host name or IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// What listens at the addresses of Redis.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RedisMode {
    /// One server.
    Single,
    /// Nodes of a Redis Cluster; some of them suffice.
    Cluster,
    /// Sentinels, which know the master of this name.
    Sentinel(String),
}

/// TLS towards Redis. PEM texts.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct RedisTlsConfig {
    /// Certificates to trust instead of the system's.
    pub ca: Option<String>,
    /// Certificate chain of this client.
    pub cert: Option<String>,
    /// Private key of this client.
    pub key: Option<Secret>,
    /// Name that the server's certificate must have, instead of the host's.
    pub servername: Option<String>,
    /// Accept any certificate. Default false.
    pub insecure: bool,
}

/// A text that never shows in logs.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("[secret]")
    }
}

/// Retention of chat messages per room; `None` is unlimited.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct HistoryConfig {
    /// Newest messages kept in each room.
    pub max_messages_per_room: Option<usize>,
    /// Age at which a message is dropped, in milliseconds.
    pub max_age_ms: Option<u64>,
    /// Keep messages in Redis as well, so that they survive the restart of all instances. Default false.
    pub persist: bool,
}

/// What the application decides about clients, before anything is done. Default nothing.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct AuthorizeConfig {
    /// Whether one may join a room.
    pub join: bool,
    /// Whether one may send a chat message.
    pub message: bool,
    /// Whether one may tell that it types.
    pub typing: bool,
    /// Whether one may send an event that is relayed.
    pub relay: bool,
    /// Whether one may read the messages of a room.
    pub history: bool,
}

impl AuthorizeConfig {
    /// Whether anything is decided.
    pub fn is_any(&self) -> bool {
        self.join || self.message || self.typing || self.relay || self.history
    }
}

/// Clients that lose their connection and come back.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct RecoveryConfig {
    /// How long one may be away. Milliseconds at the JavaScript edge, default 120,000.
    #[serde(deserialize_with = "millis")]
    pub max_disconnection_duration: Duration,
    /// Whether middleware is not asked again. Default true.
    pub skip_middlewares: bool,
    /// Bytes of packets that are kept for all of them together, and of those who are away. Default 64 MiB.
    pub max_buffered_bytes: usize,
}

impl Default for RecoveryConfig {
    fn default() -> Self {
        Self {
            max_disconnection_duration: Duration::from_millis(120_000),
            skip_middlewares: true,
            max_buffered_bytes: 64 << 20,
        }
    }
}

/// Presence announcements.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct PresenceConfig {
    /// Announce `user:status` to everyone when a user comes or goes. Default false.
    pub broadcast: bool,
}

/// What the members of a room are told of those who come and go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MembershipEvents {
    /// `user:joined` and `user:left`, of each.
    #[default]
    Each,
    /// `users:changed` once a second, in rooms that are not small.
    Gathered,
    /// Nothing.
    None,
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
            deliver_messages: true,
            relay_events: vec!["document:edit".to_owned()],
            authorize: AuthorizeConfig::default(),
            allow_system_messages: false,
            presence: PresenceConfig::default(),
            membership_events: MembershipEvents::default(),
            limits: LimitsConfig::default(),
            connection_state_recovery: None,
            worker_threads: std::thread::available_parallelism().map_or(1, usize::from),
            redis: None,
        }
    }
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
