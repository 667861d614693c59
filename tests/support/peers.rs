//! Plays the other servers' part: notes what the service tells them, in order.

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt as _, ready};
use native_websocket_service::{
    error::Error,
    hub::{Claim, Cut, Room, Socket},
    ports::{Answer, Broadcast, Command, Fact, Peers, Release, Told as Answered},
    wire::packet::Packet,
};
use parking_lot::Mutex;

/// Something that the other servers were told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// A packet for the members of a room, and what it also tells of the socket that is left out.
    ForRoom(String, String, Fact, Option<String>),
    /// A packet for everyone.
    ForEveryone(String),
    /// A socket was registered.
    Connected(String),
    /// A socket is gone.
    Disconnected(String),
}

/// The other servers of a cluster, which say nothing.
#[derive(Debug, Default)]
pub struct RecordedPeers(Mutex<Vec<Told>>);

impl RecordedPeers {
    pub fn told(&self) -> Vec<Told> {
        self.0.lock().clone()
    }
}

impl Peers for RecordedPeers {
    fn moved_here(&self, _: &str) {}

    fn eldest(&self) -> Option<Arc<str>> {
        None
    }

    fn session(&self, _: &Arc<str>, _: &Claim) -> BoxFuture<'static, Answered> {
        ready(Answered::Nothing).boxed()
    }

    fn heard(&self, _: &Socket, _: &Cut) -> BoxFuture<'static, bool> {
        ready(false).boxed()
    }

    fn release(&self, _: &Arc<str>, _: &Claim, _: &[String]) -> BoxFuture<'static, Option<Release>> {
        ready(None).boxed()
    }

    fn arrived(&self, _: &Arc<Socket>, _: &[Arc<Room>], _: bool) {}

    fn handed_over(&self, _: &Arc<Socket>, _: &[Arc<Room>]) {}

    fn broadcast(&self, broadcast: &Broadcast<'_, '_>) {
        let args = broadcast.packet.args().to_owned();
        let told = match broadcast.selection.rooms.first() {
            Some(room) => {
                let but = broadcast.selection.except.first().map(|socket| socket.to_string());
                Told::ForRoom(room.to_string(), args, broadcast.fact, but)
            }
            None => Told::ForEveryone(args),
        };
        self.0.lock().push(told);
    }

    fn stored(&self, _: &str, _: &Packet, _: u64) {}

    fn is_current(&self) -> bool {
        true
    }

    fn status(&self) -> &'static str {
        "ready"
    }

    fn moved_plain(&self, _: &Socket, _: &str, _: bool) {}

    fn connected(&self, socket: &Arc<Socket>, _: &[Arc<Room>]) {
        self.0.lock().push(Told::Connected(socket.id().to_owned()));
    }

    fn disconnected(&self, socket: &Arc<Socket>) {
        self.0.lock().push(Told::Disconnected(socket.id().to_owned()));
    }

    fn room_created(&self, _: &Room) {}

    fn room_deleted(&self, _: &str, _: &[Arc<Socket>], _: bool) {}

    fn restore(&self, _: &Arc<Room>) {}

    fn ask(&self, _: &Socket, _: Command, answer: Answer) {
        answer(Err(Error::UserNotFound));
    }
}
