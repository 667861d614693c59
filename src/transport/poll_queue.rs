//! The queue that socketioxide keeps for one client, and what is posted to it in the client's place. Never decides which
//! packets go there.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::Response;
use socketioxide_core::{
    Str, Value,
    packet::{Packet as SocketPacket, PacketData},
};
use tokio::sync::Mutex;

use super::engine::{Engine, SessionId};
use crate::wire::packet::{Packet, PacketKind};

/// The arguments of an event that never leaves the process: it goes through the queue behind everything else, and where
/// it comes out, the session ends. Neither clients nor servers can send one of such a name.
const LAST: &str = "[\"\u{0}last\"]";

/// Whether a text packet of the library is that event.
pub(super) fn is_last(text: &str) -> bool {
    text.strip_prefix("42") == Some(LAST)
}

/// The queue of one client. Until its session has an id, nothing can be queued.
pub(super) struct PollQueue {
    engine: Arc<Engine>,
    sid: OnceLock<SessionId>,
    eio3: bool,
    /// Held by whoever polls: the library ends a session that is polled twice at a time.
    polled: Mutex<()>,
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
            polled: Mutex::const_new(()),
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

    /// Queues a packet; nothing happens when the session is gone.
    pub(super) fn push(&self, packet: &Packet) {
        let attachments = (!packet.attachments().is_empty()).then(|| packet.attachments().iter().cloned().collect());
        let args = Value::Str(Str::copy_from_slice(packet.args()), attachments);
        let binary = !packet.attachments().is_empty();
        self.queue(match packet.kind() {
            PacketKind::Event(id) if binary => PacketData::BinaryEvent(args, ack_id(id)),
            PacketKind::Event(id) => PacketData::Event(args, ack_id(id)),
            PacketKind::Ack(id) if binary => PacketData::BinaryAck(args, ack_id(Some(id)).unwrap_or(0)),
            PacketKind::Ack(id) => PacketData::EventAck(args, ack_id(Some(id)).unwrap_or(0)),
        });
    }

    /// Queues the last of all packets: where it comes out, the session ends.
    pub(super) fn push_last(&self) {
        self.queue(PacketData::Event(Value::Str(LAST.into(), None), None));
    }

    /// Has the client disconnected from its namespace once what is queued has left.
    pub(super) fn disconnect(&self) {
        if let Some(sid) = self.sid() {
            self.engine.disconnect(sid);
        }
    }

    /// Polls of it, one at a time.
    pub(super) fn turn(&self) -> &Mutex<()> {
        &self.polled
    }

    /// Waits in the client's place for what there is for it; `None` before there is a session.
    pub(super) fn poll(&self) -> Option<impl Future<Output = Response<Bytes>> + Send + 'static> {
        self.engine.poll(self.sid()?, self.eio3)
    }

    /// Posts packets as if the client had.
    pub(super) async fn post(&self, packets: &str) {
        if let Some(sid) = self.sid() {
            self.engine.post(sid, self.eio3, packets).await;
        }
    }

    fn queue(&self, inner: PacketData) {
        if let Some(sid) = self.sid() {
            self.engine.queue(sid, SocketPacket { inner, ns: "/".into() });
        }
    }
}

fn ack_id(id: Option<u64>) -> Option<i64> {
    id.and_then(|id| i64::try_from(id).ok())
}
