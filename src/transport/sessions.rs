//! The sessions of one service: which there are, how many live, and what all of them use. Never looks into one.

use std::sync::{Arc, Weak};

use dashmap::DashMap;
use tokio::runtime::Handle;

use super::{
    common::{Common, Limits},
    engine::{Engine, SessionId},
    wheel::Wheel,
};
use crate::service::Service;

/// The sessions of one service, and what all of them use.
pub(super) struct Sessions<S> {
    pub(super) service: Arc<Service>,
    pub(super) engine: Arc<Engine>,
    pub(super) common: Arc<Common>,
    /// When each session on WebSocket is to be looked at.
    pub(super) wheel: Wheel<SessionId>,
    by_sid: DashMap<SessionId, Weak<S>>,
}

impl<S> Sessions<S> {
    /// None yet.
    pub(super) fn new(service: Arc<Service>, engine: Arc<Engine>, runtime: Handle) -> Self {
        let config = &service.config;
        let limits = Limits {
            queued_bytes: config.limits.max_queued_bytes,
            exceeded: service.hub.metrics.exceeded.clone(),
            stall: config.limits.stall,
            congestion: service.fanout().congestion().clone(),
            sink: Arc::downgrade(service.sink()),
        };
        let shortest = config
            .ping_interval
            .min(config.ping_timeout)
            .min(config.connect_timeout)
            .min(config.limits.message_timeout);
        Self {
            engine,
            common: Arc::new(Common::new(limits, runtime)),
            wheel: Wheel::new(shortest),
            by_sid: DashMap::new(),
            service,
        }
    }

    /// The secret id of a session is known.
    pub(super) fn name(&self, sid: SessionId, session: &Arc<S>) {
        self.by_sid.insert(sid, Arc::downgrade(session));
    }

    /// A session is gone.
    pub(super) fn remove(&self, sid: SessionId) {
        self.by_sid.remove(&sid);
    }

    /// The session of a secret id, as a client gives it.
    pub(super) fn find(&self, sid: &str) -> Option<Arc<S>> {
        self.get(sid.parse().ok()?)
    }

    /// The session of a secret id.
    pub(super) fn get(&self, sid: SessionId) -> Option<Arc<S>> {
        self.by_sid.get(&sid)?.value().upgrade()
    }

    /// All sessions.
    pub(super) fn all(&self) -> Vec<Arc<S>> {
        self.by_sid.iter().filter_map(|entry| entry.value().upgrade()).collect()
    }
}
