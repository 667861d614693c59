//! One Engine.IO session and the Socket.IO socket on it: its state, from the handshake to its end.

mod incoming;
mod rewrite;

use std::{
    future::poll_fn,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::sync::Notify;

use self::incoming::dispatch;
pub(super) use self::rewrite::Outgoing;
use super::{
    connection::{Connection, Limits, SessionId},
    engine::{PollQueue, Transport},
    head::Head,
};
use crate::{
    backpressure::{Account, Charge},
    disconnect::DisconnectReason,
    hub::{Identity, Socket, SocketId},
    link::Link as _,
    service::{Refusal, Service},
};

/// Socket.IO's DISCONNECT in an Engine.IO message: a client that gets it does not come back by itself.
pub(super) const FAREWELL: &str = "41";
/// How long a polling client may take to fetch a part of what is queued and its farewell.
const FAREWELL_STEP: Duration = Duration::from_secs(3);

/// Where the session stands with the default namespace.
#[derive(Debug)]
pub(super) enum SessionState {
    /// No CONNECT yet.
    Opened,
    /// CONNECT is being decided; what comes early waits.
    Connecting(Vec<Early>),
    /// The socket is registered.
    Connected,
    /// The socket has left, or was refused.
    Left,
}

/// A packet that came before the CONNECT answer.
#[derive(Debug)]
pub(super) struct Early {
    text: String,
    attachments: Vec<Bytes>,
    _charge: Option<Charge>,
}

/// A binary packet whose attachments have not all arrived.
#[derive(Debug)]
struct Partial {
    text: String,
    expected: usize,
    attachments: Vec<Bytes>,
    charges: Vec<Option<Charge>>,
}

#[derive(Debug)]
struct Inner {
    state: SessionState,
    socket: Option<Arc<Socket>>,
    /// Id that the CONNECT answer tells; kept when the socket has gone before it left.
    answer: Option<String>,
    partial: Option<Partial>,
    refusal: Option<Refusal>,
    ping_sent: Option<Instant>,
}

/// What is to be done with a packet of the client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was handled, or is to be ignored.
    Taken,
    /// socketioxide is to see it.
    Pass,
    /// The session is to end for this reason.
    Close(DisconnectReason),
}

const FRESH: u8 = 0;
const SWALLOWED: u8 = 1;

