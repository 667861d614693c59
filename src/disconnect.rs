//! Why a connection ended: one type from the transport to JavaScript and to the other instances. Text only at the
//! edges; never decides what is to be done about an end.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a connection ended, as `disconnect` tells it. The first eight are Socket.IO's own words (`DisconnectReason` of its
/// server); clients come back by themselves unless they or the server left the namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DisconnectReason {
    /// The connection ended: the client's tab, its process or its network. It comes back if it still can.
    TransportClose,
    /// The connection broke a rule of its transport, read too slowly, or polled twice at a time. The client comes back.
    TransportError,
    /// The client was silent for `pingTimeout`. It comes back when it can.
    PingTimeout,
    /// The client sent what is no packet. It comes back.
    ParseError,
    /// The client sent something for a namespace that it is not in, or events too fast for too long. It comes back.
    ForcedServerClose,
    /// The client called `disconnect()`. It does not come back.
    ClientLeft,
    /// The server disconnected it without a reason of its own. The client does not come back.
    ServerLeft,
    /// The transport is closing and the socket was not registered yet. The client comes back.
    ServerClosing,
    /// `shutdown()` of the service. The client comes back, here or to another instance.
    Shutdown,
    /// `cleanup()`: the client sent no event for long. One that only listens comes back.
    Inactive,
    /// What let the client in has ended: `socket.expiresAt`. The client does not come back by itself.
    TokenExpired,
    /// The instance that the socket was connected to is lost. The client comes back to another one.
    InstanceLost,
    /// The server's own words, `disconnectUser(id, reason)`. The client does not come back.
    Custom(Arc<str>),
}

/// The reasons that have fixed words.
const FIXED: [DisconnectReason; 12] = [
    DisconnectReason::TransportClose,
    DisconnectReason::TransportError,
    DisconnectReason::PingTimeout,
    DisconnectReason::ParseError,
    DisconnectReason::ForcedServerClose,
    DisconnectReason::ClientLeft,
    DisconnectReason::ServerLeft,
    DisconnectReason::ServerClosing,
    DisconnectReason::Shutdown,
    DisconnectReason::Inactive,
    DisconnectReason::TokenExpired,
    DisconnectReason::InstanceLost,
];

impl DisconnectReason {
    /// Whether the client may come back for what it missed, as Socket.IO has it.
    pub fn is_recoverable(&self) -> bool {
        matches!(
            self,
            Self::TransportClose
                | Self::TransportError
                | Self::PingTimeout
                | Self::ForcedServerClose
                | Self::ServerClosing
        )
    }

    /// The words that JavaScript and the other instances get.
    pub fn as_str(&self) -> &str {
        match self {
            Self::TransportClose => "transport close",
            Self::TransportError => "transport error",
            Self::PingTimeout => "ping timeout",
            Self::ParseError => "parse error",
            Self::ForcedServerClose => "forced server close",
            Self::ClientLeft => "client namespace disconnect",
            Self::ServerLeft => "server namespace disconnect",
            Self::ServerClosing => "server shutting down",
            Self::Shutdown => "server_shutdown",
            Self::Inactive => "inactive",
            Self::TokenExpired => "token expired",
            Self::InstanceLost => "instance lost",
            Self::Custom(words) => words,
        }
    }
}

impl fmt::Display for DisconnectReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Whoever says it in fixed words means the same.
impl From<&str> for DisconnectReason {
    fn from(words: &str) -> Self {
        let fixed = FIXED.iter().find(|reason| reason.as_str() == words);
        fixed.cloned().unwrap_or_else(|| Self::Custom(words.into()))
    }
}

impl Serialize for DisconnectReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for DisconnectReason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|words| Self::from(&*words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_reasons_are_the_same_in_both_directions() {
        for reason in FIXED {
            assert_eq!(DisconnectReason::from(reason.as_str()), reason);
            let json = serde_json::to_string(&reason).unwrap();
            assert_eq!(json, format!("\"{reason}\""));
            assert_eq!(serde_json::from_str::<DisconnectReason>(&json).unwrap(), reason);
        }
        let custom = DisconnectReason::from("spam");
        assert_eq!(custom, DisconnectReason::Custom("spam".into()));
        assert_eq!(serde_json::to_string(&custom).unwrap(), "\"spam\"");
    }

    #[test]
    fn socket_ios_own_words_are_among_them() {
        for words in [
            "transport close",
            "transport error",
            "ping timeout",
            "parse error",
            "forced server close",
            "client namespace disconnect",
            "server namespace disconnect",
            "server shutting down",
        ] {
            let reason = DisconnectReason::from(words);
            assert!(!matches!(reason, DisconnectReason::Custom(_)), "{words}");
            assert_eq!(reason.as_str(), words);
        }
    }
}
