//! The one queue of what JavaScript is to hear, drained in batches after a wake-up.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use napi::{
    Status,
    bindgen_prelude::Buffer,
    threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode},
};
use parking_lot::Mutex;

use super::{field::Fields, protocol::Tag};
use crate::{
    backpressure::{self, Charge, Work},
    error::Error,
    ports::{EventKind, EventSink, ServiceEvent},
    transport::Reply,
};

/// Wakes JavaScript; weak, so that it does not keep the process alive.
pub(super) type Wake = ThreadsafeFunction<(), (), (), Status, false, true, 1>;

/// Bytes after which a batch ends, so that JavaScript need not hold everything at once.
const BATCH_BYTES: usize = 4 << 20;

/// Something for JavaScript to hear.
pub(super) enum Item {
    /// An event of the service.
    Event(ServiceEvent),
    /// The answer to a request.
    Reply(f64, Reply),
    /// There are bytes for a bridged stream in this buffer.
    BridgeWrite(f64, Arc<Mutex<Vec<u8>>>),
    /// The end of a bridged stream: orderly, or at once.
    BridgeEnd(f64, bool),
    /// A connection of this door is JavaScript's, with what was read of it.
    #[cfg(unix)]
    Adopt(f64, crate::transport::Foreign),
    /// Something for the logger: level and text.
    Log(&'static str, String),
    /// An operation has finished.
    Done(f64),
    /// An operation has failed.
    Failed(f64, Error),
    /// Nothing: shows that JavaScript takes what waits.
    Probe,
}

impl Item {
    /// Whether it tells of a connection's end.
    fn is_departure(&self) -> bool {
        matches!(
            self,
            Self::Event(ServiceEvent::Disconnect(..) | ServiceEvent::Abandoned(_))
        )
    }

    /// Bytes that the item keeps in memory, roughly.
    fn size(&self) -> usize {
        match self {
            Self::Event(
                ServiceEvent::Client { args, attachments, .. }
                | ServiceEvent::Ack { args, attachments, .. }
                | ServiceEvent::Authorize { args, attachments, .. },
            ) => args.len() + attachments.iter().map(bytes::Bytes::len).sum::<usize>(),
            Self::Event(ServiceEvent::Message(_, message)) => message.packet.len(),
            Self::Event(ServiceEvent::Deliver(_, packet)) => packet.len(),
            Self::Event(ServiceEvent::ServerSide { args, .. }) => args.len(),
            Self::Event(ServiceEvent::Answered { json, attachments, .. }) => {
                json.len() + attachments.iter().map(bytes::Bytes::len).sum::<usize>()
            }
            Self::Reply(_, reply) => reply.body.len(),
            Self::BridgeWrite(_, buffer) => buffer.lock().len(),
            _ => 0,
        }
    }
}

#[derive(Default)]
struct Items {
    list: VecDeque<(Item, Option<Charge>)>,
    /// How many of the items tell of a connection's end.
    departures: usize,
    /// How many items there have been, round at 2^32.
    pushed: u32,
    /// Memory of JavaScript's that says whether there are items, whether there are such, and how many there have been.
    signs: Option<Buffer>,
}

impl Items {
    /// Shows JavaScript whether something waits to be taken.
    fn show(&mut self) {
        if let Some([item, departure, _, _, pushed @ ..]) = self.signs.as_deref_mut() {
            *item = u8::from(!self.list.is_empty());
            *departure = u8::from(self.departures > 0);
            if let Some(place) = pushed.first_chunk_mut() {
                *place = self.pushed.to_ne_bytes();
            }
        }
    }

    /// Takes items until there are `most`, or until they are large together.
    fn take(&mut self, most: usize) -> Vec<(Item, Option<Charge>)> {
        let mut bytes = 0;
        let count = self.list.iter().take(most).take_while(|(item, _)| {
            let before = bytes;
            bytes += item.size();
            before < BATCH_BYTES
        });
        let count = count.count();
        let taken: Vec<_> = self.list.drain(..count).collect();
        self.departures -= taken.iter().filter(|(item, _)| item.is_departure()).count();
        self.show();
        taken
    }
}

/// The queue between the native threads and JavaScript.
pub(super) struct Queue {
    items: Mutex<Items>,
    /// Gone once nothing is to reach JavaScript any more.
    wake: Mutex<Option<Wake>>,
    listening: AtomicU32,
    /// A probe waits to be taken.
    is_probed: AtomicBool,
    /// Many connections have gone since JavaScript last took something.
    has_garbage: AtomicBool,
    closed: AtomicBool,
}

impl Queue {
    /// `signs`: as `SIGNS` of `lib/native/signs.ts` has it.
    pub(super) fn new(wake: Wake, signs: Buffer) -> Self {
        Self {
            items: Mutex::new(Items {
                signs: Some(signs),
                ..Items::default()
            }),
            wake: Mutex::new(Some(wake)),
            listening: AtomicU32::new(0),
            is_probed: AtomicBool::new(false),
            has_garbage: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        }
    }

