//! One session and the Socket.IO socket on it, from the handshake to its end.
//!
//! | part | owns |
//! |---|---|
//! | `session` | its state, and what the parts of the transport ask of it |
//! | `joining` | CONNECT: the socket that waits to be let in |
//! | `incoming` | what a client's packets mean |
//! | `heartbeat`, `pulse` | signs of life; where it stands with them |
//! | `rewrite` | what the library tells a client that polls, put right |

mod heartbeat;
mod incoming;
mod joining;
mod pulse;
pub(super) mod rewrite;

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use self::pulse::Pulse;
use super::{connection::Connection, engine::SessionId, entrance::Place, head::Head, phase::Phase, sessions::Sessions};
use crate::{
    backpressure::{Account, Charge},
    config::Limit,
    disconnect::DisconnectReason,
    hub::Socket,
};

/// Where the socket stands with the default namespace; owns what belongs to it there. Not a part of [`Phase`], because
/// a client may leave the namespace and come back while its transport stays.
#[derive(Debug)]
enum Standing {
    /// No CONNECT yet.
    Opened,
    /// CONNECT is being decided.
    Connecting(Box<Pending>),
    /// The socket is registered, or was: the server may have ended it.
    Connected(Arc<Socket>),
    /// The socket has left, or was refused.
    Left,
}

/// A socket that waits to be let in, and all that waits with it.
#[derive(Debug, Default)]
struct Pending {
    /// None until the decision has begun.
    socket: Option<Arc<Socket>>,
    /// The client has come back to it: it is registered.
    is_back: bool,
    /// The library waits for the outcome, in which a refusal is the payload of its packet.
    library: Option<oneshot::Sender<Result<(), String>>>,
    /// Packets that came before the CONNECT answer, and their bytes.
    early: Vec<Early>,
    early_bytes: usize,
}

/// A packet that came before the CONNECT answer.
#[derive(Debug)]
struct Early {
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
    /// When it began, since the first of the sessions.
    began: Duration,
    charges: Vec<Option<Charge>>,
}

#[derive(Debug)]
struct Inner {
    standing: Standing,
    partial: Option<Box<Partial>>,
    pulse: Pulse,
    /// The CONNECT answer that comes out of the library; kept when its socket has gone before that.
    accepted: Option<Box<str>>,
    /// An answer to CONNECT is to come out of the library.
    awaits_library: bool,
    /// There has been a socket.
    has_connected: bool,
    /// Which of its connections this is to the socket.
    connection_number: u32,
}

