//! How things stand with each connection, and why one is missing. Pure.

use std::sync::Arc;

use super::client::Tombstone;
use super::error::ConnectionError;
use crate::config::RedisAddress;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Publisher,
    Subscriber,
    /// Hashes and streams of a Redis Cluster; elsewhere the publisher does it.
    Keys,
}

/// How things stand with each connection.
#[derive(Default)]
pub(super) struct Standings {
    pub(super) publisher: Standing,
    pub(super) subscriber: Standing,
    keys: Standing,
}

impl Standings {
    pub(super) fn of(&mut self, role: Role) -> &mut Standing {
        match role {
            Role::Publisher => &mut self.publisher,
            Role::Subscriber => &mut self.subscriber,
            Role::Keys => &mut self.keys,
        }
    }
}

/// How it stands with one connection.
#[derive(Default)]
pub(super) struct Standing {
    /// Where it is connected.
    pub(super) address: Option<RedisAddress>,
    tombstone: Option<Arc<Tombstone>>,
    /// Why it is not, or was not at the last attempt.
    pub(super) error: Option<ConnectionError>,
}

impl Standing {
    pub(super) fn connected(address: RedisAddress, tombstone: Arc<Tombstone>) -> Self {
        Self {
            address: Some(address),
            tombstone: Some(tombstone),
            error: None,
        }
    }

    pub(super) fn lost(error: ConnectionError) -> Self {
        Self {
            error: Some(error),
            ..Self::default()
        }
    }

    /// Has the connection made anew, if there is one.
    pub(super) fn replace(&self, reason: &str) {
        if let Some(tombstone) = &self.tombstone {
            tombstone.set(ConnectionError::Unreachable(reason.to_owned()));
        }
    }
}
