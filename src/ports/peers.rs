//! What the service tells the other servers of a cluster, and the port it does so through.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::{
    disconnect::DisconnectReason,
    error::Result,
    hub::{Claim, Cut, Inheritance, Room, Socket},
    selection::Selection,
    wire::packet::Packet,
};

/// What a broadcast also tells other instances. The socket it is about is the one left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    /// Nothing.
    None,
    /// It is a chat message, sent at this time, and belongs into history.
    Message(u64),
    /// The socket began or stopped to type.
    Typing(bool),
    /// The socket joined the room.
    Joined,
    /// The socket left the room.
    Left,
    /// Instances have told their clients themselves; the packet is for Node.js servers only.
    Foreign,
}

/// A packet for clients of other servers.
#[derive(Debug, Clone, Copy)]
pub struct Broadcast<'a, 'n> {
    /// What they get.
    pub packet: &'a Packet,
    /// Who they are.
    pub selection: &'a Selection<'n>,
    /// What it also tells.
    pub fact: Fact,
}

/// What an instance asks of the one that a socket is connected to.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Command {
    /// Join this room of the registry.
    Join(String),
    /// Leave this room of the registry.
    Leave(String),
    /// Disconnect, for this reason.
    Disconnect(DisconnectReason),
}

/// A socket that goes from one instance to another.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Session {
    /// Socket id.
    pub id: String,
    /// User id.
    pub user_id: String,
    /// Display name.
    pub username: Option<String>,
    /// What `socket.user` holds, as a JSON object.
    pub profile: Option<String>,
    /// When the first connection was made, milliseconds since the epoch.
    pub connected_at: u64,
    /// The rooms that it is in, those of the registry and others.
    pub rooms: Vec<String>,
    /// What the application keeps in `socket.data`, as JSON.
    pub data: Option<String>,
    /// When it is to be closed, milliseconds since the epoch.
    pub expires_at: Option<u64>,
    /// What its client had seen, or was not meant to see, when it was registered.
    pub began: Cut,
    /// How often it has come from one instance to another.
    pub moves: u32,
    /// Not by the instance that has it, which says nothing, but by one that remembers it.
    pub is_remembered: bool,
}

/// What the instance of a socket says of it when its client has come elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// It may have it.
    Session(Session),
    /// The client is a new one.
    New,
    /// Nothing, or not in time: it may be no more.
    Nothing,
}

/// What becomes of a socket that another instance is asked to let go.
#[derive(Debug)]
pub enum Release {
    /// It has let it go: this is what the client has missed.
    Done(Inheritance),
    /// Not yet: it is in these rooms meanwhile.
    Moved(Vec<String>),
}

/// Called once with the outcome of a [`Command`].
pub type Answer = Box<dyn FnOnce(Result<()>) + Send>;

/// The other servers of a cluster. Implemented by the cluster and by the recorder of tests.
///
/// Called under the locks of the service, which give the order: never blocks, and never calls back.
pub trait Peers: Send + Sync + std::fmt::Debug {
    /// Sends a packet to those clients of other servers that are meant.
    fn broadcast(&self, broadcast: &Broadcast<'_, '_>);
    /// Tells other instances of a chat message, sent at this time, that belongs into history and goes to no client.
    fn stored(&self, room_id: &str, packet: &Packet, time: u64);
    /// Whether what is known of sockets on other instances is as new as it can be.
    fn is_current(&self) -> bool;
    /// How it stands with the cluster: `connecting`, `ready` or `degraded`.
    fn status(&self) -> &'static str;
    /// A socket was registered here, which is in these rooms already.
    fn connected(&self, socket: &Arc<Socket>, rooms: &[Arc<Room>]);
    /// A socket of this instance has come into a room outside the registry, or has left it.
    fn moved_plain(&self, socket: &Socket, name: &str, is_in: bool);
    /// A socket of this instance is gone; it has left its rooms before.
    fn disconnected(&self, socket: &Arc<Socket>);
    /// A room was created here.
    fn room_created(&self, room: &Room);
    /// A room was deleted: here, or else by another instance. These sockets of this instance were its members.
    fn room_deleted(&self, room_id: &str, members: &[Arc<Socket>], here: bool);
    /// Reads a room's messages back from where they are kept, when that is yet to be done; waits for it, but not long.
    /// Not called under a lock.
    fn restore(&self, room: &Arc<Room>);
    /// A client has come with this secret and is a new one: an instance that has the socket is to end it.
    fn moved_here(&self, secret: &str);
    /// The instance that has been here for longest, of the others.
    fn eldest(&self) -> Option<Arc<str>>;
    /// Asks an instance what the socket is whose client has come here.
    fn session(&self, instance: &Arc<str>, claim: &Claim) -> BoxFuture<'static, Told>;
    /// Has that instance let the socket go, which is registered here by now, in these rooms. Resolves to `None` when what
    /// its client has missed cannot be told, or not in time.
    fn release(&self, instance: &Arc<str>, claim: &Claim, rooms: &[String]) -> BoxFuture<'static, Option<Release>>;
    /// Resolves when as much has been heard here of each instance as a client has seen, but for that of its socket; to false
    /// when it is not in time.
    fn heard(&self, socket: &Socket, seen: &Cut) -> BoxFuture<'static, bool>;
    /// A socket of another instance was registered here, in these rooms; nobody is told. That instance was `asked`, or else it
    /// has lost the socket, should it live.
    fn arrived(&self, socket: &Arc<Socket>, rooms: &[Arc<Room>], asked: bool);
    /// A socket of this instance is gone to another one; it was in these rooms. Nobody is told.
    fn handed_over(&self, socket: &Arc<Socket>, rooms: &[Arc<Room>]);
    /// Asks the instance of a socket to do something with it.
    fn ask(&self, socket: &Socket, command: Command, answer: Answer);
}
