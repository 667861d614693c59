//! What waits in the log as what is published: channel and payload.

use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::{
    bus::Publication,
    channels::Channels,
    log::{Body, Entry, OwnedBroadcast},
    mark,
    message::{Envelope, Message},
};
use crate::{
    adapter::{
        broadcast::{Flags, Mark, Outgoing},
        msgpack::Unfit,
    },
    wire::packet::PacketKind,
};

/// The form of this instance's publications.
pub(super) struct Encoder {
    uid: Arc<str>,
    channels: Arc<Channels>,
}

impl Encoder {
    pub(super) fn new(uid: Arc<str>, channels: Arc<Channels>) -> Self {
        Self { uid, channels }
    }

    pub(super) fn encode(&self, entry: &Entry) -> Publication {
        match &entry.body {
            Body::Raw(publication) => publication.clone(),
            Body::Message(message) => self.envelope(&self.channels.everyone, entry.seq, message),
            Body::Inbox(uid, message) => self.envelope(&self.channels.inbox_of(uid), None, message),
            Body::Broadcast(broadcast) => match self.broadcast(broadcast, entry.seq) {
                Ok(publication) => publication,
                Err(error) => {
                    tracing::warn!(%error, "a packet cannot be sent to other servers");
                    // Its number must not be missed.
                    self.envelope(&self.channels.everyone, entry.seq, &Message::Nothing)
                }
            },
        }
    }

    fn envelope(&self, channel: &str, seq: Option<u64>, message: &Message) -> Publication {
        Publication {
            channel: Bytes::copy_from_slice(channel.as_bytes()),
            payload: Envelope::encode(&self.uid, seq, message),
        }
    }

    fn broadcast(&self, broadcast: &OwnedBroadcast, seq: Option<u64>) -> Result<Publication, Unfit> {
        let rooms: SmallVec<[&str; 4]> = broadcast.rooms.iter().map(|room| &**room).collect();
        let except: SmallVec<[&str; 4]> = broadcast.except.iter().map(|name| &**name).collect();
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
        let (kind, time) = mark::written(broadcast.fact);
        let payload = outgoing.encode(seq.map(|seq| Mark { kind, seq, time }))?;
        let channel = self.channels.classic.broadcast_to(&rooms);
        Ok(Publication {
            channel: Bytes::copy_from_slice(channel.as_bytes()),
            payload: payload.into(),
        })
    }
}