/// An Engine.IO session.
pub(super) struct Session {
    number: u64,
    finished: AtomicBool,
    transport: Arc<Transport>,
    connection: Arc<Connection>,
    head: Head,
    eio3: bool,
    opened: Instant,
    sid: OnceLock<SessionId>,
    inner: Mutex<Inner>,
    reason: OnceLock<DisconnectReason>,
    first_ping: AtomicU8,
    /// The client is trying to move to WebSocket.
    pub(super) probing: AtomicBool,
    /// It has sent its probe and waits for its poll to end.
    pub(super) probed: AtomicBool,
    /// The client has moved to WebSocket, or began there.
    pub(super) on_websocket: AtomicBool,
    /// A POST of the client is being read.
    pub(super) posting: AtomicBool,
    farewell: AtomicBool,
    /// The client sends and receives by way of Node.js.
    through_node: AtomicBool,
    /// When the client was heard last, as [`Transport::hearing`] has it.
    heard: AtomicU32,
    /// The library is to be told, by the stream, that the client is alive.
    answers_heartbeat: AtomicBool,
    /// Whatever reads the stream.
    pub(super) reader: AtomicWaker,
    /// Wakes a waiting poll when the client probes.
    pub(super) release_poll: Notify,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Session {
    /// A session for a handshake.
    pub(super) fn new(transport: &Arc<Transport>, head: Head, eio3: bool, on_websocket: bool) -> Arc<Self> {
        transport.live.enter();
        let number = transport.service.next_key();
        let session = Arc::new_cyclic(|session: &Weak<Self>| {
            let queue = PollQueue::new(transport, session.clone());
            let account = Account::new(transport.service.budget());
            let limits = Limits {
                queued_bytes: transport.service.config.limits.max_queued_bytes,
                stall: transport.service.config.limits.stall,
                congestion: transport.service.fanout().congestion().clone(),
            };
            Self {
                number,
                finished: AtomicBool::new(false),
                transport: transport.clone(),
                connection: Connection::new(queue, eio3, account, limits, transport.runtime.clone()),
                head,
                eio3,
                opened: Instant::now(),
                sid: OnceLock::new(),
                inner: Mutex::new(Inner {
                    state: SessionState::Opened,
                    socket: None,
                    answer: None,
                    partial: None,
                    refusal: None,
                    ping_sent: None,
                }),
                reason: OnceLock::new(),
                first_ping: AtomicU8::new(FRESH),
                probing: AtomicBool::new(false),
                probed: AtomicBool::new(false),
                on_websocket: AtomicBool::new(on_websocket),
                posting: AtomicBool::new(false),
                farewell: AtomicBool::new(false),
                through_node: AtomicBool::new(false),
                heard: AtomicU32::new(transport.hearing.now()),
                answers_heartbeat: AtomicBool::new(false),
                reader: AtomicWaker::new(),
                release_poll: Notify::new(),
            }
        });
        transport.sessions.insert(number, Arc::downgrade(&session));
        session.pass_through_node(!on_websocket);
        session
    }

    /// The outgoing half.
    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// What the client has caused.
    pub(super) fn account(&self) -> &Arc<Account> {
        self.connection.account()
    }

    /// The network side it belongs to.
    pub(super) fn transport(&self) -> &Arc<Transport> {
        &self.transport
    }

    /// The secret id, once it is known.
    pub(super) fn sid(&self) -> Option<SessionId> {
        self.sid.get().copied()
    }

    /// Learns the secret id.
    pub(super) fn identify(self: &Arc<Self>, sid: SessionId) {
        if self.sid.set(sid).is_ok() {
            self.transport.by_sid.insert(sid, Arc::downgrade(self));
        }
    }

    /// Whether the client speaks Engine.IO 3.
    pub(super) fn is_eio3(&self) -> bool {
        self.eio3
    }

    /// The `EIO` parameter.
    pub(super) fn protocol_number(&self) -> u8 {
        if self.eio3 { 3 } else { 4 }
    }

    /// Says whether the client sends and receives by way of Node.js.
    pub(super) fn pass_through_node(&self, passes: bool) {
        let count = &self.transport.through_node;
        match (self.through_node.swap(passes, Ordering::AcqRel), passes) {
            (false, true) => drop(count.fetch_add(1, Ordering::AcqRel)),
            (true, false) => drop(count.fetch_sub(1, Ordering::AcqRel)),
            _ => {}
        }
    }

    /// Whether the client sends and receives by way of Node.js.
    pub(super) fn passes_through_node(&self) -> bool {
        self.through_node.load(Ordering::Acquire)
    }

    /// For how long the client has not been heard, as [`Transport::hearing`] has it.
    pub(super) fn silence(&self) -> u32 {
        self.transport
            .hearing
            .now()
            .wrapping_sub(self.heard.load(Ordering::Relaxed))
    }

    /// Runs a step that the client has caused by what it sent.
    fn hear<R>(&self, step: impl FnOnce() -> R) -> R {
        self.heard.store(self.transport.hearing.now(), Ordering::Relaxed);
        self.account().causes(step)
    }

    /// Tells the library that the client is alive: that it is not heard is not its fault.
    pub(super) fn answer_heartbeat(self: &Arc<Self>) {
        if self.on_websocket.load(Ordering::Acquire) {
            self.answers_heartbeat.store(true, Ordering::Release);
            self.reader.wake();
        } else {
            let session = self.clone();
            self.transport.runtime.spawn(async move {
                session.transport.post(&session, session.heartbeat()).await;
            });
        }
    }

    /// Whether the stream is to tell the library that the client is alive; once.
    pub(super) fn takes_heartbeat(&self) -> bool {
        self.answers_heartbeat.load(Ordering::Acquire) && self.answers_heartbeat.swap(false, Ordering::AcqRel)
    }

    /// What the client sends as a sign of life: its answer to a ping, in Engine.IO 3 a ping.
    pub(super) fn heartbeat(&self) -> &'static str {
        if self.eio3 { "2" } else { "3" }
    }

