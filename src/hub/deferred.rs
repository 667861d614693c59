//! Packets of a client that wait: for a decision about the one before them, and for their turn.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::backpressure::Charge;

/// A packet of a client that waits. It is charged to the client, which is not read from when too much waits.
#[derive(Debug)]
pub struct Deferred {
    /// JSON array of arguments.
    pub args: String,
    /// Binary attachments.
    pub attachments: Vec<Bytes>,
    /// Id of an acknowledgement.
    pub id: Option<u64>,
    /// Whether it is an acknowledgement itself.
    pub is_ack: bool,
    /// What it costs its client.
    pub charge: Option<Charge>,
}

/// What waits of one client.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// The packet that is being decided, and the number of the question.
    deciding: Option<(u64, Deferred)>,
    behind: VecDeque<Deferred>,
}

impl Waiting {
    /// A packet is to be decided; what comes after it waits.
    pub(super) fn decide(&mut self, number: u64, packet: Deferred) {
        self.deciding = Some((number, packet));
    }

    /// A packet waits behind those that do.
    pub(super) fn push(&mut self, packet: Deferred) {
        self.behind.push_back(packet);
    }

    /// The packet about which this question was; `None` when it has been answered.
    pub(super) fn decided(&mut self, number: u64) -> Option<Deferred> {
        let (_, packet) = self.deciding.take_if(|(asked, _)| *asked == number)?;
        Some(packet)
    }

    /// The packet whose turn it is.
    pub(super) fn next(&mut self) -> Option<Deferred> {
        match self.deciding {
            Some(_) => None,
            None => self.behind.pop_front(),
        }
    }

    /// Whether a packet that comes now need not wait.
    pub(super) fn is_over(&self) -> bool {
        self.deciding.is_none() && self.behind.is_empty()
    }
}
