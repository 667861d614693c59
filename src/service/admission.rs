//! Connections that wait for JavaScript to let them in: middleware and an overridden `handleConnection`. Registers none.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use dashmap::DashMap;
use tokio::sync::oneshot;

use crate::hub::Identity;

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

impl Refusal {
    pub(super) fn new(message: &str) -> Self {
        Self {
            message: message.to_owned(),
            data: None,
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.message)
    }
}

/// Connections that JavaScript is asked about, by their keys.
#[derive(Debug, Default)]
pub(super) struct Admissions {
    asks: AtomicBool,
    waiting: DashMap<u64, oneshot::Sender<Result<Admitted, Refusal>>>,
}

impl Admissions {
    /// Says whether JavaScript decides about connections.
    pub(super) fn set_asks(&self, asks: bool) {
        self.asks.store(asks, Ordering::Release);
    }

    /// Asks about a connection, unless JavaScript does not decide: by `question`, and for at most `patience`.
    pub(super) async fn ask(&self, key: u64, patience: Duration, question: impl FnOnce()) -> Result<Admitted, Refusal> {
        if !self.asks.load(Ordering::Acquire) {
            return Ok(Admitted::default());
        }
        let (answer, answered) = oneshot::channel();
        self.waiting.insert(key, answer);
        let waiting = Waiting(self, key);
        question();
        let outcome = tokio::time::timeout(patience, answered).await;
        drop(waiting);
        match outcome {
            Ok(Ok(decision)) => decision,
            Ok(Err(_)) => Err(Refusal::new("The service has been shut down")),
            Err(_) => Err(Refusal::new("Connection was not accepted in time")),
        }
    }

    /// JavaScript's decision about a connection; without effect when the client is gone.
    pub(super) fn decide(&self, key: u64, decision: Result<Admitted, Refusal>) {
        if let Some((_, answer)) = self.waiting.remove(&key) {
            let _ = answer.send(decision);
        }
    }
}

/// Forgets a question when its client goes away or patience ends.
struct Waiting<'a>(&'a Admissions, u64);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.remove(&self.1);
    }
}
