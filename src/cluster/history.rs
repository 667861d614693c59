//! Chat messages in Redis, a stream for each room, so that history survives the restart of all instances.
//!
//! Written by the instance where a message was sent, in order, again and again until Redis has taken it; read when a
//! room's history is first asked for. A message that was written twice is read once: it has an id.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak, mpsc},
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{runtime::Handle, sync::Notify};

use super::Cluster;
use crate::{
    config::HistoryConfig,
    hub::Room,
    redis::{ConnectionError, Connections},
    wire::{
        json::placeholders_fit,
        packet::{Packet, PacketKind},
    },
};

/// Messages that are written before the answers of Redis are awaited.
const BATCH: usize = 256;
/// How long after a fault writing is tried again.
const PAUSE: Duration = Duration::from_millis(100);
/// Messages read back when the number that is kept is not limited.
const MOST_READ: usize = 10_000;
/// Names of a stream entry's fields: packet, time in milliseconds, and attachments in order.
const PACKET: &str = "packet";
const TIME: &str = "time";
const ATTACHMENT: &str = "attachment";

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

/// The streams of messages.
#[derive(Debug)]
pub(super) struct Storage {
    prefix: String,
    keep: HistoryConfig,
    most_waiting: usize,
    waiting: Mutex<Waiting>,
    wake: Notify,
}

impl Storage {
    /// Streams whose keys begin with `prefix`. At most so many writes wait while Redis is away.
    pub(super) fn new(prefix: String, keep: HistoryConfig, most_waiting: usize) -> Self {
        Self {
            prefix,
            keep,
            most_waiting,
            waiting: Mutex::default(),
            wake: Notify::new(),
        }
    }

    /// Notes a message to be written.
    pub(super) fn store(&self, room_id: &str, packet: &Packet, time: u64) {
        self.note(Write::Message {
            room_id: room_id.into(),
            packet: packet.clone(),
            time,
        });
    }

    /// Notes that the messages of a room are to be deleted.
    pub(super) fn forget(&self, room_id: &str) {
        self.note(Write::Forget(room_id.into()));
    }

    /// Messages that were dropped because too many waited.
    pub(super) fn dropped(&self) -> u64 {
        self.waiting.lock().dropped
    }

    fn note(&self, write: Write) {
        let mut waiting = self.waiting.lock();
        waiting.writes.push_back(write);
        if waiting.writes.len() > self.most_waiting {
            waiting.writes.pop_front();
            waiting.dropped += 1;
        }
        drop(waiting);
        self.wake.notify_one();
    }

    /// Resolves when something may have been noted.
    pub(super) async fn noted(&self) {
        self.wake.notified().await;
    }

    /// Writes a part of what is noted; whether nothing is left. What Redis refuses is dropped; what it could not take
    /// at the moment stays noted.
    pub(super) async fn write(&self, connections: &Connections) -> Result<bool, ConnectionError> {
        let batch: Vec<Write> = {
            let mut waiting = self.waiting.lock();
            let count = waiting.writes.len().min(BATCH);
            waiting.writes.drain(..count).collect()
        };
        if batch.is_empty() {
            return Ok(true);
        }
        let outcomes =
            futures_util::future::join_all(batch.iter().map(|write| self.write_one(connections, write))).await;
        let mut failed = Vec::new();
        let mut fault = None;
        for (write, outcome) in batch.into_iter().zip(outcomes) {
            match outcome {
                Ok(()) => {}
                Err(error @ ConnectionError::Unreachable(_)) => {
                    failed.push(write);
                    fault = fault.or(Some(error));
                }
                Err(error) => {
                    self.waiting.lock().dropped += 1;
                    fault = Some(error);
                }
            }
        }
        let mut waiting = self.waiting.lock();
        for write in failed.into_iter().rev() {
            waiting.writes.push_front(write);
        }
        fault.map_or(Ok(waiting.writes.is_empty()), Err)
    }

