//! Who is behind a connection, and how a connection is named. Never knows a connection.

use crate::wire::id;

/// A Socket.IO id: 20 characters from a cryptographic source, unrelated to the transport's session id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SocketId([u8; SocketId::LENGTH]);

impl SocketId {
    const LENGTH: usize = 20;

    /// A new id; `None` when the system has no random bytes.
    pub fn random() -> Option<Self> {
        id::random().map(Self)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("")
    }
}

/// Who is behind a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// `socket.userId`, else the socket id.
    pub user_id: Box<str>,
    /// Display name, if known.
    pub username: Option<Box<str>>,
    /// `"userId":…,"username":…` as JSON, for every packet that names the user.
    pub fragment: Box<str>,
}

impl Identity {
    /// An identity; the JSON fragment is derived.
    pub fn new(user_id: &str, username: Option<&str>) -> Self {
        let mut fragment = format!("\"userId\":{}", serde_json::Value::from(user_id));
        if let Some(name) = username {
            fragment.push_str(",\"username\":");
            fragment.push_str(&serde_json::Value::from(name).to_string());
        }
        Self {
            user_id: user_id.into(),
            username: username.map(Into::into),
            fragment: fragment.into(),
        }
    }
}
