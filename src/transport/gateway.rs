//! The network side of one service: HTTP requests from Node.js, with Engine.IO's checks in front of socketioxide.

use std::{future::Future, num::NonZeroU32, panic::AssertUnwindSafe, sync::Arc};

use bytes::Bytes;
use futures_util::FutureExt as _;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::task::AbortHandle;

use super::{
    engine::Engine,
    entrance::{Caller, Entrance, Place},
    handlers::Accept,
    head::Head,
    heartbeat, pressure,
    reply::{Reply, TEXT},
    session::Session,
    sessions::Sessions,
};
use crate::{
    config::Limit,
    disconnect::DisconnectReason,
    hub::Query,
    lasting,
    ports::{EventKind, ServiceEvent},
    service::Service,
};

/// Refusals a second that JavaScript is told of; all are counted.
const MOST_TOLD: NonZeroU32 = NonZeroU32::new(100).unwrap();

/// The network side of one service.
pub struct Transport {
    pub(super) sessions: Arc<Sessions<Session>>,
    entrance: Entrance,
    told: DefaultDirectRateLimiter,
    /// What looks after all sessions.
    watches: Vec<AbortHandle>,
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
        let entrance = Entrance::new(&service.config.limits);
        let sessions = Arc::new(Sessions::new(service, engine, runtime));
        let runtime = &sessions.common.runtime;
        let all = || Arc::downgrade(&sessions);
        let most = sessions.service.config.limits.max_total_bytes;
        let watches = [
            Some(lasting::watch(runtime, "watching heartbeats", {
                let all = all();
                move || heartbeat::watch(all.clone(), ping_interval, ping_timeout)
            })),
            Some(lasting::watch(runtime, "heartbeats", {
                let all = all();
                move || heartbeat::beat(all.clone())
            })),
            most.map(|most| {
                let all = all();
                lasting::watch(runtime, "weighing clients", move || pressure::watch(all.clone(), most))
            }),
        ];
        Arc::new(Self {
            watches: watches.into_iter().flatten().collect(),
            entrance,
            told: RateLimiter::direct(Quota::per_second(MOST_TOLD)),
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

    /// The answer to a balancer that asks whether new clients may come.
    pub fn health(&self) -> Reply {
        let (is_ready, json) = self.sessions.service.health();
        Reply::new(if is_ready { 200 } else { 503 }, "application/json", json)
    }

    /// Counts a handshake before the application is asked about it. An error when there are too many.
    pub fn knock(&self, caller: &Caller) -> Result<(), Reply> {
        let knocked = self.entrance.knock(caller);
        knocked.map_err(|limit| self.refuse(limit, caller))
    }

    /// Takes a place for a new session.
    pub(super) fn enter(&self, caller: &Caller) -> Result<Option<Box<Place>>, Reply> {
        if self.sessions.service.is_closed() {
            return Err(Reply::new(503, TEXT, "Server is shutting down"));
        }
        let entered = self.entrance.knock(caller).and_then(|()| self.entrance.enter(caller));
        entered.map_err(|limit| self.refuse(limit, caller))
    }

    /// A client went beyond a bound.
    pub(super) fn exceeded(&self, limit: Limit) {
        self.sessions.common.limits.exceeded.count(limit);
    }

    fn refuse(&self, limit: Limit, caller: &Caller) -> Reply {
        let service = &self.sessions.service;
        self.exceeded(limit);
        if service.sink().wants(EventKind::ConnectionError) && self.told.check().is_ok() {
            let address = caller.address.clone();
            service.sink().emit(ServiceEvent::ConnectionError { limit, address });
        }
        Reply::beyond(limit)
    }

    pub(super) fn target(&self, method: &str, url: &str, upgrade: bool) -> Result<Target, u8> {
        let (config, query) = (&self.sessions.service.config, Query::of(url));
        let websocket = match query.text("transport").as_deref() {
            Some("polling") if config.polling => false,
            Some("websocket") if config.websocket => true,
            _ => return Err(0),
        };
        let eio3 = query.text("EIO").as_deref() != Some("4");
        if query.gives("sid") {
            let session = query.text("sid").and_then(|sid| self.sessions.find(&sid));
            let session = session.filter(|session| !session.phase().is_over()).ok_or(1)?;
            if !upgrade && websocket != session.phase().is_on_websocket() || eio3 != session.is_eio3() {
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
        if eio3 && !config.allow_eio3 {
            return Err(5);
        }
        Ok(Target::Handshake { eio3 })
    }

    /// Answers a long-polling request; `caller` is needed when [`Self::check`] says that it is a handshake. Dropping the
    /// future, when the client goes away, lets go of the session.
    pub async fn respond(
        self: Arc<Self>,
        method: &str,
        url: &str,
        caller: Option<Caller>,
        content_type: Option<String>,
        body: Bytes,
    ) -> Reply {
        match self.target(method, url, false) {
            Err(code) => Reply::error(code),
            Ok(Target::Handshake { eio3 }) => match caller.map(|caller| (self.enter(&caller), Head::new(url, &caller)))
            {
                // Boxed, as posts: a poll would keep room for either.
                Some((Ok(place), head)) => Box::pin(Session::open(&self.sessions, head, place, eio3)).await,
                Some((Err(reply), _)) => reply,
                None => Reply::error(3),
            },
            Ok(Target::Session(session)) => match method {
                "GET" => guarded(session.clone(), session.poll()).await,
                "POST" => guarded(session.clone(), Box::pin(session.take_post(content_type, body))).await,
                _ => Reply::new(500, TEXT, ""),
            },
        }
    }

    /// Answers a poll of a session. Dropping the future, when the client goes away, lets go of the session.
    pub fn poll(self: Arc<Self>, url: &str) -> Result<impl Future<Output = Reply> + Send + 'static, Reply> {
        match self.target("GET", url, false) {
            Ok(Target::Session(session)) => Ok(guarded(session.clone(), session.poll())),
            Ok(Target::Handshake { .. }) => Err(Reply::error(3)),
            Err(code) => Err(Reply::error(code)),
        }
    }

    /// A POST of a session begins: its body is read only when it may. An error when it may not.
    pub fn begin_post(&self, url: &str) -> Result<(), Reply> {
        match self.target("POST", url, false) {
            Ok(Target::Session(session)) => session.begin_post(),
            Ok(Target::Handshake { .. }) => Err(Reply::error(2)),
            Err(code) => Err(Reply::error(code)),
        }
    }

    /// Ends the session of a request whose body is larger than allowed and was not read.
    pub fn refuse_oversized(&self, method: &str, url: &str) {
        if let Ok(Target::Session(session)) = self.target(method, url, false) {
            self.exceeded(Limit::MaxHttpBufferSize);
            session.connection().close(DisconnectReason::TransportError);
        }
    }

    /// The client of a session's request went away before the request was over; while it moves to WebSocket it may.
    pub fn abandon(&self, method: &str, url: &str) {
        let Ok(Target::Session(session)) = self.target(method, url, false) else {
            return;
        };
        if !session.phase().is_upgrading() {
            session.connection().close(DisconnectReason::TransportError);
        } else if method == "POST" {
            session.end_post();
        }
    }
}

/// Answers a request of a session, also when that panics: the session ends then, and the client comes back.
async fn guarded(session: Arc<Session>, answering: impl Future<Output = Reply>) -> Reply {
    let answered = AssertUnwindSafe(answering).catch_unwind().await;
    answered.unwrap_or_else(|_| {
        tracing::error!("a request panicked; its session is closed");
        session.connection().close(DisconnectReason::TransportError);
        Reply::new(500, TEXT, "")
    })
}

impl Drop for Transport {
    fn drop(&mut self) {
        self.watches.iter().for_each(AbortHandle::abort);
    }
}