/// What is to be done with a packet of the client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict<'a> {
    /// It was handled, or is to be ignored.
    Taken,
    /// CONNECT to the default namespace, with this `auth`: a decision is to begin.
    Connect(&'a str),
    /// CONNECT to a namespace that there is not.
    Foreign(&'a str),
    /// DISCONNECT from the default namespace: the socket has left, and the library does not know it yet.
    Left,
    /// The session is to end for this reason.
    Close(DisconnectReason),
}

/// The answer to a CONNECT to a namespace that there is not.
pub(super) fn no_namespace(namespace: &str) -> String {
    format!("44{namespace},{{\"message\":\"Invalid namespace\"}}")
}

/// A session.
pub(super) struct Session {
    /// Its secret id. Of a client that polls it is the library's, and known a moment later.
    sid: OnceLock<SessionId>,
    sessions: Arc<Sessions<Self>>,
    connection: Arc<Connection>,
    head: Head,
    _place: Option<Box<Place>>,
    /// When it began, since the first of the sessions.
    opened: Duration,
    inner: Mutex<Inner>,
    /// When the client was heard last, in looks at which JavaScript was not busy.
    heard: AtomicU32,
    /// When the message began of which the client has sent a part, in milliseconds since the first of the sessions; 0
    /// when there is none.
    message_began: AtomicU64,
    /// A POST of the client is being read.
    pub(super) posting: AtomicBool,
    /// The client was pinged, and has sent nothing since.
    is_pinged: AtomicBool,
    /// What opens its stream is still to be written.
    pub(super) is_opening: AtomicBool,
    /// Its stream was not read from since it was looked at.
    pub(super) was_paused: AtomicBool,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Session {
    /// A session on WebSocket, or one that polls.
    pub(super) fn new(
        sessions: &Arc<Sessions<Self>>,
        head: Head,
        place: Option<Box<Place>>,
        eio3: bool,
        on_websocket: bool,
    ) -> Arc<Self> {
        let account = Account::new(sessions.service.budget());
        let opened = sessions.common.now();
        let connection = if on_websocket {
            Connection::over_websocket(&sessions.common, account, eio3)
        } else {
            Connection::over_polling(&sessions.common, account, eio3, &sessions.engine)
        };
        let session = Arc::new(Self {
            sid: OnceLock::new(),
            sessions: sessions.clone(),
            connection,
            head,
            _place: place,
            opened,
            inner: Mutex::new(Inner {
                standing: Standing::Opened,
                partial: None,
                pulse: if on_websocket {
                    Pulse::Resting(opened)
                } else {
                    Pulse::New
                },
                accepted: None,
                awaits_library: false,
                has_connected: false,
                connection_number: 0,
            }),
            heard: AtomicU32::new(sessions.common.roll.hearing.now()),
            message_began: AtomicU64::new(0),
            posting: AtomicBool::new(false),
            is_pinged: AtomicBool::new(false),
            is_opening: AtomicBool::new(on_websocket),
            was_paused: AtomicBool::new(false),
        });
        if on_websocket {
            let sid = SessionId::new();
            let _ = session.sid.set(sid);
            sessions.name(sid, &session);
        }
        session
    }

    /// Its secret id, once it is known.
    pub(super) fn sid(&self) -> Option<SessionId> {
        self.sid.get().copied()
    }

    /// The outgoing half, and where the client stands with its transport.
    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Where the client stands with its transport.
    pub(super) fn phase(&self) -> Phase {
        self.connection.phase()
    }

    /// What the client has caused.
    pub(super) fn account(&self) -> &Arc<Account> {
        self.connection.account()
    }

    /// The sessions that it is one of.
    pub(super) fn sessions(&self) -> &Arc<Sessions<Self>> {
        &self.sessions
    }

    /// Shows each buffer that waits for the client, by its place and length; returns what else it keeps in memory, in bytes.
    pub(super) fn weigh(&self, see: &mut impl FnMut(usize, usize)) -> usize {
        self.account().waiting() + self.connection.each_buffer(see)
    }

    /// The client went beyond a bound.
    pub(super) fn exceeded(&self, limit: Limit) {
        self.sessions.common.limits.exceeded.count(limit);
    }

    /// The client has sent a part of a message, or all of it; `has_ended` when it has ended one meanwhile.
    pub(super) fn keeps_message(&self, is_part: bool, has_ended: bool) {
        if !is_part {
            self.message_began.store(0, Ordering::Relaxed);
        } else if has_ended || self.message_began.load(Ordering::Relaxed) == 0 {
            let now = u64::try_from(self.sessions.common.now().as_millis()).unwrap_or(u64::MAX);
            self.message_began.store(now.max(1), Ordering::Relaxed);
        }
    }

    /// How long the client has been sending the message, or the packet with attachments, of which a part is missing.
    pub(super) fn unfinished_for(&self) -> Option<Duration> {
        let message = match self.message_began.load(Ordering::Relaxed) {
            0 => None,
            millis => Some(Duration::from_millis(millis)),
        };
        let packet = self.inner.lock().partial.as_ref().map(|partial| partial.began);
        let began = message.into_iter().chain(packet).min()?;
        Some(self.sessions.common.now().saturating_sub(began))
    }

    /// Whether the client speaks Engine.IO 3.
    pub(super) fn is_eio3(&self) -> bool {
        self.connection.is_eio3()
    }

    /// The transport has ended.
    pub(super) fn ended(&self) {
        self.departed(DisconnectReason::TransportClose);
        self.connection.finish();
    }

    /// The socket has left its namespace, or the transport has ended.
    pub(super) fn departed(&self, reason: DisconnectReason) {
        let (standing, _partial, connection) = {
            let mut inner = self.inner.lock();
            let standing = std::mem::replace(&mut inner.standing, Standing::Left);
            (standing, inner.partial.take(), inner.connection_number)
        };
        let service = &self.sessions.service;
        let reason = self.connection.reason().unwrap_or(reason);
        match standing {
            Standing::Connected(socket) => service.part(&socket, connection, reason),
            Standing::Connecting(pending) => match pending.socket {
                Some(socket) if pending.is_back => service.part(&socket, connection, reason),
                // It was never told how to come back.
                Some(socket) => {
                    service.withdraw(&socket);
                    service.unregister(&socket, reason);
                }
                None => {}
            },
            Standing::Opened | Standing::Left => {}
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(sid) = self.sid() {
            self.sessions.remove(sid);
        }
        // A client that went away while it was being admitted leaves no other trace.
        self.ended();
    }
}