    /// Says which events have listeners.
    pub(super) fn listen(&self, kinds: impl Iterator<Item = EventKind>) {
        let bits = kinds.fold(0, |bits, kind| bits | kind as u32);
        self.listening.store(bits, Ordering::Release);
    }

    /// JavaScript is ending, or the service has: nothing reaches it any more.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let items = {
            let mut items = self.items.lock();
            let list = std::mem::take(&mut items.list);
            items.departures = 0;
            items.show();
            (list, std::mem::take(&mut *items))
        };
        // Whoever is woken by that need not wait for the lock.
        drop(items);
        // Whatever native thread is just about to call it has it, or finds that it is gone.
        drop(self.wake.lock().take());
    }

    pub(super) fn push(&self, item: Item) {
        if self.closed.load(Ordering::Acquire) {
            return;
        }
        let charge = match &item {
            Item::Event(_) => backpressure::charge(Work::JavaScript, item.size()),
            _ => None,
        };
        let mut items = self.items.lock();
        items.departures += usize::from(item.is_departure());
        items.list.push_back((item, charge));
        items.pushed = items.pushed.wrapping_add(1);
        items.show();
        let first = items.list.len() == 1;
        drop(items);
        if first && let Some(wake) = &*self.wake.lock() {
            wake.call((), ThreadsafeFunctionCallMode::NonBlocking);
        }
    }

    /// Whether JavaScript has garbage of connections that have gone; once.
    pub(super) fn take_garbage(&self) -> bool {
        self.has_garbage.swap(false, Ordering::AcqRel)
    }

    /// Takes up to `most` of what waits, as a flat array that `lib/native/signs.ts` reads, behind how many they are.
    pub(super) fn take(&self, most: usize) -> Fields {
        let taken = self.items.lock().take(most);
        self.is_probed.store(false, Ordering::Release);
        let mut fields = Fields::default();
        fields.integer(taken.len() as u64);
        for (item, _charge) in taken {
            match item {
                Item::Event(event) => fields.event(&event),
                Item::Reply(id, reply) => {
                    fields
                        .tag(Tag::Reply)
                        .number(id)
                        .number(reply.status)
                        .text(reply.content_type)
                        .text(String::from_utf8_lossy(&reply.body))
                        .optional(reply.sid.as_deref());
                }
                Item::BridgeWrite(id, buffer) => {
                    // Everything written since, in one piece.
                    let bytes = std::mem::take(&mut *buffer.lock());
                    fields.tag(Tag::BridgeWrite).number(id).bytes(&bytes);
                }
                Item::BridgeEnd(id, at_once) => {
                    fields.tag(Tag::BridgeEnd).number(id).flag(at_once);
                }
                #[cfg(unix)]
                Item::Adopt(door, foreign) => {
                    let fd = std::os::fd::IntoRawFd::into_raw_fd(foreign.stream);
                    let (address, port) = foreign
                        .client
                        .map(|client| (client.ip().to_string(), client.port()))
                        .unzip();
                    fields
                        .tag(Tag::Adopt)
                        .number(door)
                        .number(f64::from(fd))
                        .bytes(&foreign.received)
                        .optional(address.as_deref())
                        .number(port.unwrap_or_default())
                        .flag(foreign.is_secure);
                }
                Item::Log(level, text) => {
                    fields.tag(Tag::Log).text(level).text(text);
                }
                Item::Done(id) => {
                    fields.tag(Tag::Done).number(id);
                }
                Item::Failed(id, error) => {
                    fields
                        .tag(Tag::Failed)
                        .number(id)
                        .text(error.code())
                        .text(error.to_string());
                }
                Item::Probe => {}
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
        self.push(Item::Event(event));
    }

    fn is_responsive(&self) -> bool {
        if self.is_probed.swap(true, Ordering::AcqRel) {
            return false;
        }
        self.push(Item::Probe);
        true
    }

    fn many_have_gone(&self) {
        self.has_garbage.store(true, Ordering::Release);
        self.push(Item::Probe);
    }
}
