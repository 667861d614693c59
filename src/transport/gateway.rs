//! The network side of one service: HTTP requests from Node.js, with Engine.IO's checks in front of socketioxide.

use std::{future::Future, sync::Arc};

use bytes::Bytes;
use tokio::task::AbortHandle;

use super::{
    engine::Engine,
    handlers::Accept,
    head::Head,
    heartbeat,
    reply::{Reply, TEXT},
    session::Session,
    sessions::Sessions,
};
use crate::{disconnect::DisconnectReason, hub::Query, service::Service};

/// The network side of one service.
pub struct Transport {
    pub(super) sessions: Arc<Sessions<Session>>,
    heartbeats: [AbortHandle; 2],
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Transport")
            .field("service", &self.sessions.service)
            .finish_non_exhaustive()
    }
}

/// What a request is for, once it has passed the checks.
#[derive(Debug)]
pub(super) enum Target {
    Handshake { eio3: bool },
    Session(Arc<Session>),
}

impl Transport {
    /// Builds the network side of a service.
    pub fn new(service: Arc<Service>, runtime: tokio::runtime::Handle) -> Arc<Self> {
        let (ping_interval, ping_timeout) = (service.config.ping_interval, service.config.ping_timeout);
        let engine = Engine::new(&service.config, Accept);
        let sessions = Arc::new(Sessions::new(service, engine, runtime));
        let runtime = &sessions.common.runtime;
        let watching = heartbeat::watch(Arc::downgrade(&sessions), ping_interval, ping_timeout);
        let beating = heartbeat::beat(Arc::downgrade(&sessions));
        Arc::new(Self {
            heartbeats: [runtime.spawn(watching), runtime.spawn(beating)].map(|task| task.abort_handle()),
            sessions,
        })
    }

    /// Resolves when no session is left.
    pub async fn quiet(&self) {
        self.sessions.common.roll.none().await;
    }

    /// Closes the sessions without a socket, or all that still live, without ceremony.
    pub fn kill(&self, all: bool) {
        let sessions = self.sessions.all().into_iter();
        for session in sessions.filter(|session| !session.phase().is_over() && (all || !session.phase().is_ending())) {
            session.connection().close(DisconnectReason::ServerClosing);
        }
    }

    /// Engine.IO's checks of a request. True for a handshake, false for a request of a session.
    pub fn check(&self, method: &str, url: &str, upgrade: bool) -> Result<bool, Reply> {
        self.target(method, url, upgrade)
            .map(|target| matches!(target, Target::Handshake { .. }))
            .map_err(Reply::error)
    }

    pub(super) fn target(&self, method: &str, url: &str, upgrade: bool) -> Result<Target, u8> {
        let (config, query) = (&self.sessions.service.config, Query::of(url));
        let websocket = match query.text("transport").as_deref() {
            Some("polling") if config.polling => false,
            Some("websocket") if config.websocket => true,
            _ => return Err(0),
        };
        if query.gives("sid") {
            let session = query.text("sid").and_then(|sid| self.sessions.find(&sid));
            let session = session.filter(|session| !session.phase().is_over()).ok_or(1)?;
            if !upgrade && websocket != session.phase().is_on_websocket() {
                return Err(3);
            }
            return Ok(Target::Session(session));
        }
        if method != "GET" {
            return Err(2);
        }
        if websocket != upgrade {
            return Err(3);
        }
        let eio3 = query.text("EIO").as_deref() != Some("4");
        if eio3 && !config.allow_eio3 {
            return Err(5);
        }
        Ok(Target::Handshake { eio3 })
    }

    /// Answers a long-polling request; `head` is needed when [`Self::check`] says that it is a handshake. Dropping the
    /// future, when the client goes away, lets go of the session.
    pub async fn respond(
        self: Arc<Self>,
        method: &str,
        url: &str,
        head: Option<Head>,
        content_type: Option<String>,
        body: Bytes,
    ) -> Reply {
        match self.target(method, url, false) {
            Err(code) => Reply::error(code),
            Ok(Target::Handshake { .. }) if self.sessions.service.is_closed() => {
                Reply::new(503, TEXT, "Server is shutting down")
            }
            Ok(Target::Handshake { eio3 }) => match head {
                // Boxed, as posts: a poll would keep room for either.
                Some(head) => Box::pin(Session::open(&self.sessions, head, eio3)).await,
                None => Reply::error(3),
            },
            Ok(Target::Session(session)) => match method {
                "GET" => session.poll().await,
                "POST" => Box::pin(session.take_post(content_type, body)).await,
                _ => Reply::new(500, TEXT, ""),
            },
        }
    }

    /// Answers a poll of a session. Dropping the future, when the client goes away, lets go of the session.
    pub fn poll(self: Arc<Self>, url: &str) -> Result<impl Future<Output = Reply> + Send + 'static, Reply> {
        match self.target("GET", url, false) {
            Ok(Target::Session(session)) => Ok(session.poll()),
            Ok(Target::Handshake { .. }) => Err(Reply::error(3)),
            Err(code) => Err(Reply::error(code)),
        }
    }

    /// Ends the session of a request whose body is larger than allowed and was not read.
    pub fn refuse_oversized(&self, method: &str, url: &str) {
        if let Ok(Target::Session(session)) = self.target(method, url, false) {
            session.connection().close(DisconnectReason::TransportError);
        }
    }

    /// The client of a session's request went away before the request was over; while it moves to WebSocket it may.
    pub fn abandon(&self, method: &str, url: &str) {
        if let Ok(Target::Session(session)) = self.target(method, url, false)
            && !session.phase().is_upgrading()
        {
            session.connection().close(DisconnectReason::TransportError);
        }
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        self.heartbeats.iter().for_each(AbortHandle::abort);
    }
}
