//! Takes what waits in the log, encodes it and publishes it in order, for as long as Redis is there.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;

use super::{
    Cluster,
    log::{Body, Entry, OwnedBroadcast},
    message::{Envelope, Message, VERSION},
};
use crate::{
    adapter::{
        broadcast::{Flags, Mark, Outgoing},
        msgpack::Unfit,
    },
    ports::Fact,
    wire::packet::PacketKind,
};

/// Publications, and their bytes, that are sent before the answers of Redis are awaited.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 1 << 20;
/// How long the end of a connection may take to be noticed.
const PAUSE: Duration = Duration::from_millis(20);

/// Kinds of marks: what a broadcast tells instances besides its packet. The upper half of the byte is the version.
pub(super) mod kind {
    use super::VERSION;

    /// The byte of a kind.
    pub(in crate::cluster) fn written(kind: u8) -> u8 {
        VERSION << 4 | kind
    }

    /// The kind of a byte; or else the version that it is of.
    pub(in crate::cluster) fn read(byte: u8) -> Result<u8, u8> {
        match byte >> 4 {
            VERSION => Ok(byte & 0x0f),
            other => Err(other),
        }
    }

    /// Nothing.
    pub(in crate::cluster) const NONE: u8 = 0;
    /// It is a chat message.
    pub(in crate::cluster) const MESSAGE: u8 = 1;
    /// The socket that is left out began to type.
    pub(in crate::cluster) const TYPING: u8 = 2;
    /// It ceased to type.
    pub(in crate::cluster) const TYPED: u8 = 3;
    /// It joined the room.
    pub(in crate::cluster) const JOINED: u8 = 4;
    /// It left the room.
    pub(in crate::cluster) const LEFT: u8 = 5;
    /// Instances are not to deliver it.
    pub(in crate::cluster) const FOREIGN: u8 = 6;
}

impl Cluster {
    /// Publishes for ever.
    pub(super) async fn publish(self: Arc<Self>) {
        loop {
            self.connections.until_up().await;
            // What is yet to be in the directory is there before anybody hears of it.
            if !self.write_directory().await {
                // What is taken from the log now could only be lost.
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            let entries = self.outbox.log.take(BATCH, BATCH_BYTES);
            if entries.is_empty() {
                self.outbox.log.appended().await;
                continue;
            }
            let batch: Vec<_> = entries.iter().filter_map(|entry| self.encode(entry)).collect();
            let count = batch.len() as u64;
            match self.connections.publish(batch).await {
                Ok(()) => {
                    self.published.fetch_add(count, Ordering::Relaxed);
                }
                // Whether Redis has taken them is unknown, so they are not sent again: nothing arrives twice on
                // Node.js servers. Instances ask for what they missed.
                Err(error) => tracing::debug!(%error, count, "publications were interrupted"),
            }
            self.sent.send_replace(self.outbox.log.progress().1);
        }
    }

    /// Channel and payload of an entry; `None` when it has none.
    pub(super) fn encode(&self, entry: &Entry) -> Option<(Bytes, Bytes)> {
        match &entry.body {
            Body::Raw(channel, payload) => Some((channel.clone(), payload.clone())),
            Body::Message(message) => Some(self.envelope(&self.channels.everyone, entry.seq, message)),
            Body::Inbox(uid, message) => Some(self.envelope(&self.channels.inbox_of(uid), None, message)),
            Body::Broadcast(broadcast) => match self.encode_broadcast(broadcast, entry.seq) {
                Ok(published) => Some(published),
                Err(error) => {
                    tracing::warn!(%error, "a packet cannot be sent to other servers");
                    // Its number must not be missed.
                    Some(self.envelope(&self.channels.everyone, entry.seq, &Message::Nothing))
                }
            },
        }
    }

    fn envelope(&self, channel: &str, seq: Option<u64>, message: &Message) -> (Bytes, Bytes) {
        let payload = Envelope::encode(&self.uid, seq, message);
        (Bytes::copy_from_slice(channel.as_bytes()), payload)
    }

    fn encode_broadcast(&self, broadcast: &OwnedBroadcast, seq: Option<u64>) -> Result<(Bytes, Bytes), Unfit> {
        let rooms: Vec<&str> = broadcast.rooms.iter().map(|room| &**room).collect();
        let except: Vec<&str> = broadcast.except.iter().map(|name| &**name).collect();
        let outgoing = Outgoing {
            uid: &self.uid,
            args: broadcast.packet.args(),
            attachments: broadcast.packet.attachments(),
            rooms: &rooms,
            except: &except,
            flags: Flags {
                volatile: broadcast.volatile,
                ..Flags::default()
            },
        };
        debug_assert_eq!(broadcast.packet.kind(), PacketKind::Event(None));
        let (kind, time) = match broadcast.fact {
            Fact::None => (kind::NONE, 0),
            Fact::Message(time) => (kind::MESSAGE, time),
            Fact::Typing(true) => (kind::TYPING, 0),
            Fact::Typing(false) => (kind::TYPED, 0),
            Fact::Joined => (kind::JOINED, 0),
            Fact::Left => (kind::LEFT, 0),
            Fact::Foreign => (kind::FOREIGN, 0),
        };
        let kind = kind::written(kind);
        let mark = seq.map(|seq| Mark { kind, seq, time });
        let payload = outgoing.encode(mark)?;
        let channel = self.channels.classic.broadcast_to(&rooms);
        Ok((Bytes::copy_from_slice(channel.as_bytes()), payload.into()))
    }
}
