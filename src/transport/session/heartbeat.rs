//! Signs of life of a client: when it was heard, when it is pinged, and from when on its silence is its end.

use std::{
    future::poll_fn,
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::Duration,
};

use super::{
    Session,
    pulse::{Due, Pulse, SOON},
};
use crate::{
    config::Limit,
    disconnect::DisconnectReason,
    transport::{engine::CONNECT_GRACE, hearing::longest_silence},
    wire::payload::{PING, PONG},
};

impl Session {
    /// For how long the client has not been heard, in looks at which JavaScript was not busy.
    pub(in crate::transport) fn silence(&self) -> u32 {
        let now = self.sessions.common.roll.hearing.now();
        now.wrapping_sub(self.heard.load(Ordering::Relaxed))
    }

    /// The client has been heard.
    pub(in crate::transport) fn heard(&self) {
        self.heard
            .store(self.sessions.common.roll.hearing.now(), Ordering::Relaxed);
    }

    /// The client has answered a heartbeat.
    pub(in crate::transport) fn ponged(&self) {
        let now = self.sessions.common.now();
        let mut inner = self.inner.lock();
        if let Pulse::Pinged(at) | Pulse::Spared(at) = inner.pulse {
            inner.pulse = Pulse::Resting(now);
            self.connection.heartbeat(now.saturating_sub(at));
        }
    }

    /// A client of Engine.IO 3 has pinged over WebSocket.
    pub(in crate::transport) fn pinged(&self) {
        self.inner.lock().pulse = Pulse::Resting(self.sessions.common.now());
        self.connection.write_text(PONG);
    }

    /// The client on WebSocket has sent something else.
    pub(in crate::transport) fn spare(&self) {
        if !self.is_pinged.load(Ordering::Relaxed) {
            return;
        }
        let mut inner = self.inner.lock();
        if let Pulse::Pinged(_) = inner.pulse {
            inner.pulse = Pulse::Spared(self.sessions.common.now());
        }
        self.is_pinged.store(false, Ordering::Relaxed);
    }

    /// The library pings the client that polls. True when that is to be withheld, and answered in its place: its first
    /// heartbeat is immediate, Engine.IO's comes after an interval.
    pub(super) fn is_pinged_early(&self) -> bool {
        let now = self.sessions.common.now();
        let mut inner = self.inner.lock();
        let is_first = inner.pulse == Pulse::New;
        inner.pulse = if is_first {
            Pulse::Resting(now)
        } else {
            Pulse::Pinged(now)
        };
        is_first
    }

    /// Looks at a client on WebSocket: pings it, or ends it. When it is to be looked at again; `None` for never.
    pub(in crate::transport) fn look(&self) -> Option<Duration> {
        let config = &self.sessions.service.config;
        let (interval, timeout) = (config.ping_interval, config.ping_timeout);
        if self.phase().is_closing() || self.phase().is_over() {
            return None;
        }
        if self.is_too_slow_to_send() {
            return None;
        }
        let now = self.sessions.common.now();
        let mut inner = self.inner.lock();
        if inner.pulse == Pulse::New {
            inner.pulse = Pulse::Resting(now);
        }
        // Nobody can tell whether a client is silent that is not read from.
        if self.account().is_paused() || self.was_paused.swap(false, Ordering::AcqRel) {
            inner.pulse = inner.pulse.again(now, self.is_eio3());
        }
        match inner.pulse.due(now, interval, timeout, self.is_eio3()) {
            Due::Later(left) => {
                drop(inner);
                self.connect_in_time(now, left.min(interval).min(config.limits.message_timeout))
            }
            Due::Ping => {
                inner.pulse = Pulse::Pinged(now);
                self.is_pinged.store(true, Ordering::Relaxed);
                drop(inner);
                self.connection.write_text(PING);
                self.connect_in_time(now, interval.min(timeout).min(config.limits.message_timeout))
            }
            Due::End => {
                drop(inner);
                let is_deaf = self.connection.seat().passes_through_node()
                    && self.silence() <= longest_silence(interval, timeout);
                if is_deaf {
                    return Some(timeout / 8);
                }
                self.hang_up(DisconnectReason::PingTimeout, &[]);
                None
            }
        }
    }

    /// Ends a client that has begun a message and does not end it. True when it did.
    pub(in crate::transport) fn is_too_slow_to_send(&self) -> bool {
        let most = self.sessions.service.config.limits.message_timeout;
        // Nobody can end what is not read.
        if self.account().is_paused() || self.unfinished_for().is_none_or(|time| time < most) {
            return false;
        }
        self.exceeded(Limit::MessageTimeoutMs);
        self.connection.close(DisconnectReason::TransportError);
        true
    }

    /// When to look again, unless the client should have connected by now.
    fn connect_in_time(&self, now: Duration, after: Duration) -> Option<Duration> {
        if self.inner.lock().has_connected {
            return Some(after);
        }
        let deadline = self.opened + self.sessions.service.config.connect_timeout + CONNECT_GRACE;
        let left = deadline.saturating_sub(now);
        if left > SOON {
            return Some(after.min(left));
        }
        self.exceeded(Limit::ConnectTimeout);
        self.hang_up(DisconnectReason::TransportClose, &[]);
        None
    }

    /// Has the library take the client for alive that polls: that it is not heard is not its fault.
    pub(in crate::transport) fn answer_heartbeat(self: &Arc<Self>) {
        let session = self.clone();
        // What the client sends as a sign of life: its answer to a ping, in Engine.IO 3 a ping.
        let sign = if self.is_eio3() { PING } else { PONG };
        self.sessions.common.runtime.spawn(async move {
            session.connection.post(sign).await;
        });
    }

    /// Resolves when the polling client may cause more, or is going.
    pub(in crate::transport) async fn has_room(self: &Arc<Self>) {
        let mut is_answered = false;
        poll_fn(|context| {
            let phase = self.phase();
            if self.account().poll_ready(context).is_ready() || phase.is_over() || phase.is_closing() {
                return Poll::Ready(());
            }
            if !std::mem::replace(&mut is_answered, true) {
                self.answer_heartbeat();
            }
            Poll::Pending
        })
        .await;
    }
}
