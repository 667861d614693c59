//! Where a client stands with its transport: which one it is on, which way its packets take, and how far its end has
//! come. One value, which every part of the transport reads; what may follow what is said here and nowhere else. Never
//! does anything about it.
//!
//! What a socket has with its namespace is not part of it: that owns what waits for the answer to CONNECT, and so lives
//! in the session. Nor is that a POST is being read, or that the library is to be told of a heartbeat: such a mark is
//! taken by whoever sees it first, and nothing follows from it.

use crate::{
    link::Ending,
    sync::atomic::{AtomicU16, Ordering},
};

/// Which transport a client is on, and how its packets leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Long-polling.
    Polling(Upgrade, Polled),
    /// WebSocket, from the beginning or after an upgrade. There is no way back.
    WebSocket(Written),
}

/// How far the client has come on its way from polling to WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Upgrade {
    /// It has not set out, or has failed.
    None,
    /// It has opened the stream.
    Begun,
    /// Its probe was answered: it waits for its poll to end, and completes the upgrade.
    Probed,
}

/// How the packets of a polling client leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Polled {
    /// They wait for the CONNECT answer.
    Held,
    /// With the next poll.
    Queued,
}

/// How the packets of a client on WebSocket leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    /// They wait for the CONNECT answer.
    Held,
    /// Straight to the stream.
    Direct,
}

/// How far the end of a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Nobody has asked for it.
    Open,
    /// The server has, while packets were held: they go first.
    Asked(Ending),
    /// The goodbye is on its way through the queue.
    Leaving,
    /// The close frame is on its way: nothing more is sent, nor taken from the client. On WebSocket only.
    Closing,
    /// Nothing can be sent any more.
    Closed,
}

/// Which way a packet takes that is sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// It is held.
    Held,
    /// With the next poll.
    Queue,
    /// Straight to the stream.
    Direct,
}

/// Where a client stands with its transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Phase {
    way: Way,
    end: End,
    is_over: bool,
}

/// What is.
impl Phase {
    /// Which way a packet takes.
    pub(super) fn route(self) -> Route {
        match self.way {
            Way::Polling(_, Polled::Queued) => Route::Queue,
            Way::WebSocket(Written::Direct) => Route::Direct,
            Way::Polling(_, Polled::Held) | Way::WebSocket(Written::Held) => Route::Held,
        }
    }

    /// Whether the client is on WebSocket.
    pub(super) fn is_on_websocket(self) -> bool {
        matches!(self.way, Way::WebSocket(_))
    }

    /// Whether the client polls and is trying to move to WebSocket.
    pub(super) fn is_upgrading(self) -> bool {
        matches!(self.way, Way::Polling(Upgrade::Begun | Upgrade::Probed, _))
    }

    /// Whether the client polls and its probe was answered.
    pub(super) fn is_probed(self) -> bool {
        matches!(self.way, Way::Polling(Upgrade::Probed, _))
    }

    /// Whether a poll is to end that waits: the client's probe was answered, or it has moved already.
    pub(super) fn ends_polls(self) -> bool {
        self.is_probed() || self.is_on_websocket()
    }

    /// Whether the server says goodbye, or has.
    pub(super) fn is_ending(self) -> bool {
        self.end != End::Open
    }

    /// Whether the goodbye is on its way through the queue.
    pub(super) fn is_leaving(self) -> bool {
        self.end == End::Leaving
    }

    /// Whether nothing more is sent: what still comes from the client is ignored.
    pub(super) fn is_closing(self) -> bool {
        matches!(self.end, End::Closing | End::Closed)
    }

    /// Whether nothing can be sent any more.
    pub(super) fn is_closed(self) -> bool {
        self.end == End::Closed
    }

    /// Whether the session has ended.
    pub(super) fn is_over(self) -> bool {
        self.is_over
    }

