//! What this instance publishes: numbered, in order, waiting while the bus is away, and kept for a while for instances
//! that missed something. Never blocks.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{
    bus::Publication,
    message::{Message, Select},
};
use crate::{ports::Fact, wire::packet::Packet};

/// Publications that are kept for instances that missed something, and their bytes.
const KEPT: usize = 16_384;
const KEPT_BYTES: usize = 16 << 20;
/// What an entry takes on top of its packet, roughly.
const OVERHEAD: usize = 128;

/// Something to publish.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its number, when it is one that must not be missed.
    pub(super) seq: Option<u64>,
    /// What it is.
    pub(super) body: Body,
    size: usize,
}

/// What is published. It is encoded only when it leaves.
#[derive(Debug)]
pub(super) enum Body {
    /// A packet for clients of other servers.
    Broadcast(OwnedBroadcast),
    /// A message to all instances.
    Message(Message),
    /// A message to one instance.
    Inbox(Arc<str>, Message),
    /// Something that is encoded already.
    Raw(Publication),
}

/// A broadcast that waits.
#[derive(Debug)]
pub(super) struct OwnedBroadcast {
    pub(super) packet: Packet,
    pub(super) rooms: Vec<Box<str>>,
    pub(super) except: Vec<Box<str>>,
    pub(super) volatile: bool,
    pub(super) fact: Fact,
}

impl Body {
    fn size(&self) -> usize {
        OVERHEAD
            + match self {
                Self::Broadcast(broadcast) => {
                    let names = broadcast.rooms.iter().chain(&broadcast.except);
                    broadcast.packet.len() + names.map(|name| name.len()).sum::<usize>()
                }
                Self::Message(message) | Self::Inbox(_, message) => size_of_message(message),
                Self::Raw(Publication { channel, payload }) => channel.len() + payload.len(),
            }
    }
}

fn size_of_message(message: &Message) -> usize {
    match message {
        Message::Select(Select { packet, .. }) | Message::Stored(_, packet, _) => packet.len(),
        Message::Resent(entries) => entries.iter().map(|(_, _, payload)| payload.len() + OVERHEAD).sum(),
        Message::Snapshot(snapshot) => snapshot.sockets.len() * OVERHEAD,
        Message::Released(_, Some(part)) => {
            let packets = part.packets.iter().map(|missed| missed.packet.len() + OVERHEAD);
            packets.sum()
        }
        Message::History(part) => {
            let messages = part.rooms.iter().flat_map(|(_, messages)| messages);
            messages.map(|(packet, _)| packet.args.len() + OVERHEAD).sum()
        }
        _ => 0,
    }
}

#[derive(Debug, Default)]
struct Inner {
    next_seq: u64,
    /// Digest of what has been told of this instance's sockets.
    digest: u64,
    /// What waits for the bus.
    queue: VecDeque<Arc<Entry>>,
    queued_bytes: usize,
    /// The newest numbered entries, without holes.
    kept: VecDeque<Arc<Entry>>,
    kept_bytes: usize,
    appended: u64,
    dropped: u64,
    /// The last entry has been appended.
    is_over: bool,
}

/// The publications of this instance.
#[derive(Debug)]
pub(super) struct Log {
    inner: Mutex<Inner>,
    most_queued: usize,
    most_queued_bytes: usize,
    wake: Notify,
}

impl Log {
    /// An empty log, of which so many entries and bytes may wait.
    pub(super) fn new(most_queued: usize, most_queued_bytes: usize) -> Self {
        Self {
            inner: Mutex::default(),
            most_queued,
            most_queued_bytes,
            wake: Notify::new(),
        }
    }

    /// Appends what must not be missed. What it tells of this instance's sockets changes the digest.
    pub(super) fn publish(&self, body: Body, digest: u64) {
        self.publish_as(body, digest, |_| {});
    }

    /// As [`Self::publish`]; `numbered` is called with the number before anybody else can know it.
    pub(super) fn publish_as(&self, body: Body, digest: u64, numbered: impl FnOnce(u64)) {
        let mut inner = self.inner.lock();
        let seq = inner.next_seq;
        numbered(seq);
        inner.next_seq += 1;
        inner.digest ^= digest;
        let entry = Arc::new(Entry {
            size: body.size(),
            seq: Some(seq),
            body,
        });
        inner.kept_bytes += entry.size;
        inner.kept.push_back(entry.clone());
        while inner.kept.len() > KEPT || (inner.kept_bytes > KEPT_BYTES && inner.kept.len() > 1) {
            inner.kept_bytes -= inner.kept.pop_front().map_or(0, |entry| entry.size);
        }
        self.queue(inner, entry);
    }

    /// Appends what may be missed.
    pub(super) fn send(&self, body: Body) {
        self.send_where(|_, _| body);
    }

    /// Appends what may be missed and depends on where the log stands: the number of the next publication, and the digest
    /// of all before.
    pub(super) fn send_where(&self, body: impl FnOnce(u64, u64) -> Body) {
        let inner = self.inner.lock();
        let body = body(inner.next_seq, inner.digest);
        let entry = Arc::new(Entry {
            size: body.size(),
            seq: None,
            body,
        });
        self.queue(inner, entry);
    }

    /// Appends what is encoded already, and may be missed.
    pub(super) fn send_raw(&self, channel: &str, payload: Vec<u8>) {
        self.send(Body::Raw(Publication {
            channel: Bytes::copy_from_slice(channel.as_bytes()),
            payload: payload.into(),
        }));
    }

