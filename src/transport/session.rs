//! One Engine.IO session and the Socket.IO socket on it, from the handshake to its end.
//!
//! | part | owns |
//! |---|---|
//! | `session` | its state, and what the parts of the transport ask of it |
//! | `joining` | CONNECT: the socket that waits to be let in |
//! | `incoming` | what a client's packets mean |
//! | `rewrite` | what the library tells the client, put right |
//! | `heartbeat` | signs of life, and who gives them in the client's place |

mod heartbeat;
mod incoming;
mod joining;
pub(super) mod rewrite;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32},
    },
    time::Instant,
};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

use super::{
    connection::{Connection, Limits},
    head::Head,
    phase::Phase,
    poll_queue::PollQueue,
    sessions::{Seat, Sessions},
};
use crate::{
    backpressure::{Account, Charge},
    disconnect::DisconnectReason,
    hub::Socket,
    service::Refusal,
};

/// Where the socket stands with the default namespace; owns what belongs to it there. Not a part of [`Phase`], because
/// a client may leave the namespace and come back while its transport stays.
#[derive(Debug)]
enum Standing {
    /// No CONNECT yet.
    Opened,
    /// CONNECT is being decided.
    Connecting(Pending),
    /// The socket is registered.
    Connected(Arc<Socket>),
    /// The socket has left, or was refused.
    Left,
}

/// A socket that waits to be let in, and all that waits with it.
#[derive(Debug, Default)]
struct Pending {
    /// None until the library has passed the CONNECT on.
    socket: Option<Arc<Socket>>,
    /// Packets that came before the CONNECT answer.
    early: Vec<Early>,
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
    charges: Vec<Option<Charge>>,
}

/// The library's pings.
#[derive(Debug, Clone, Copy)]
enum Ping {
    /// There has been none; the first one is withheld.
    None,
    /// The last one was answered, or withheld.
    Answered,
    /// The client was pinged then.
    Sent(Instant),
}

/// What the answer to CONNECT says; kept when the socket has gone before it left.
#[derive(Debug)]
enum Answer {
    /// The library's own words.
    Plain,
    /// The socket's id.
    Accepted(Box<str>),
    /// Why the socket is refused.
    Refused(Refusal),
    /// Nothing: who asked has left.
    Withdrawn,
}

#[derive(Debug)]
struct Inner {
    standing: Standing,
    answer: Answer,
    partial: Option<Partial>,
    ping: Ping,
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

/// An Engine.IO session.
pub(super) struct Session {
    number: u64,
    sessions: Arc<Sessions<Self>>,
    connection: Arc<Connection>,
    head: Head,
    opened: Instant,
    inner: Mutex<Inner>,
    /// A POST of the client is being read.
    pub(super) posting: AtomicBool,
    /// When the client was heard last, as [`Seat::now`] has it.
    heard: AtomicU32,
    /// The library is to be told, by the stream, that the client is alive.
    answers_heartbeat: AtomicBool,
    /// Whatever reads the stream.
    pub(super) reader: AtomicWaker,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Session {
    /// A session for a handshake.
    pub(super) fn new(sessions: &Arc<Sessions<Self>>, head: Head, eio3: bool, on_websocket: bool) -> Arc<Self> {
        let service = &sessions.service;
        let limits = Limits {
            queued_bytes: service.config.limits.max_queued_bytes,
            stall: service.config.limits.stall,
            congestion: service.fanout().congestion().clone(),
            sink: Arc::downgrade(service.sink()),
        };
        let seat = Seat::take(&sessions.roll);
        seat.pass_through_node(!on_websocket);
        let connection = Connection::new(
            Phase::begin(on_websocket),
            PollQueue::new(&sessions.engine, eio3),
            Account::new(service.budget()),
            limits,
            sessions.runtime.clone(),
            seat,
        );
        let number = service.next_key();
        let session = Arc::new(Self {
            number,
            sessions: sessions.clone(),
            connection,
            head,
            opened: Instant::now(),
            inner: Mutex::new(Inner {
                standing: Standing::Opened,
                answer: Answer::Plain,
                partial: None,
                ping: Ping::None,
            }),
            posting: AtomicBool::new(false),
            heard: AtomicU32::new(sessions.roll.hearing.now()),
            answers_heartbeat: AtomicBool::new(false),
            reader: AtomicWaker::new(),
        });
        sessions.insert(number, &session);
        session
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

    /// Whether the client speaks Engine.IO 3.
    pub(super) fn is_eio3(&self) -> bool {
        self.connection.queue().is_eio3()
    }

    /// The transport has ended. A socket that was still being admitted is not told of otherwise.
    pub(super) fn ended(&self) {
        if matches!(self.inner.lock().standing, Standing::Connecting(_)) {
            self.departed(DisconnectReason::TransportClose);
        }
        self.connection.finish();
    }

    /// The socket has left its namespace, or the transport has ended.
    pub(super) fn departed(&self, reason: DisconnectReason) {
        let (standing, _partial) = {
            let mut inner = self.inner.lock();
            let standing = std::mem::replace(&mut inner.standing, Standing::Left);
            (standing, inner.partial.take())
        };
        let service = &self.sessions.service;
        let socket = match standing {
            Standing::Connected(socket) => socket,
            Standing::Connecting(Pending {
                socket: Some(socket), ..
            }) => {
                service.withdraw(&socket);
                socket
            }
            _ => return,
        };
        let reason = self.connection.reason().cloned().unwrap_or(reason);
        service.unregister(&socket, reason);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.sessions.remove(self.number, self.connection.queue().sid());
        // A client that went away while it was being admitted leaves no other trace.
        self.departed(DisconnectReason::TransportClose);
        self.connection.finish();
    }
}
