//! Chat messages in the store, so that history survives the restart of all instances.
//!
//! Written by the instance where a message was sent, in order, again and again until the store has taken it; read when a
//! room's history is first asked for. A message that was written twice is read once: it has an id.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak, mpsc},
    time::Duration,
};

use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::Notify,
};

use super::{
    bus::{Bus, BusError, Record, Store},
    status::Status,
};
use crate::{
    config::HistoryConfig,
    hub::Room,
    service::Service,
    wire::{
        json::placeholders_fit,
        packet::{Packet, PacketKind},
    },
};

/// Messages that are written before the answers of the store are awaited.
const BATCH: usize = 256;
/// How long after a fault writing is tried again.
const PAUSE: Duration = Duration::from_millis(100);
/// Messages read back when the number that is kept is not limited.
const MOST_READ: usize = 10_000;
/// How long a caller waits for the messages of a room; what comes later is there for the next call.
const RESTORE_PATIENCE: Duration = Duration::from_millis(250);

#[derive(Debug)]
enum Write {
    Message {
        room_id: Box<str>,
        packet: Packet,
        time: u64,
    },
    Forget(Box<str>),
}

#[derive(Debug, Default)]
struct Waiting {
    writes: VecDeque<Write>,
    dropped: u64,
}

/// The messages that are to survive.
pub(super) struct History {
    pub(super) bus: Arc<dyn Bus>,
    pub(super) store: Arc<dyn Store>,
    pub(super) status: Arc<Status>,
    /// The service owns this, by way of its peers.
    pub(super) service: Weak<Service>,
    pub(super) runtime: Handle,
    pub(super) keep: HistoryConfig,
    pub(super) notes: Notes,
}

/// What is to be written, in order.
pub(super) struct Notes {
    most: usize,
    waiting: Mutex<Waiting>,
    wake: Notify,
}

impl Notes {
    /// Nothing; later at most so many, of which the oldest are dropped.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            waiting: Mutex::default(),
            wake: Notify::new(),
        }
    }

    fn push(&self, write: Write) {
        let mut waiting = self.waiting.lock();
        waiting.writes.push_back(write);
        if waiting.writes.len() > self.most {
            waiting.writes.pop_front();
            waiting.dropped += 1;
        }
        drop(waiting);
        self.wake.notify_one();
    }

    fn take(&self) -> Vec<Write> {
        let mut waiting = self.waiting.lock();
        let count = waiting.writes.len().min(BATCH);
        waiting.writes.drain(..count).collect()
    }

    /// Puts back what could not be written; whether nothing is left.
    fn put_back(&self, failed: Vec<Write>) -> bool {
        let mut waiting = self.waiting.lock();
        for write in failed.into_iter().rev() {
            waiting.writes.push_front(write);
        }
        waiting.writes.is_empty()
    }
}

impl History {
    /// Notes a message to be written.
    pub(super) fn store(&self, room_id: &str, packet: &Packet, time: u64) {
        self.notes.push(Write::Message {
            room_id: room_id.into(),
            packet: packet.clone(),
            time,
        });
    }

    /// Notes that the messages of a room are to be deleted.
    pub(super) fn forget(&self, room_id: &str) {
        self.notes.push(Write::Forget(room_id.into()));
    }

    /// Messages that were dropped because too many waited, or were refused.
    pub(super) fn dropped(&self) -> u64 {
        self.notes.waiting.lock().dropped
    }

    /// Writes for ever.
    pub(super) async fn run(self: Arc<Self>) {
        loop {
            if !self.bus.is_up() {
                self.bus.until_up().await;
            }
            match self.write().await {
                Ok(false) => {}
                Ok(true) => self.notes.wake.notified().await,
                Err(error) => {
                    if !error.is_unreachable() {
                        self.status.report_error(&error);
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Writes what is left, as long as the store takes it.
    pub(super) async fn write_rest(&self) {
        while matches!(self.write().await, Ok(false)) {}
    }

    /// Writes a part of what is noted; whether nothing is left. What is refused is dropped; what could not be taken at
    /// the moment stays noted.
    async fn write(&self) -> Result<bool, BusError> {
        let batch = self.notes.take();
        if batch.is_empty() {
            return Ok(true);
        }
        let outcomes = join_all(batch.iter().map(|write| self.write_one(write))).await;
        let mut failed = Vec::new();
        let mut fault = None;
        for (write, outcome) in batch.into_iter().zip(outcomes) {
            match outcome {
                Ok(()) => {}
                Err(error) if error.is_unreachable() => {
                    failed.push(write);
                    fault = fault.or(Some(error));
                }
                Err(error) => {
                    self.notes.waiting.lock().dropped += 1;
                    fault = Some(error);
                }
            }
        }
        let is_empty = self.notes.put_back(failed);
        fault.map_or(Ok(is_empty), Err)
    }

    async fn write_one(&self, write: &Write) -> Result<(), BusError> {
        match write {
            Write::Forget(room_id) => self.store.forget(room_id).await,
            Write::Message { room_id, packet, time } => {
                let record = Record {
                    args: packet.args_bytes(),
                    time: *time,
                    attachments: packet.attachments().to_vec(),
                };
                let most = self.keep.max_messages_per_room;
                self.store.append(room_id, record, most).await
            }
        }
    }

    /// Reads a room's messages back; waits for it, but not long. Whoever comes second does not wait.
    pub(super) fn restore(self: &Arc<Self>, room: &Arc<Room>) {
        room.state().history.is_restored = true;
        let (done, is_done) = mpsc::sync_channel(1);
        let (history, room) = (self.clone(), room.clone());
        self.runtime.spawn(async move {
            history.read(&room).await;
            let _ = done.try_send(());
        });
        let wait = || {
            let _ = is_done.recv_timeout(RESTORE_PATIENCE);
        };
        let flavor = Handle::try_current().map(|runtime| runtime.runtime_flavor());
        match flavor {
            // A client asks: other tasks of this thread go on elsewhere.
            Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(wait),
            _ => wait(),
        }
    }

    /// Puts the stored messages of a room before those that were heard. When they cannot be had, the next call tries
    /// again.
    async fn read(&self, room: &Room) {
        let most = self.keep.max_messages_per_room.unwrap_or(MOST_READ);
        let records = match most {
            0 => Ok(Vec::new()),
            most => self.store.newest(&room.info.id, most).await,
        };
        match (records, self.service.upgrade()) {
            (Ok(records), Some(service)) => {
                service.restore_history(room, records.into_iter().filter_map(message).collect());
            }
            (Ok(_), None) => {}
            (Err(error), _) => {
                room.state().history.is_restored = false;
                self.status.report_error(&error);
            }
        }
    }
}

/// What others may have written there must not reach clients unless it is whole.
fn message(record: Record) -> Option<(Packet, u64)> {
    let args = std::str::from_utf8(&record.args).ok()?;
    placeholders_fit(args, record.attachments.len()).then_some(())?;
    let packet = Packet::new(PacketKind::Event(None), args, record.attachments);
    Some((packet, record.time))
}
