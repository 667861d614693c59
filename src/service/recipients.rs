//! What senders wait for: the clients that they have sent to, when those are slow to read.

use std::sync::Arc;

use super::Service;
use crate::{
    hub::{Room, Socket},
    selection::Filter,
};

/// Whom something was sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Targets {
    /// Those of everyone whom the filter means.
    Everyone(Filter),
    /// Those members of a room whom the filter means.
    Room(String, Filter),
    /// Every socket of these users.
    Users(Vec<String>),
    /// One socket.
    Socket(String),
}

impl Service {
    /// Resolves when what was sent is with the connections of its targets, and less than half of `maxQueuedBytes`
    /// waits for each of them; `stallMs` after the former at the latest.
    pub async fn eased(&self, targets: &Targets) {
        self.fanout.flushed().await;
        let congestion = self.fanout.congestion();
        if congestion.is_any_slow() {
            let links = self
                .targets(targets)
                .iter()
                .map(|socket| socket.link().clone())
                .collect();
            let _ = tokio::time::timeout(self.config.limits.stall, congestion.eased(links)).await;
        }
    }

    fn targets(&self, targets: &Targets) -> Vec<Arc<Socket>> {
        match targets {
            Targets::Everyone(filter) => self.recipients(self.hub.everyone(), filter),
            Targets::Room(room_id, filter) => {
                let room = self.hub.room(room_id);
                room.map_or_else(Vec::new, |room| self.recipients(&room, filter))
            }
            Targets::Users(user_ids) => user_ids.iter().flat_map(|id| self.hub.sockets_of(id)).collect(),
            Targets::Socket(socket_id) => self.hub.socket(socket_id).into_iter().collect(),
        }
    }

    /// Those members of a room on this instance whom the filter means.
    fn recipients(&self, room: &Room, filter: &Filter) -> Vec<Arc<Socket>> {
        let except = self.excluded(&filter.except);
        let allowed = (!filter.is_plain()).then(|| self.allowed(filter));
        let mut recipients = room.state().members.local_in_order();
        recipients.retain(|socket| {
            let is_allowed = allowed.as_ref().is_none_or(|allowed| allowed.contains(&socket.key()));
            is_allowed && !except.contains(socket.key())
        });
        recipients
    }
}
