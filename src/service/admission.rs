//! Admission of connections by JavaScript: middleware and an overridden `handleConnection`.

use std::{sync::Arc, sync::atomic::Ordering, time::Duration};

use tokio::sync::oneshot;

use super::Service;
use crate::{
    error::Error,
    hub::{Identity, Socket},
    ports::ServiceEvent,
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
pub(super) struct Pending {
    socket: Arc<Socket>,
    answer: oneshot::Sender<Result<Admitted, Refusal>>,
}

impl Service {
    /// Says whether JavaScript decides about connections.
    pub fn set_admits(&self, admits: bool) {
        self.admits.store(admits, Ordering::Release);
    }

    /// Lets a client in, asking JavaScript if it wants to be asked, for at most `patience`. Dropping the future takes the
    /// question back.
    pub async fn admit(&self, socket: &Arc<Socket>, patience: Duration) -> Result<Admitted, Refusal> {
        if self.is_closed() {
            return Err(Error::Closed.into());
        }
        if !self.admits.load(Ordering::Acquire) {
            return Ok(Admitted::default());
        }
        let (answer, question) = oneshot::channel();
        let socket = socket.clone();
        // JavaScript is told of its end, however soon that comes.
        socket.touch();
        let pending = Pending {
            socket: socket.clone(),
            answer,
        };
        self.admissions.insert(socket.id().into(), pending);
        let question_ends = Withdraw(self, &socket);
        self.sink.emit(ServiceEvent::Admission(socket.clone()));
        let outcome = tokio::time::timeout(patience, question).await;
        drop(question_ends);
        match outcome {
            Ok(Ok(decision)) => decision,
            Ok(Err(_)) => Err(Error::Closed.into()),
            Err(_) => Err(Error::NotAdmitted.into()),
        }
    }

    /// JavaScript's decision about a connection; without effect when the client is gone.
    pub fn decide(&self, socket: &Socket, decision: Result<Admitted, Refusal>) {
        if let Some(pending) = self.take_pending(socket) {
            let _ = pending.answer.send(decision);
        }
    }

    /// The client of a connection that may be waiting is gone: nobody need decide about it any more.
    pub fn withdraw(&self, socket: &Socket) {
        drop(self.take_pending(socket));
    }

    /// The socket of this id that waits to be let in.
    pub fn pending(&self, socket_id: &str) -> Option<Arc<Socket>> {
        let pending = self.admissions.get(socket_id)?;
        Some(pending.socket.clone())
    }

    /// Clients of Engine.IO 3 have the same id again when they come back.
    fn take_pending(&self, socket: &Socket) -> Option<Pending> {
        let taken = self
            .admissions
            .remove_if(socket.id(), |_, pending| pending.socket.key() == socket.key());
        taken.map(|(_, pending)| pending)
    }
}

/// Takes a question back when its client goes away or patience ends.
struct Withdraw<'a>(&'a Service, &'a Socket);

impl Drop for Withdraw<'_> {
    fn drop(&mut self) {
        self.0.withdraw(self.1);
    }
}