    /// Resolves when the polling client may cause more, or is going.
    pub(super) async fn has_room(self: &Arc<Self>) {
        let mut is_answered = false;
        poll_fn(|context| {
            if self.account().poll_ready(context).is_ready() || self.is_finished() || self.connection.is_closing() {
                return Poll::Ready(());
            }
            if !std::mem::replace(&mut is_answered, true) {
                self.answer_heartbeat();
            }
            Poll::Pending
        })
        .await;
    }

    /// Decides about the client's CONNECT.
    pub(super) async fn connect(self: &Arc<Self>, service: &Arc<Service>, auth: &str) -> Result<(), Refusal> {
        let socket = self.new_socket(service, auth)?;
        {
            let mut inner = self.inner.lock();
            if !matches!(inner.state, SessionState::Connecting(_)) {
                inner.state = SessionState::Connecting(Vec::new());
            }
            inner.socket = Some(socket.clone());
            inner.answer = Some(socket.id().to_owned());
            inner.refusal = None;
        }
        let patience = service.config.connect_timeout.saturating_sub(self.opened.elapsed());
        match service.admit(&socket, patience).await {
            Ok(admitted) => {
                socket.identify(admitted.identity.unwrap_or_else(|| self.identity_of(&socket)));
                let patience = service.config.connect_timeout.saturating_sub(self.opened.elapsed());
                // Refused only at shutdown, which `connected` sees as well.
                let _ = service.introduce(&socket, patience).await;
                Ok(())
            }
            Err(refusal) => {
                if service.is_closed() {
                    self.close(DisconnectReason::ServerClosing);
                }
                service.unregister(&socket, DisconnectReason::ServerLeft);
                let mut inner = self.inner.lock();
                inner.state = SessionState::Left;
                inner.socket = None;
                inner.refusal = Some(refusal.clone());
                Err(refusal)
            }
        }
    }

    /// The CONNECT answer is on its way: registers the socket and handles what came early.
    pub(super) fn connected(self: &Arc<Self>, polling: bool) {
        let service = &self.transport.service;
        let mut inner = self.inner.lock();
        let SessionState::Connecting(early) = &mut inner.state else {
            return;
        };
        let early = std::mem::take(early);
        let Some(socket) = inner.socket.clone() else { return };
        if !socket.is_connected() {
            // Disconnected by the server before the answer could leave: the answer, what was sent, then goodbye.
            inner.state = SessionState::Left;
            inner.socket = None;
            drop(inner);
            return self.connection.connected(polling);
        }
        // An overridden `handleConnection` has registered it already.
        if service.hub.socket(socket.id()).is_none() && service.register(&socket).is_err() {
            drop(inner);
            return self.close(DisconnectReason::ServerClosing);
        }
        inner.state = SessionState::Connected;
        self.connection.connected(polling);
        // Under the lock, so that later packets do not overtake early ones.
        let is_malformed = |packet: Early| {
            self.account()
                .causes(|| dispatch(service, &socket, &packet.text, packet.attachments))
                .is_err()
        };
        if early.into_iter().any(is_malformed) {
            drop(inner);
            self.close(DisconnectReason::ParseError);
        }
    }

    /// The socket has left its namespace, or the transport has ended.
    pub(super) fn departed(&self, reason: DisconnectReason) {
        let reason = self.reason.get().cloned().unwrap_or(reason);
        let reason = if self.connection.has_overflowed() {
            DisconnectReason::TransportError
        } else {
            reason
        };
        let socket = {
            let mut inner = self.inner.lock();
            inner.state = SessionState::Left;
            inner.partial = None;
            inner.socket.take()
        };
        if let Some(socket) = socket {
            self.transport.service.unregister(&socket, reason);
        }
    }

