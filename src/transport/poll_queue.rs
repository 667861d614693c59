//! What waits for the next poll of one client. Never decides what does.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::{Arc, OnceLock},
    task::Poll,
};

use futures_util::task::AtomicWaker;

use super::engine::{Engine, SessionId};
use crate::{
    backpressure::ITEM_COST,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    wire::packet::Packet,
};

/// Socket.IO's refusal of a namespace other than the default one.
const REFUSED: &str = "44/";

/// What waits for a poll.
#[derive(Debug)]
pub(super) enum Waiting {
    Packet(Packet),
    /// What socketioxide says: heartbeats, the answers to CONNECT.
    Text(String),
    /// Socket.IO's DISCONNECT.
    Farewell,
    /// The end of the session.
    Close,
}

impl Waiting {
    /// Bytes that count while it waits: those that a client or a server can have any number of.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Packet(packet) => packet.polling_len(),
            Self::Text(text) => text.strip_prefix(REFUSED).map_or(0, |rest| {
                let namespace = rest.split(',').next().map_or(0, str::len);
                ITEM_COST + 1 + namespace
            }),
            Self::Farewell | Self::Close => 0,
        }
    }
}

/// What waits for one client, and its session in the library.
pub(super) struct PollQueue {
    engine: Arc<Engine>,
    sid: OnceLock<SessionId>,
    eio3: bool,
    waiting: Mutex<VecDeque<Waiting>>,
    /// The poll that is open.
    poll: AtomicWaker,
    is_polled: AtomicBool,
    /// The library has ended the session: nothing will ever wait any more.
    has_ended: AtomicBool,
}

/// The turn to poll: one at a time.
pub(super) struct Turn<'a>(&'a AtomicBool);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl std::fmt::Debug for PollQueue {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("PollQueue")
    }
}

impl PollQueue {
    /// The queue of a client of Engine.IO 3 or 4.
    pub(super) fn new(engine: &Arc<Engine>, eio3: bool) -> Self {
        Self {
            engine: engine.clone(),
            sid: OnceLock::new(),
            eio3,
            waiting: Mutex::default(),
            poll: AtomicWaker::new(),
            is_polled: AtomicBool::new(false),
            has_ended: AtomicBool::new(false),
        }
    }

    /// The secret id of the session, once it is known.
    pub(super) fn sid(&self) -> Option<SessionId> {
        self.sid.get().copied()
    }

    /// Learns the secret id. False when it was known.
    pub(super) fn identify(&self, sid: SessionId) -> bool {
        self.sid.set(sid).is_ok()
    }

    /// Has something wait for the next poll. True when nothing else did: the poll that is open is to be woken.
    pub(super) fn push(&self, item: Waiting) -> bool {
        let mut waiting = self.waiting.lock();
        waiting.push_back(item);
        waiting.len() == 1
    }

    /// Shows each buffer that waits, as [`Outbox::each_buffer`](super::outbox::Outbox::each_buffer) does.
    pub(super) fn each_buffer(&self, see: &mut impl FnMut(usize, usize)) -> usize {
        let waiting = self.waiting.lock();
        let mut own = 0;
        for item in waiting.iter() {
            match item {
                Waiting::Packet(packet) => see(packet.place(), packet.len()),
                other => own += other.len(),
            }
        }
        own
    }

    /// Wakes the poll that is open.
    pub(super) fn wake(&self) {
        self.poll.wake();
    }

    /// The turn to poll, unless somebody has it.
    pub(super) fn turn(&self) -> Option<Turn<'_>> {
        let is_polled = self.is_polled.swap(true, Ordering::AcqRel);
        (!is_polled).then_some(Turn(&self.is_polled))
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.lock().is_empty()
    }

    /// Whether nothing waits, and no poll is open.
    pub(super) fn is_idle(&self) -> bool {
        self.is_empty() && !self.is_polled.load(Ordering::Acquire)
    }

    /// Nothing will ever wait any more.
    pub(super) fn end(&self) {
        self.has_ended.store(true, Ordering::Release);
        self.wake();
    }

    /// Whether nothing will ever wait any more.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Acquire)
    }

    /// Resolves when something waits, or never will, or `is_over` says so when the poll is woken.
    pub(super) async fn filled(&self, is_over: impl Fn() -> bool) {
        poll_fn(|context| {
            // First: what comes after the look wakes.
            self.poll.register(context.waker());
            let is_empty = self.waiting.lock().is_empty();
            match is_empty && !self.has_ended() && !is_over() {
                true => Poll::Pending,
                false => Poll::Ready(()),
            }
        })
        .await;
    }

    /// Takes what waits, up to what does not fit: at once, or a poll and an upgrade could each take every other packet.
    pub(super) fn take_while(&self, mut fits: impl FnMut(&Waiting) -> bool) -> VecDeque<Waiting> {
        let mut waiting = self.waiting.lock();
        let count = waiting.iter().take_while(|item| fits(item)).count();
        let left = waiting.split_off(count);
        std::mem::replace(&mut *waiting, left)
    }

    /// Forgets what waits.
    pub(super) fn clear(&self) {
        *self.waiting.lock() = VecDeque::new();
    }

    /// Has the library let the client's socket go.
    pub(super) fn disconnect(&self) {
        if let Some(sid) = self.sid() {
            self.engine.disconnect(sid);
        }
    }

    /// Posts packets as if the client had.
    pub(super) async fn post(&self, packets: &str) {
        if let Some(sid) = self.sid() {
            self.engine.post(sid, self.eio3, packets).await;
        }
    }
}
