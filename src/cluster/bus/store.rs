//! What outlives the instances: the rooms of the cluster, and the messages of each.

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::error::BusError;

/// A chat message as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// JSON array of the packet's arguments.
    pub(crate) args: Bytes,
    /// When it was sent, milliseconds since the epoch.
    pub(crate) time: u64,
    /// Attachments of the packet's placeholders, in order.
    pub(crate) attachments: Vec<Bytes>,
}

/// Rooms by their ids, and the messages of each room in the order in which they were appended.
///
/// Shared by all instances, and by whatever else writes there: what is read is not trusted. Each call is tried once; an
/// error that is [`Fault::Unreachable`](super::Fault::Unreachable) says that it may have been done or not.
pub(crate) trait Store: Send + Sync + 'static {
    /// All rooms: id and value, in no order. What changes meanwhile may be there or not.
    fn rooms(&self) -> BoxFuture<'_, Result<Vec<(String, Bytes)>, BusError>>;

    /// Writes rooms; a value replaces that of the same id.
    fn put_rooms(&self, rooms: Vec<(String, Vec<u8>)>) -> BoxFuture<'_, Result<(), BusError>>;

    /// Takes rooms out. Those that are not there do no harm.
    fn delete_rooms(&self, ids: Vec<String>) -> BoxFuture<'_, Result<(), BusError>>;

    /// Appends a message to those of a room. With `most`, the oldest may be dropped for as long as that many remain.
    fn append<'a>(
        &'a self,
        room_id: &'a str,
        record: Record,
        most: Option<usize>,
    ) -> BoxFuture<'a, Result<(), BusError>>;

    /// The newest messages of a room, at most so many, oldest first; none of a room without any.
    fn newest<'a>(&'a self, room_id: &'a str, most: usize) -> BoxFuture<'a, Result<Vec<Record>, BusError>>;

    /// Deletes all messages of a room.
    fn forget<'a>(&'a self, room_id: &'a str) -> BoxFuture<'a, Result<(), BusError>>;
}
