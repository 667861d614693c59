//! An HTTP response, on its way to Node.js.

use bytes::Bytes;
use serde_json::json;

use crate::config::Limit;

/// Content type of a payload of packets, and of what is said in plain words.
pub(super) const TEXT: &str = "text/plain; charset=UTF-8";

/// Engine.IO's code of what is not allowed.
const FORBIDDEN: u8 = 4;

/// An HTTP response.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// Body.
    pub body: Bytes,
    /// The new session's id, for the cookie of a handshake.
    pub sid: Option<String>,
}

impl Reply {
    pub(super) fn new(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            content_type,
            body: body.into(),
            sid: None,
        }
    }

    /// What an error says, without its code: the answer to an upgrade.
    pub fn message(&self) -> String {
        #[derive(serde::Deserialize)]
        struct Error {
            message: String,
        }
        serde_json::from_slice::<Error>(&self.body).map_or_else(
            |_| String::from_utf8_lossy(&self.body).into_owned(),
            |error| error.message,
        )
    }

    /// A handshake goes beyond a bound: it may come again later.
    pub fn beyond(limit: Limit) -> Self {
        let (status, message) = match limit {
            Limit::ConnectionsPerAddress => (429, "Too many connections from this address"),
            Limit::HandshakesPerSecondPerAddress => (429, "Too many handshakes from this address"),
            Limit::MaxConnections => (503, "Too many connections"),
            _ => (503, "Too many handshakes"),
        };
        let body = json!({ "code": FORBIDDEN, "message": message }).to_string();
        Self::new(status, "application/json", body)
    }

    /// The status with which an upgrade is refused: Engine.IO's own, unless there are too many.
    pub fn refused_upgrade(&self) -> u16 {
        if matches!(self.status, 405 | 429 | 503) {
            self.status
        } else {
            400
        }
    }

    /// One of Engine.IO's errors, by its code.
    pub fn error(code: u8) -> Self {
        let (status, message) = match code {
            0 => (400, "Transport unknown"),
            1 => (400, "Session ID unknown"),
            2 => (400, "Bad handshake method"),
            FORBIDDEN => (403, "Forbidden"),
            5 => (400, "Unsupported protocol version"),
            _ => (400, "Bad request"),
        };
        let body = json!({ "code": code, "message": message }).to_string();
        Self::new(status, "application/json", body)
    }
}