    /// What the server asked for while packets were held.
    pub(super) fn asked(self) -> Option<Ending> {
        match self.end {
            End::Asked(ending) => Some(ending),
            _ => None,
        }
    }
}

/// What may follow. `None` where a step may not, and changes nothing.
impl Phase {
    /// A session begins, on WebSocket or polling; its packets are held.
    pub(super) fn begin(on_websocket: bool) -> Self {
        let way = match on_websocket {
            true => Way::WebSocket(Written::Held),
            false => Way::Polling(Upgrade::None, Polled::Held),
        };
        Self {
            way,
            end: End::Open,
            is_over: false,
        }
    }

    /// A polling client opens a stream to move to; one at a time.
    pub(super) fn begin_upgrade(self) -> Option<Self> {
        match self.way {
            Way::Polling(Upgrade::None, packets) => Some(self.on(Way::Polling(Upgrade::Begun, packets))),
            _ => None,
        }
    }

    /// The probe of a client that has begun to move is answered.
    pub(super) fn probe(self) -> Option<Self> {
        match self.way {
            Way::Polling(Upgrade::Begun, packets) => Some(self.on(Way::Polling(Upgrade::Probed, packets))),
            _ => None,
        }
    }

    /// A client whose probe was answered has moved. What waits for a poll goes to the stream first.
    pub(super) fn upgrade(self) -> Option<Self> {
        match self.way {
            Way::Polling(Upgrade::Probed, Polled::Held) => Some(self.on(Way::WebSocket(Written::Held))),
            Way::Polling(Upgrade::Probed, Polled::Queued) => Some(self.on(Way::WebSocket(Written::Direct))),
            _ => None,
        }
    }

    /// A client that has begun to move goes on polling.
    pub(super) fn fail_upgrade(self) -> Option<Self> {
        match self.way {
            Way::Polling(Upgrade::Begun | Upgrade::Probed, packets) => {
                Some(self.on(Way::Polling(Upgrade::None, packets)))
            }
            _ => None,
        }
    }

    /// A new socket on the transport: packets are held until its CONNECT answer has passed.
    pub(super) fn hold(self) -> Option<Self> {
        Some(self.on(match self.way {
            Way::Polling(upgrade, _) => Way::Polling(upgrade, Polled::Held),
            Way::WebSocket(_) => Way::WebSocket(Written::Held),
        }))
    }

    /// The CONNECT answer is on its way. Packets follow it at once, whether the socket is registered or not: before that
    /// there are none.
    pub(super) fn pass_answer(self) -> Option<Self> {
        match self.way {
            Way::Polling(upgrade, Polled::Held) => Some(self.on(Way::Polling(upgrade, Polled::Queued))),
            Way::WebSocket(Written::Held) => Some(self.on(Way::WebSocket(Written::Direct))),
            _ => None,
        }
    }

    /// The server ends the connection while packets are held. The last that it asks for counts; not once it ends
    /// already.
    pub(super) fn ask(self, ending: Ending) -> Option<Self> {
        match (self.end, self.route()) {
            (End::Open | End::Asked(_), Route::Held) => Some(self.to(End::Asked(ending))),
            _ => None,
        }
    }

    /// What the server asked for is about to be done: the held packets have gone.
    pub(super) fn release(self) -> Option<Self> {
        match (self.end, self.route()) {
            (End::Asked(_), Route::Queue | Route::Direct) => Some(self.to(End::Open)),
            _ => None,
        }
    }

    /// The goodbye goes through the queue, whatever is held: the session ends when the client has fetched it.
    pub(super) fn leave(self) -> Option<Self> {
        match (self.end, self.way) {
            (End::Open | End::Asked(_), Way::Polling(..)) => Some(self.to(End::Leaving)),
            _ => None,
        }
    }

    /// The close frame goes: the last that is sent on a WebSocket.
    pub(super) fn close(self) -> Option<Self> {
        match (self.end, self.way) {
            (End::Open | End::Asked(_) | End::Leaving, Way::WebSocket(_)) => Some(self.to(End::Closing)),
            _ => None,
        }
    }

