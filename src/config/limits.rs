//! Bounds on what clients may use: their defaults, and the names under which what went beyond one is counted.

use std::{net::IpAddr, num::NonZeroU32, time::Duration};

use ipnet::IpNet;
use serde::{Deserialize, Deserializer};

use super::time::millis;

/// Levels that the recursive parsers of Node.js servers and of JavaScript clients stand, whatever is on their stack.
pub const MOST_DEPTH: usize = 1_000;

/// Bounds on what clients may use. Rates and numbers without a value are unlimited.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Sessions at a time.
    pub max_connections: Option<usize>,
    /// Sessions at a time from one address.
    pub connections_per_address: Option<usize>,
    /// Handshakes a second; as many may come at once.
    pub handshakes_per_second: Option<NonZeroU32>,
    /// Handshakes a second from one address; as many may come at once.
    pub handshakes_per_second_per_address: Option<NonZeroU32>,
    /// Whose `X-Forwarded-For` says where a client is. Default nobody's.
    pub trust_proxy: TrustProxy,
    /// Events a second of one socket.
    pub events_per_second: Option<NonZeroU32>,
    /// Events that a socket may send at once. Default: those of a second.
    pub events_burst: Option<NonZeroU32>,
    /// Events a second of all sockets of one user on this instance.
    pub events_per_second_per_user: Option<NonZeroU32>,
    /// Events that they may send at once. Default: those of a second.
    pub events_burst_per_user: Option<NonZeroU32>,
    /// Rooms that a socket may be in when its client asks to join another. Default 1,000.
    pub rooms_per_socket: usize,
    /// Bytes that may wait for one client; with more, one that does not read is closed, and with four times as much,
    /// any. Default 16 MiB.
    pub max_queued_bytes: usize,
    /// How long a client over that may read nothing before it is closed, and how long an awaited send waits for slow
    /// clients at the most. Milliseconds at the JavaScript edge, default 5,000.
    #[serde(rename = "stallMs", deserialize_with = "millis")]
    pub stall: Duration,
    /// Bytes of packets that a client may send before its CONNECT is answered. Default 1,000,000.
    pub max_early_bytes: usize,
    /// Bytes of all clients together, queued for them or sent by them and not dealt with; above it the heaviest are closed.
    /// The JavaScript edge gives half of the memory; unlimited without it.
    pub max_total_bytes: Option<usize>,
    /// How long a message, or a packet with its attachments, may take from its first byte to its last. Milliseconds at the
    /// JavaScript edge, default 300,000.
    #[serde(rename = "messageTimeoutMs", deserialize_with = "millis")]
    pub message_timeout: Duration,
    /// How long the head of a request may take, at a door of our own. Milliseconds at the JavaScript edge, default 60,000.
    #[serde(rename = "headersTimeoutMs", deserialize_with = "millis")]
    pub headers_timeout: Duration,
    /// How long the body of a request may take, at a door of our own. Milliseconds at the JavaScript edge, default 300,000.
    #[serde(rename = "bodyTimeoutMs", deserialize_with = "millis")]
    pub body_timeout: Duration,
    /// Bytes of the head of a request, at a door of our own. Default 32 KiB.
    pub max_header_bytes: usize,
    /// How long before `socket.expiresAt` the client is told of it. Milliseconds at the JavaScript edge, default 60,000.
    #[serde(rename = "expiryNoticeMs", deserialize_with = "millis")]
    pub expiry_notice: Duration,
    /// Acknowledgements that are awaited from one client; beyond it the oldest ones expire. Default 10,000.
    pub pending_acks: usize,
    /// Arrays and objects within each other in one argument of a packet. Default and most: [`MOST_DEPTH`].
    pub max_depth: usize,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            max_connections: None,
            connections_per_address: None,
            handshakes_per_second: None,
            handshakes_per_second_per_address: None,
            trust_proxy: TrustProxy::default(),
            events_per_second: None,
            events_burst: None,
            events_per_second_per_user: None,
            events_burst_per_user: None,
            rooms_per_socket: 1_000,
            max_queued_bytes: 16 << 20,
            stall: Duration::from_secs(5),
            max_early_bytes: 1_000_000,
            max_total_bytes: None,
            message_timeout: Duration::from_secs(300),
            headers_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(300),
            max_header_bytes: 32 << 10,
            expiry_notice: Duration::from_secs(60),
            pending_acks: 10_000,
            max_depth: MOST_DEPTH,
        }
    }
}