    async fn write_one(&self, connections: &Connections, write: &Write) -> Result<(), ConnectionError> {
        match write {
            Write::Forget(room_id) => connections.delete(&self.key(room_id)).await,
            Write::Message { room_id, packet, time } => {
                let mut fields = vec![(PACKET, packet.args_bytes()), (TIME, Bytes::from(time.to_string()))];
                fields.extend(packet.attachments().iter().map(|bytes| (ATTACHMENT, bytes.clone())));
                let most = self.keep.max_messages_per_room;
                connections.stream_append(&self.key(room_id), fields, most).await?;
                Ok(())
            }
        }
    }

    /// The newest messages of a room that are to be kept, oldest first, with their times.
    pub(super) async fn read(
        &self,
        connections: &Connections,
        room_id: &str,
    ) -> Result<Vec<(Packet, u64)>, ConnectionError> {
        let most = self.keep.max_messages_per_room.unwrap_or(MOST_READ);
        if most == 0 {
            return Ok(Vec::new());
        }
        let entries = connections.stream_newest(&self.key(room_id), most, None).await?;
        let messages = entries.into_iter().rev();
        Ok(messages.filter_map(|(_, fields)| read_entry(fields)).collect())
    }

    fn key(&self, room_id: &str) -> String {
        format!("{}{room_id}", self.prefix)
    }
}

impl Cluster {
    /// Writes messages for ever.
    pub(super) async fn keep_storing(self: Arc<Self>, storage: Arc<Storage>) {
        loop {
            self.connections.until_up().await;
            match storage.write(&self.connections).await {
                Ok(false) => {}
                Ok(true) => storage.noted().await,
                Err(error) => {
                    if !matches!(error, ConnectionError::Unreachable(_)) {
                        self.report(error.code(), &error.to_string());
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Writes what is left, as long as Redis takes it.
    pub(super) async fn store_rest(&self, storage: &Storage) {
        while matches!(storage.write(&self.connections).await, Ok(false)) {}
    }

    /// Puts the stored messages of a room before those that were heard. When Redis is away, the next call tries again.
    async fn read_history(&self, storage: &Storage, room: &Room) {
        match storage.read(&self.connections, &room.info.id).await {
            Ok(messages) => self.service.restore_history(room, messages),
            Err(error) => {
                room.state().history.is_restored = false;
                self.report(error.code(), &error.to_string());
            }
        }
    }
}

/// Reads the messages of rooms back.
pub(super) struct Reader {
    pub(super) cluster: Weak<Cluster>,
    pub(super) runtime: Handle,
}

impl Reader {
    /// Starts reading; whoever waits for the answer hears when it is done.
    pub(super) fn read(&self, storage: &Arc<Storage>, room: &Arc<Room>) -> mpsc::Receiver<()> {
        let (done, is_done) = mpsc::sync_channel(1);
        let (cluster, storage, room) = (self.cluster.clone(), storage.clone(), room.clone());
        self.runtime.spawn(async move {
            if let Some(cluster) = cluster.upgrade() {
                cluster.read_history(&storage, &room).await;
            }
            let _ = done.try_send(());
        });
        is_done
    }
}

fn read_entry(fields: Vec<(String, Bytes)>) -> Option<(Packet, u64)> {
    let (mut args, mut time, mut attachments) = (None, None, Vec::new());
    for (name, value) in fields {
        match name.as_str() {
            PACKET => args = Some(value),
            TIME => time = std::str::from_utf8(&value).ok()?.parse().ok(),
            ATTACHMENT => attachments.push(value),
            _ => {}
        }
    }
    let args = args?;
    let args = std::str::from_utf8(&args).ok()?;
    // What others may have written there must not reach clients unless it is whole.
    placeholders_fit(args, attachments.len()).then_some(())?;
    Some((Packet::new(PacketKind::Event(None), args, attachments), time?))
}