    /// Nothing can be sent any more; from everywhere.
    pub(super) fn kill(self) -> Option<Self> {
        (self.end != End::Closed).then(|| self.to(End::Closed))
    }

    /// The session has ended; once, from everywhere. A close frame may still be on its way, and a client that is just
    /// moving to WebSocket completes that.
    pub(super) fn finish(self) -> Option<Self> {
        (!self.is_over).then_some(Self { is_over: true, ..self })
    }

    fn on(self, way: Way) -> Self {
        Self { way, ..self }
    }

    fn to(self, end: End) -> Self {
        Self { end, ..self }
    }
}

/// The phase of one client, for threads to share. Steps that move packets are taken under the lock of the outbox: who
/// holds it sees no change of the route. Reading it needs no lock, whether that is held or not.
#[derive(Debug)]
pub(super) struct PhaseCell(AtomicU16);

impl PhaseCell {
    /// Begins with this phase.
    pub(super) fn new(phase: Phase) -> Self {
        Self(AtomicU16::new(phase.pack()))
    }

    /// Now.
    pub(super) fn get(&self) -> Phase {
        Phase::unpack(self.0.load(Ordering::Acquire))
    }

    /// Takes a step, unless it may not follow. Returns the phase before it.
    pub(super) fn step(&self, next: impl Fn(Phase) -> Option<Phase>) -> Option<Phase> {
        let next = |bits| next(Phase::unpack(bits)).map(Phase::pack);
        let before = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
        before.ok().map(Phase::unpack)
    }
}

/// One bit for WebSocket, one for the packets, two for the upgrade, three for the end, one for what is over.
const PACKETS: u16 = 1;
const UPGRADE: u16 = 2;
const END: u16 = 4;
const OVER: u16 = 7;

impl Phase {
    fn pack(self) -> u16 {
        let way = match self.way {
            Way::Polling(upgrade, packets) => {
                let packets = match packets {
                    Polled::Held => 0,
                    Polled::Queued => 1,
                };
                let upgrade = match upgrade {
                    Upgrade::None => 0,
                    Upgrade::Begun => 1,
                    Upgrade::Probed => 2,
                };
                packets << PACKETS | upgrade << UPGRADE
            }
            Way::WebSocket(packets) => {
                let packets = match packets {
                    Written::Held => 0,
                    Written::Direct => 1,
                };
                1 | packets << PACKETS
            }
        };
        let end = match self.end {
            End::Open => 0,
            End::Asked(Ending::Leave) => 1,
            End::Asked(Ending::Kick) => 2,
            End::Asked(Ending::Close) => 3,
            End::Leaving => 4,
            End::Closing => 5,
            End::Closed => 6,
        };
        way | end << END | u16::from(self.is_over) << OVER
    }

    fn unpack(bits: u16) -> Self {
        let way = if bits & 1 == 1 {
            Way::WebSocket(match bits >> PACKETS & 1 {
                0 => Written::Held,
                _ => Written::Direct,
            })
        } else {
            let upgrade = match bits >> UPGRADE & 3 {
                0 => Upgrade::None,
                1 => Upgrade::Begun,
                _ => Upgrade::Probed,
            };
            let packets = match bits >> PACKETS & 1 {
                0 => Polled::Held,
                _ => Polled::Queued,
            };
            Way::Polling(upgrade, packets)
        };
        let end = match bits >> END & 7 {
            0 => End::Open,
            1 => End::Asked(Ending::Leave),
            2 => End::Asked(Ending::Kick),
            3 => End::Asked(Ending::Close),
            4 => End::Leaving,
            5 => End::Closing,
            _ => End::Closed,
        };
        Self {
            way,
            end,
            is_over: bits >> OVER & 1 == 1,
        }
    }
}

#[cfg(test)]
mod tests;