    /// The transport has ended. A socket that was still being admitted is not told of otherwise.
    pub(super) fn ended(&self) {
        if matches!(self.inner.lock().state, SessionState::Connecting(_)) {
            self.departed(DisconnectReason::TransportClose);
        }
        self.finish();
    }

    /// Ends the session for a reason of ours.
    pub(super) fn close(self: &Arc<Self>, reason: DisconnectReason) {
        let _ = self.reason.set(reason);
        // engine.io-client waits for ever when its probe was answered and is then cut off. It completes its upgrade, and
        // finds that there is no session any more.
        let is_moving = self.probed.load(Ordering::Acquire) && !self.on_websocket.load(Ordering::Acquire);
        if !is_moving {
            self.connection.kill();
        }
        self.close_engine();
    }

    /// Makes socketioxide forget the session.
    pub(super) fn close_engine(self: &Arc<Self>) {
        if self.on_websocket.load(Ordering::Acquire) {
            // The end of its stream tells it.
            return;
        }
        let session = self.clone();
        self.transport.runtime.spawn(async move {
            session.transport.post(&session, "1").await;
            session.finish();
        });
    }

    /// Whether the session has ended.
    pub(super) fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }

    /// Nothing more comes from or goes to the client: shutdown need not wait for it.
    pub(super) fn finish(&self) {
        if !self.finished.swap(true, Ordering::AcqRel) {
            self.transport.sessions.remove(&self.number);
            self.pass_through_node(false);
            self.account().wake();
            // The stream of a client that is just moving to WebSocket stays until its upgrade is complete or times out:
            // engine.io-client never closes once its probe was answered and then cut off.
            self.transport.live.leave();
        }
    }

    /// Ends the session once its client has fetched what is queued, its farewell included, or after a while.
    pub(super) fn close_after_farewell(self: &Arc<Self>) {
        self.farewell.store(true, Ordering::Release);
        let session = Arc::downgrade(self);
        self.transport.runtime.spawn(async move {
            let mut left = usize::MAX;
            loop {
                tokio::time::sleep(FAREWELL_STEP).await;
                let Some(session) = session.upgrade() else { return };
                let waiting = session.connection.waiting();
                if waiting == 0 || waiting >= left {
                    session.connection.kill();
                    return session.close_engine();
                }
                left = waiting;
            }
        });
    }

    /// Whether the server is saying goodbye.
    pub(super) fn is_leaving(&self) -> bool {
        self.farewell.load(Ordering::Acquire) || self.connection.is_ending()
    }

    /// The client has been handed the last of what was queued: the session ends if it is to.
    pub(super) fn farewell_passed(self: &Arc<Self>) {
        if !self.farewell.load(Ordering::Acquire) {
            return;
        }
        if self.on_websocket.load(Ordering::Acquire) {
            self.connection.end();
        } else {
            self.close_engine();
        }
    }

    fn new_socket(&self, service: &Arc<Service>, auth: &str) -> Result<Arc<Socket>, Refusal> {
        let id = match (self.eio3, self.sid.get()) {
            // Old clients take the session id for the socket's.
            (true, Some(sid)) => sid.as_str().to_owned(),
            _ => SocketId::random()
                .map(|id| id.as_str().to_owned())
                .ok_or_else(|| Refusal {
                    message: "No random bytes".to_owned(),
                    data: None,
                })?,
        };
        let now = service.clock.now();
        let link = self.connection.link();
        let handshake = self.head.handshake(auth);
        Ok(Arc::new(Socket::new(service.next_key(), &id, link, handshake, now)))
    }

    /// The identity that the handshake's query gives.
    fn identity_of(&self, socket: &Socket) -> Identity {
        Identity::new(socket.id(), socket.query("username").as_deref())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(sid) = self.sid() {
            self.transport.by_sid.remove(&sid);
        }
        // A client that went away while it was being admitted leaves no other trace.
        self.departed(DisconnectReason::TransportClose);
        self.finish();
    }
}
