//! Clients that are slow to read: how many there are, and who waits for them. For how long is up to the caller.
//!
//! A connection is slow while at least a quarter of what may wait for it waits. It says so itself; nobody is asked.

use tokio::sync::Notify;

use crate::metrics::Gauge;

/// How many connections are slow, and when that changes.
#[derive(Debug)]
pub struct Congestion {
    most: usize,
    slow: Gauge,
    eased: Notify,
}

impl Congestion {
    /// `most`: bytes that may wait for one client.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            slow: Gauge::default(),
            eased: Notify::new(),
        }
    }

    /// Bytes from which on a connection is slow.
    pub fn quarter(&self) -> usize {
        self.most / 4
    }

    /// A connection has become slow.
    pub fn enter(&self) {
        self.slow.rise();
    }

    /// A connection that was slow no longer is.
    pub fn leave(&self) {
        self.slow.fall();
        self.eased.notify_waiters();
    }

    /// A slow connection has this much waiting now.
    pub fn progressed(&self, waiting: usize) {
        if waiting < self.most / 2 {
            self.eased.notify_waiters();
        }
    }

    /// Whether a connection is slow.
    pub fn is_any_slow(&self) -> bool {
        self.slow.get() > 0
    }

    /// Resolves when the caller is content: it is asked now, and whenever less waits for somebody. It is told the bytes
    /// of which each of those that it waits for should have less waiting: half of what may wait.
    pub async fn eased(&self, mut is_content: impl FnMut(usize) -> bool) {
        loop {
            let eased = self.eased.notified();
            tokio::pin!(eased);
            // From here on, no change is missed.
            eased.as_mut().enable();
            if is_content(self.most / 2) {
                return;
            }
            eased.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        time::Duration,
    };

    use super::*;

    #[tokio::test]
    async fn a_sender_waits_until_each_of_its_targets_has_less_than_half_waiting() {
        let congestion = Arc::new(Congestion::new(100));
        let readers = Arc::new([80, 60, 10].map(AtomicUsize::new));
        let mut sender = tokio::spawn({
            let (congestion, readers) = (congestion.clone(), readers.clone());
            async move {
                let content = |half| readers.iter().all(|reader| reader.load(Ordering::Relaxed) < half);
                congestion.eased(content).await;
            }
        });
        for (reader, left) in [(0, 50), (1, 49), (0, 49)] {
            tokio::task::yield_now().await;
            assert!(!sender.is_finished(), "before {reader} has {left}");
            readers[reader].store(left, Ordering::Relaxed);
            congestion.progressed(left);
        }
        tokio::time::timeout(Duration::from_secs(10), &mut sender)
            .await
            .unwrap()
            .unwrap();
    }

    #[tokio::test]
    async fn a_sender_waits_for_nobody_else() {
        let congestion = Congestion::new(100);
        congestion.enter();
        assert!(congestion.is_any_slow());
        congestion.eased(|half| 49 < half).await;
        congestion.leave();
        assert!(!congestion.is_any_slow());
    }
}
