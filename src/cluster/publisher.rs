//! Takes what waits in the log, encodes it and publishes it in order, for as long as the bus is there.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{bus::Bus, encoder::Encoder, log::Log, rooms::Rooms, status::Status};

/// Publications, and their bytes, that are sent before the answers of the bus are awaited.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 1 << 20;
/// How long the end of a connection may take to be noticed.
const PAUSE: Duration = Duration::from_millis(20);

/// The way from the log to the bus.
pub(super) struct Publisher {
    pub(super) bus: Arc<dyn Bus>,
    pub(super) log: Arc<Log>,
    pub(super) encoder: Arc<Encoder>,
    pub(super) rooms: Arc<Rooms>,
    pub(super) status: Arc<Status>,
    /// Entries of the log that have left it.
    pub(super) sent: watch::Sender<u64>,
}

impl Publisher {
    /// Publishes for ever.
    pub(super) async fn run(self: Arc<Self>) {
        loop {
            if !self.bus.is_up() {
                self.bus.until_up().await;
            }
            // What is yet to be among the rooms is there before anybody hears of it.
            if !self.write_rooms().await {
                // What is taken from the log now could only be lost.
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            let entries = self.log.take(BATCH, BATCH_BYTES);
            if entries.is_empty() {
                self.log.appended().await;
                continue;
            }
            let batch: Vec<_> = entries.iter().map(|entry| self.encoder.encode(entry)).collect();
            let count = batch.len() as u64;
            match self.bus.publish(batch).await {
                Ok(()) => self.status.published(count),
                // Whether they were taken is unknown, so they are not sent again: nothing arrives twice on Node.js
                // servers. Instances ask for what they missed.
                Err(error) => tracing::debug!(%error, count, "publications were interrupted"),
            }
            self.sent.send_replace(self.log.progress().1);
        }
    }

    /// Writes rooms that were created or deleted here. False when the bus is not there to take them.
    async fn write_rooms(&self) -> bool {
        match self.rooms.write().await {
            Ok(()) => {}
            Err(error) if error.is_unreachable() => return false,
            Err(error) => self.status.report_error(&error),
        }
        self.bus.is_up()
    }

    /// Waits until what was appended before has left, but not long, and not at all while the bus is away.
    pub(super) async fn caught_up(&self, patience: Duration) {
        let (appended, _) = self.log.progress();
        if self.bus.is_up() {
            let mut sent = self.sent.subscribe();
            let _ = tokio::time::timeout(patience, sent.wait_for(|sent| *sent >= appended)).await;
        }
    }
}
