//! Admission of connections by JavaScript: middleware and an overridden `handleConnection`.

use std::{sync::Arc, sync::atomic::Ordering, time::Duration};

use tokio::sync::oneshot;

use super::Service;
use crate::{
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

impl Service {
    /// Says whether JavaScript decides about connections.
    pub fn set_admits(&self, admits: bool) {
        self.admits.store(admits, Ordering::Release);
    }

    /// Lets a client in, asking JavaScript if it wants to be asked, for at most `patience`.
    pub async fn admit(&self, socket: &Arc<Socket>, patience: Duration) -> Result<Admitted, Refusal> {
        if self.is_closed() {
            return Err(refusal("The service has been shut down"));
        }
        if !self.admits.load(Ordering::Acquire) {
            return Ok(Admitted::default());
        }
        let (answer, question) = oneshot::channel();
        self.admissions.insert(socket.key(), answer);
        let pending = Pending(self, socket.key());
        self.sink.emit(ServiceEvent::Admission(socket.clone()));
        let outcome = tokio::time::timeout(patience, question).await;
        drop(pending);
        match outcome {
            Ok(Ok(decision)) => decision,
            Ok(Err(_)) => Err(refusal("The service has been shut down")),
            Err(_) => Err(refusal("Connection was not accepted in time")),
        }
    }

    /// JavaScript's decision about a connection; without effect when the client is gone.
    pub fn decide(&self, key: u64, decision: Result<Admitted, Refusal>) {
        if let Some((_, answer)) = self.admissions.remove(&key) {
            let _ = answer.send(decision);
        }
    }
}

/// Forgets a question when its client goes away or patience ends.
struct Pending<'a>(&'a Service, u64);

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.admissions.remove(&self.1);
    }
}

fn refusal(message: &str) -> Refusal {
    Refusal {
        message: message.to_owned(),
        data: None,
    }
}
