//! The end of what lets a client in: a token, a session. Its socket is told before, and closed when it comes.
//!
//! Times are those of the service's clock, which follows the system's: a token ends at a time of day.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use super::Service;
use crate::{
    disconnect::DisconnectReason,
    hub::Socket,
    link::Ending,
    ports::{EventKind, ServiceEvent},
    wire::packet::Packet,
};

/// How often the clock is looked at: it may be moved.
const STEP: Duration = Duration::from_millis(250);

impl Service {
    /// Closes a socket at this time, in milliseconds since the epoch, and no more at the time that was said before. `None`
    /// for never.
    pub fn expire_at(&self, socket: &Arc<Socket>, at: Option<u64>) {
        let before = socket.set_expiry(at);
        if let Some(at) = at.filter(|at| before != Some(*at)) {
            let notice = self.config.limits.expiry_notice;
            let notice = u64::try_from(notice.as_millis()).unwrap_or(u64::MAX);
            self.expiries.insert(at.saturating_sub(notice), socket);
        }
    }

    /// Tells, or closes, those sockets that are due.
    fn expire(&self) {
        let now = self.clock.now();
        for (due, socket) in self.expiries.take(now) {
            match socket.expires_at() {
                Some(at) if at <= now => {
                    self.disconnect(&socket, DisconnectReason::TokenExpired, Ending::Kick);
                }
                // What was said before, and is not so any more.
                Some(at) if at < due => {}
                Some(at) => {
                    self.tell_of_expiry(&socket, at);
                    self.expiries.insert(at, &socket);
                }
                None => {}
            }
        }
    }

    fn tell_of_expiry(&self, socket: &Arc<Socket>, at: u64) {
        socket.with_rooms(|_| {
            self.tell(EventKind::TokenExpiring, || {
                ServiceEvent::TokenExpiring(socket.clone(), at)
            });
            let packet = Packet::event("token:expiring", &format!("{{\"expiresAt\":{at}}}"));
            self.send_to(socket, packet, false);
        });
    }
}

/// Looks after the sockets that end at a time, for as long as the service lives.
pub async fn watch(service: Weak<Service>) {
    loop {
        tokio::time::sleep(STEP).await;
        let Some(service) = service.upgrade() else { return };
        service.expire();
    }
}