    /// Appends the last entry: what comes after it is not published. Otherwise others would take the instance for a
    /// living one again.
    pub(super) fn end(&self, last: Body) {
        self.send(last);
        self.inner.lock().is_over = true;
    }

    fn queue(&self, mut inner: parking_lot::MutexGuard<'_, Inner>, entry: Arc<Entry>) {
        if inner.is_over {
            return;
        }
        inner.appended += 1;
        inner.queued_bytes += entry.size;
        inner.queue.push_back(entry);
        while inner.queue.len() > self.most_queued
            || (inner.queued_bytes > self.most_queued_bytes && inner.queue.len() > 1)
        {
            inner.queued_bytes -= inner.queue.pop_front().map_or(0, |entry| entry.size);
            inner.dropped += 1;
        }
        drop(inner);
        self.wake.notify_one();
    }

    /// Takes what has waited longest, up to so many entries and about so many bytes.
    pub(super) fn take(&self, most: usize, most_bytes: usize) -> Vec<Arc<Entry>> {
        let mut inner = self.inner.lock();
        let mut taken = Vec::new();
        let mut bytes = 0;
        while taken.len() < most && bytes < most_bytes {
            let Some(entry) = inner.queue.pop_front() else { break };
            bytes += entry.size;
            taken.push(entry);
        }
        inner.queued_bytes -= bytes;
        taken
    }

    /// Resolves when something may wait.
    pub(super) async fn appended(&self) {
        self.wake.notified().await;
    }

    /// Numbered entries from `first` on, before `end`, which are kept; and the number of the oldest kept one.
    pub(super) fn kept(&self, first: u64, end: u64) -> (u64, Vec<Arc<Entry>>) {
        let inner = self.inner.lock();
        let oldest = inner.next_seq - inner.kept.len() as u64;
        let skip = usize::try_from(first.saturating_sub(oldest)).unwrap_or(usize::MAX);
        let count = usize::try_from(end.saturating_sub(first.max(oldest))).unwrap_or(usize::MAX);
        let entries = inner.kept.iter().skip(skip).take(count).cloned().collect();
        (oldest, entries)
    }

    /// Number of the next publication.
    pub(super) fn next_seq(&self) -> u64 {
        self.inner.lock().next_seq
    }

    /// How many entries were appended, and how many of them do not wait any more.
    pub(super) fn progress(&self) -> (u64, u64) {
        let inner = self.inner.lock();
        (inner.appended, inner.appended - inner.queue.len() as u64)
    }

    /// How many entries wait, and how many were dropped because too many waited.
    pub(super) fn queued(&self) -> (usize, u64) {
        let inner = self.inner.lock();
        (inner.queue.len(), inner.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(entries: &[Arc<Entry>]) -> Vec<Option<u64>> {
        entries.iter().map(|entry| entry.seq).collect()
    }

    fn nothing() -> Body {
        Body::Message(Message::Nothing)
    }

    #[test]
    fn what_is_appended_is_taken_in_order() {
        let log = Log::new(10, 1 << 20);
        log.publish(nothing(), 1);
        log.send(nothing());
        log.publish(nothing(), 2);
        assert_eq!(numbers(&log.take(2, usize::MAX)), [Some(0), None]);
        assert_eq!(numbers(&log.take(9, usize::MAX)), [Some(1)]);
        log.send_where(|next, digest| {
            assert_eq!((next, digest), (2, 3));
            nothing()
        });
    }

    #[test]
    fn nothing_follows_the_last_entry() {
        let log = Log::new(10, 1 << 20);
        log.publish(nothing(), 0);
        log.end(Body::Message(Message::Bye));
        log.send(nothing());
        log.publish(nothing(), 0);
        assert_eq!(numbers(&log.take(9, usize::MAX)), [Some(0), None]);
        assert_eq!(log.progress(), (2, 2));
    }

    #[test]
    fn the_oldest_are_dropped_and_counted_when_too_many_wait() {
        let log = Log::new(3, 1 << 20);
        (0..5).for_each(|_| log.publish(nothing(), 0));
        assert_eq!(log.queued(), (3, 2));
        assert_eq!(numbers(&log.take(9, usize::MAX)), [Some(2), Some(3), Some(4)]);
    }

    #[test]
    fn the_oldest_are_dropped_when_too_many_bytes_wait() {
        let log = Log::new(100, 2 * (OVERHEAD + 10));
        (0..5).for_each(|_| log.send_raw("12345", b"67890".to_vec()));
        assert_eq!(log.queued(), (2, 3));
        log.send_raw("", vec![0; 10_000]);
        assert_eq!(log.queued().0, 1, "what is too large alone is still sent");
    }

    #[test]
    fn what_was_dropped_or_sent_is_kept_for_those_that_missed_it() {
        let log = Log::new(2, 1 << 20);
        (0..KEPT as u64 + 5).for_each(|_| log.publish(nothing(), 0));
        let (oldest, entries) = log.kept(0, 8);
        assert_eq!(oldest, 5);
        assert_eq!(numbers(&entries), [Some(5), Some(6), Some(7)]);
        assert_eq!(numbers(&log.kept(KEPT as u64 + 3, u64::MAX).1).len(), 2);
        assert!(log.kept(KEPT as u64 + 9, u64::MAX).1.is_empty());
    }
}
