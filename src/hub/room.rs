//! A room: its facts, and the state that its short lock protects. What its members are, is not known here: they know it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};

use super::{
    History,
    members::{Members, Recipient},
};
use crate::config::MembershipEvents;

/// What does not change while a room lives.
#[derive(Debug, Clone)]
pub struct RoomInfo {
    /// UUID of a registered room, or the name of a plain Socket.IO room.
    pub id: Box<str>,
    /// Display name.
    pub name: Box<str>,
    /// The room's namespace label.
    pub label: Box<str>,
    /// Creation time, milliseconds since the epoch.
    pub created_at: u64,
    /// User id of whoever created it; known in a cluster.
    pub created_by: Option<Box<str>>,
    /// JSON object given at creation; known in a cluster.
    pub metadata: Option<Box<str>>,
    /// What its members are told of those who come and go, where that is not left to the service.
    pub membership_events: Option<MembershipEvents>,
    /// Whether clients may come in only as `authorize.join` allows, or the server.
    pub private: bool,
    /// Whether the room is in the registry.
    pub registered: bool,
}

impl RoomInfo {
    /// A Socket.IO room outside the registry.
    pub fn plain(name: &str) -> Self {
        Self {
            id: name.into(),
            name: name.into(),
            label: "".into(),
            created_at: 0,
            created_by: None,
            metadata: None,
            membership_events: None,
            private: false,
            registered: false,
        }
    }
}

/// What a room's lock protects. Appending to history and handing a packet to the fan-out happen under one lock, so
/// that every member and the history see one order.
#[derive(Debug)]
pub struct RoomState<R> {
    /// Who is in the room.
    pub members: Members<R>,
    /// What was said in the room.
    pub history: History,
    /// Who came and went that the members have yet to be told of.
    pub movements: Movements,
    /// The room left the registry; nobody may join any more.
    pub deleted: bool,
}

/// How many came and went.
#[derive(Debug, Clone, Copy, Default)]
pub struct Movements {
    /// Came.
    pub joined: u32,
    /// Went.
    pub left: u32,
}

impl Movements {
    /// Whether there were any.
    pub fn is_any(self) -> bool {
        self.joined > 0 || self.left > 0
    }
}

/// A room.
#[derive(Debug)]
pub struct Room<R> {
    /// What does not change.
    pub info: RoomInfo,
    /// Counts the rooms of the process, in the order in which they were made or learnt of.
    pub order: u64,
    state: Mutex<RoomState<R>>,
    /// JavaScript holds an object of this room.
    touched: AtomicBool,
}

static NEXT: AtomicU64 = AtomicU64::new(0);

impl<R: Recipient> Room<R> {
    /// An empty room whose members are kept in `shards` parts.
    pub fn new(info: RoomInfo, shards: usize) -> Self {
        Self {
            info,
            order: NEXT.fetch_add(1, Ordering::Relaxed),
            touched: AtomicBool::new(false),
            state: Mutex::new(RoomState {
                members: Members::new(shards),
                history: History::default(),
                movements: Movements::default(),
                deleted: false,
            }),
        }
    }

    /// Notes that JavaScript holds an object of this room. Returns whether it did before.
    pub fn touch(&self) -> bool {
        self.touched.swap(true, Ordering::AcqRel)
    }

    /// Locks the state. Hold it briefly: never across an `.await` or a call into JavaScript.
    pub fn state(&self) -> MutexGuard<'_, RoomState<R>> {
        self.state.lock()
    }
}
