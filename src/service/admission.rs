//! Connections that wait for JavaScript to let them in: middleware and an overridden `handleConnection`. Registers none.

use std::{sync::Arc, time::Duration};

use dashmap::DashMap;
use tokio::sync::oneshot;

use crate::{
    error::Error,
    hub::{Identity, Socket},
    sync::atomic::{AtomicBool, Ordering},
};

/// Who JavaScript says the client is; `None` leaves the identity of the handshake.
#[derive(Debug, Clone, Default)]
pub struct Admitted {
    /// Identity set by middleware.
    pub identity: Option<Identity>,
}

/// Why a connection is refused, as the client's `connect_error` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// `err.message`.
    pub message: String,
    /// `err.data` as JSON, if there is any.
    pub data: Option<String>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self {
            message: error.to_string(),
            data: None,
        }
    }
}

/// A connection that waits to be let in. The only place that keeps its socket for JavaScript, and gone with the question.
#[derive(Debug)]
struct Pending {
    socket: Arc<Socket>,
    answer: oneshot::Sender<Result<Admitted, Refusal>>,
}

/// Connections that JavaScript is asked about, by socket id.
#[derive(Debug, Default)]
pub(super) struct Admissions {
    asks: AtomicBool,
    waiting: DashMap<Box<str>, Pending>,
}

impl Admissions {
    /// Says whether JavaScript decides about connections.
    pub(super) fn set_asks(&self, asks: bool) {
        self.asks.store(asks, Ordering::Release);
    }

    /// Asks about a connection, unless JavaScript does not decide: by `question`, and for at most `patience`. Dropping
    /// the future takes the question back.
    pub(super) async fn ask(
        &self,
        socket: &Arc<Socket>,
        patience: Duration,
        question: impl FnOnce(),
    ) -> Result<Admitted, Refusal> {
        if !self.asks.load(Ordering::Acquire) {
            return Ok(Admitted::default());
        }
        let (answer, answered) = oneshot::channel();
        let socket = socket.clone();
        let pending = Pending {
            socket: socket.clone(),
            answer,
        };
        self.waiting.insert(socket.id().into(), pending);
        let question_ends = Withdraw(self, &socket);
        // Together with the look at whether it is gone: JavaScript is told of its end, however soon that comes.
        let asked = socket.with_rooms(|_| {
            socket.touch();
            question();
        });
        if asked.is_none() {
            return Err(Error::Closed.into());
        }
        let outcome = tokio::time::timeout(patience, answered).await;
        drop(question_ends);
        match outcome {
            Ok(Ok(decision)) => decision,
            Ok(Err(_)) => Err(Error::Closed.into()),
            Err(_) => Err(Error::NotAdmitted.into()),
        }
    }

    /// JavaScript's decision about a connection; without effect when the client is gone.
    pub(super) fn decide(&self, socket: &Socket, decision: Result<Admitted, Refusal>) {
        if let Some(pending) = self.take(socket) {
            let _ = pending.answer.send(decision);
        }
    }

    /// The client of a connection that may be waiting is gone: nobody need decide about it any more.
    pub(super) fn withdraw(&self, socket: &Socket) {
        drop(self.take(socket));
    }

    /// The socket of this id that waits to be let in.
    pub(super) fn pending(&self, socket_id: &str) -> Option<Arc<Socket>> {
        Some(self.waiting.get(socket_id)?.socket.clone())
    }

    /// Clients of Engine.IO 3 have the same id again when they come back.
    fn take(&self, socket: &Socket) -> Option<Pending> {
        let taken = self
            .waiting
            .remove_if(socket.id(), |_, pending| pending.socket.key() == socket.key());
        taken.map(|(_, pending)| pending)
    }
}

/// Takes a question back when its client goes away or patience ends.
struct Withdraw<'a>(&'a Admissions, &'a Socket);

impl Drop for Withdraw<'_> {
    fn drop(&mut self) {
        self.0.withdraw(self.1);
    }
}
