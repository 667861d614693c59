//! The [`Store`] of a cluster: a hash and streams.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::history::History;
use super::keys::Keys;
use super::rooms::Rooms;
use super::state::State;
use crate::cluster::bus::{BusError, Record, Store};

/// Rooms and messages, through the connections of the bus.
pub(super) struct RedisStore {
    rooms: Rooms,
    history: History,
}

impl RedisStore {
    /// Keys begin with `prefix`.
    pub(super) fn new(state: Arc<State>, prefix: &str) -> Self {
        let keys = Keys::new(state);
        Self {
            rooms: Rooms::new(keys.clone(), prefix),
            history: History::new(keys, prefix),
        }
    }
}

impl Store for RedisStore {
    fn rooms(&self) -> BoxFuture<'_, Result<Vec<(String, Bytes)>, BusError>> {
        async { Ok(self.rooms.read().await?) }.boxed()
    }

    fn put_rooms(&self, rooms: Vec<(String, Vec<u8>)>) -> BoxFuture<'_, Result<(), BusError>> {
        async { Ok(self.rooms.put(rooms).await?) }.boxed()
    }

    fn delete_rooms(&self, ids: Vec<String>) -> BoxFuture<'_, Result<(), BusError>> {
        async { Ok(self.rooms.delete(ids).await?) }.boxed()
    }

    fn append<'a>(
        &'a self,
        room_id: &'a str,
        record: Record,
        most: Option<usize>,
    ) -> BoxFuture<'a, Result<(), BusError>> {
        async move { Ok(self.history.append(room_id, record, most).await?) }.boxed()
    }

    fn newest<'a>(&'a self, room_id: &'a str, most: usize) -> BoxFuture<'a, Result<Vec<Record>, BusError>> {
        async move { Ok(self.history.newest(room_id, most).await?) }.boxed()
    }

    fn forget<'a>(&'a self, room_id: &'a str) -> BoxFuture<'a, Result<(), BusError>> {
        async { Ok(self.history.delete(room_id).await?) }.boxed()
    }
}
