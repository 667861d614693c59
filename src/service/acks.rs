//! Acknowledgements that another server waits for: counted and collected here, without JavaScript.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use bytes::Bytes;

use super::{ClientPacket, Service};
use crate::{
    hub::Socket,
    wire::packet::{Packet, PacketKind},
};

/// Ids from here on are ours; those below are given by JavaScript, for each socket.
pub(super) const FIRST_ID: u64 = 1 << 40;

/// Called with each acknowledgement: the JSON array of its arguments, and attachments.
pub type OnAck = Box<dyn Fn(&str, &[Bytes]) + Send + Sync>;

/// An event whose acknowledgements are awaited.
pub(super) struct Collected {
    until: Instant,
    on_ack: OnAck,
    sockets: Vec<Arc<Socket>>,
}

impl std::fmt::Debug for Collected {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Collected").finish_non_exhaustive()
    }
}

impl Service {
    /// Sends an event to these sockets. Until the given time, their acknowledgements go to `on_ack`. `counted` is
    /// called before, with the number of sockets that are waited for.
    pub fn emit_expecting_acks(
        &self,
        sockets: Vec<Arc<Socket>>,
        args: &str,
        attachments: Vec<Bytes>,
        until: Instant,
        counted: impl FnOnce(usize),
        on_ack: OnAck,
    ) {
        let id = FIRST_ID + self.next_ack.fetch_add(1, Ordering::Relaxed);
        let sockets: Vec<_> = sockets
            .into_iter()
            .inspect(|socket| {
                if !socket.await_remote_ack(id) {
                    tracing::debug!(
                        socket = socket.id(),
                        "an acknowledgement that another server awaits has expired"
                    );
                }
            })
            .collect();
        counted(sockets.len());
        let packet = Packet::new(PacketKind::Event(Some(id)), args, attachments);
        let collected = Collected {
            until,
            on_ack,
            sockets: sockets.clone(),
        };
        self.collected.insert(id, collected);
        for socket in sockets {
            self.send_to(&socket, packet.clone(), false);
        }
    }

    /// Takes an acknowledgement of an event that another server has sent.
    pub(super) fn collect_ack(&self, id: u64, packet: &ClientPacket<'_>) {
        if let Some(collected) = self.collected.get(&id) {
            (collected.on_ack)(packet.args, &packet.attachments);
        }
    }

    /// Waits for no acknowledgement any more.
    pub fn forget_acks(&self) {
        self.collected.clear();
    }

    /// Waits no longer for acknowledgements whose time is over.
    pub fn expire_acks(&self) {
        let now = Instant::now();
        self.collected.retain(|id, collected| {
            let is_over = collected.until <= now;
            if is_over {
                collected.sockets.iter().for_each(|socket| {
                    socket.take_ack(*id);
                });
            }
            !is_over
        });
    }
}
