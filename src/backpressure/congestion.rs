//! Clients that are slow to read: who they are waited for by, and for how long is up to the caller.
//!
//! A connection is slow while at least a quarter of what may wait for it waits. It says so itself; nobody is asked.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Notify;

use crate::link::Link;

/// How many connections are slow, and when that changes.
#[derive(Debug)]
pub struct Congestion {
    most: usize,
    slow: AtomicUsize,
    eased: Notify,
}

impl Congestion {
    /// `most`: bytes that may wait for one client.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            slow: AtomicUsize::new(0),
            eased: Notify::new(),
        }
    }

    /// Bytes from which on a connection is slow.
    pub fn quarter(&self) -> usize {
        self.most / 4
    }

    /// A connection has become slow.
    pub fn enter(&self) {
        self.slow.fetch_add(1, Ordering::AcqRel);
    }

    /// A connection that was slow no longer is.
    pub fn leave(&self) {
        self.slow.fetch_sub(1, Ordering::AcqRel);
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
        self.slow.load(Ordering::Acquire) > 0
    }

    /// Resolves when less than half of what may wait waits for each of these, or it reads nothing.
    pub async fn eased(&self, mut links: Vec<Arc<dyn Link>>) {
        loop {
            let eased = self.eased.notified();
            tokio::pin!(eased);
            // From here on, no change is missed.
            eased.as_mut().enable();
            links.retain(|link| link.awaited() >= self.most / 2);
            if links.is_empty() {
                return;
            }
            eased.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::wire::packet::Packet;

    /// So much waits for a client that reads.
    #[derive(Debug, Default)]
    struct Reader(AtomicUsize);

    /// Much waits for a client that does not read.
    #[derive(Debug)]
    struct Stalled;

    impl Link for Stalled {
        fn send(&self, _: &Packet, _: bool) -> bool {
            false
        }

        fn waiting(&self) -> usize {
            usize::MAX
        }

        fn awaited(&self) -> usize {
            0
        }
    }

    impl Link for Reader {
        fn send(&self, _: &Packet, _: bool) -> bool {
            false
        }

        fn waiting(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    #[tokio::test]
    async fn a_sender_waits_until_each_of_its_targets_has_less_than_half_waiting() {
        let congestion = Arc::new(Congestion::new(100));
        let readers = [80, 60, 10].map(|bytes| Arc::new(Reader(AtomicUsize::new(bytes))));
        let links = readers.iter().map(|reader| reader.clone() as Arc<dyn Link>).collect();
        let waiting = congestion.clone();
        let mut sender = tokio::spawn(async move { waiting.eased(links).await });
        for (reader, left) in [(0, 50), (1, 49), (0, 49)] {
            tokio::task::yield_now().await;
            assert!(!sender.is_finished(), "before {reader} has {left}");
            readers[reader].0.store(left, Ordering::Relaxed);
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
        congestion
            .eased(vec![Arc::new(Reader(AtomicUsize::new(49))), Arc::new(Stalled)])
            .await;
        congestion.leave();
        assert!(!congestion.is_any_slow());
    }
}
