//! The one queue of what JavaScript is to hear, drained in batches after a wake-up.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use dashmap::DashMap;
use napi::{
    Status,
    threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode},
};
use parking_lot::Mutex;

use super::field::Fields;
use crate::{
    event::{EventKind, EventSink, ServiceEvent},
    hub::User,
    transport::Reply,
};

/// Wakes JavaScript; weak, so that it does not keep the process alive.
pub(super) type Wake = ThreadsafeFunction<(), (), (), Status, false, true, 1>;

/// Events that may wait while JavaScript is busy. Above it, chat events (`message`, `typing`) are dropped and
/// counted; the coming and going of connections never is.
const MOST_EVENTS: usize = 1 << 20;

/// Something for JavaScript to hear.
pub(super) enum Item {
    /// An event of the service.
    Event(ServiceEvent),
    /// The answer to a request.
    Reply(f64, Reply),
    /// Bytes for a bridged stream.
    BridgeWrite(f64, Bytes),
    /// The end of a bridged stream: orderly, or at once.
    BridgeEnd(f64, bool),
    /// An operation has finished.
    Done(f64),
}

/// The queue between the native threads and JavaScript.
pub(super) struct Queue {
    items: Mutex<VecDeque<Item>>,
    wake: Wake,
    listening: AtomicU32,
    dropped: AtomicU64,
    closed: AtomicBool,
    /// Sockets that JavaScript is deciding about; they are not registered yet.
    pub(super) admissions: DashMap<Box<str>, Arc<User>>,
}

impl Queue {
    pub(super) fn new(wake: Wake) -> Self {
        Self {
            items: Mutex::default(),
            wake,
            listening: AtomicU32::new(0),
            dropped: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            admissions: DashMap::new(),
        }
    }

    /// Says which events have listeners, as bits of [`EventKind`].
    pub(super) fn listen(&self, kinds: u32) {
        self.listening.store(kinds, Ordering::Release);
    }

    /// JavaScript is ending: nothing reaches it any more.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.items.lock().clear();
    }

    pub(super) fn push(&self, item: Item) {
        if self.closed.load(Ordering::Acquire) {
            return;
        }
        let mut items = self.items.lock();
        if items.len() >= MOST_EVENTS
            && matches!(item, Item::Event(ServiceEvent::Message(..) | ServiceEvent::Typing(..)))
        {
            drop(items);
            if self.dropped.fetch_add(1, Ordering::Relaxed) == 0 {
                tracing::warn!("JavaScript does not keep up: chat events are dropped");
            }
            return;
        }
        items.push_back(item);
        let first = items.len() == 1;
        drop(items);
        if first {
            self.wake.call((), ThreadsafeFunctionCallMode::NonBlocking);
        }
    }

    /// Takes what waits, as a flat array that `lib/events.js` reads.
    pub(super) fn take(&self) -> Fields {
        let items = std::mem::take(&mut *self.items.lock());
        let mut fields = Fields::default();
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            fields.event(&ServiceEvent::Fault(
                "ERR_EVENTS_DROPPED",
                format!("{dropped} chat events were dropped because JavaScript did not keep up"),
            ));
        }
        for item in items {
            match item {
                Item::Event(event) => fields.event(&event),
                Item::Reply(id, reply) => {
                    fields
                        .number(12)
                        .number(id)
                        .number(reply.status)
                        .text(reply.content_type)
                        .bytes(&reply.body)
                        .optional(reply.sid.as_deref());
                }
                Item::BridgeWrite(id, bytes) => {
                    fields.number(13).number(id).bytes(&bytes);
                }
                Item::BridgeEnd(id, at_once) => {
                    fields.number(14).number(id).flag(at_once);
                }
                Item::Done(id) => {
                    fields.number(15).number(id);
                }
            }
        }
        fields
    }
}

impl EventSink for Queue {
    fn wants(&self, kind: EventKind) -> bool {
        self.listening.load(Ordering::Acquire) & kind as u32 != 0
    }

    fn emit(&self, event: ServiceEvent) {
        if let ServiceEvent::Admission(user) = &event {
            self.admissions.insert(user.id().into(), user.clone());
        }
        self.push(Item::Event(event));
    }
}