/// Whose `X-Forwarded-For` is believed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TrustProxy {
    /// So many proxies in front of the server.
    Hops(usize),
    /// Proxies in these networks.
    #[serde(deserialize_with = "networks")]
    Networks(Vec<IpNet>),
}

impl Default for TrustProxy {
    fn default() -> Self {
        Self::Hops(0)
    }
}

impl TrustProxy {
    /// Whether `address`, the one that is so many hops away, says truly who is behind it.
    pub fn trusts(&self, address: IpAddr, hops: usize) -> bool {
        match self {
            Self::Hops(trusted) => hops < *trusted,
            Self::Networks(networks) => networks.iter().any(|network| network.contains(&address)),
        }
    }

    /// Whether nobody is believed.
    pub fn is_off(&self) -> bool {
        match self {
            Self::Hops(trusted) => *trusted == 0,
            Self::Networks(networks) => networks.is_empty(),
        }
    }
}

/// Networks, or single addresses.
fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let read = |text: &String| text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    texts
        .iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map_err(serde::de::Error::custom)
}

/// A bound that a client went beyond, as it is counted and told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(usize)]
#[allow(missing_docs)] // the options that they are named after are described
pub enum Limit {
    MaxConnections,
    ConnectionsPerAddress,
    HandshakesPerSecond,
    HandshakesPerSecondPerAddress,
    EventsPerSecond,
    EventsPerSecondPerUser,
    RoomsPerSocket,
    MaxQueuedBytes,
    MaxEarlyBytes,
    MaxTotalBytes,
    MessageTimeoutMs,
    BodyTimeoutMs,
    MaxDepth,
    MaxHttpBufferSize,
    ConnectTimeout,
}

impl Limit {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 15] = [
        Self::MaxConnections,
        Self::ConnectionsPerAddress,
        Self::HandshakesPerSecond,
        Self::HandshakesPerSecondPerAddress,
        Self::EventsPerSecond,
        Self::EventsPerSecondPerUser,
        Self::RoomsPerSocket,
        Self::MaxQueuedBytes,
        Self::MaxEarlyBytes,
        Self::MaxTotalBytes,
        Self::MessageTimeoutMs,
        Self::BodyTimeoutMs,
        Self::MaxDepth,
        Self::MaxHttpBufferSize,
        Self::ConnectTimeout,
    ];

    /// The name of its option.
    pub fn name(self) -> &'static str {
        match self {
            Self::MaxConnections => "maxConnections",
            Self::ConnectionsPerAddress => "connectionsPerAddress",
            Self::HandshakesPerSecond => "handshakesPerSecond",
            Self::HandshakesPerSecondPerAddress => "handshakesPerSecondPerAddress",
            Self::EventsPerSecond => "eventsPerSecond",
            Self::EventsPerSecondPerUser => "eventsPerSecondPerUser",
            Self::RoomsPerSocket => "roomsPerSocket",
            Self::MaxQueuedBytes => "maxQueuedBytes",
            Self::MaxEarlyBytes => "maxEarlyBytes",
            Self::MaxTotalBytes => "maxTotalBytes",
            Self::MessageTimeoutMs => "messageTimeoutMs",
            Self::BodyTimeoutMs => "bodyTimeoutMs",
            Self::MaxDepth => "maxDepth",
            Self::MaxHttpBufferSize => "maxHttpBufferSize",
            Self::ConnectTimeout => "connectTimeout",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_believed_by_their_number_or_their_network() {
        let read = |json: &str| serde_json::from_str::<TrustProxy>(json).unwrap();
        let (near, far): (IpAddr, IpAddr) = ("10.1.2.3".parse().unwrap(), "192.0.2.1".parse().unwrap());
        let hops = read(r#"{"hops":2}"#);
        assert!(hops.trusts(far, 1) && !hops.trusts(near, 2));
        let networks = read(r#"{"networks":["10.0.0.0/8","::1"]}"#);
        assert!(networks.trusts(near, 9) && !networks.trusts(far, 0) && networks.trusts("::1".parse().unwrap(), 0));
        assert!(serde_json::from_str::<TrustProxy>(r#"{"networks":["10.0.0.0/33"]}"#).is_err());
        assert!(TrustProxy::default().is_off() && !hops.is_off());
    }

    #[test]
    fn each_limit_stands_at_its_number() {
        for (number, limit) in Limit::ALL.into_iter().enumerate() {
            assert_eq!(limit as usize, number, "{}", limit.name());
        }
    }
}
