//! The rooms of a cluster in one hash, `PREFIX-native:rooms`: a field for each, named by its id.

use std::collections::HashMap;

use bytes::Bytes;
use fred::types::Value;

use super::error::ConnectionError;
use super::keys::{Keys, pairs, text};

/// Fields that one command writes.
const PAGE: usize = 512;
/// Fields that one command reads.
const SCANNED: i64 = 512;

/// The hash.
pub(super) struct Rooms {
    keys: Keys,
    key: String,
}

impl Rooms {
    pub(super) fn new(keys: Keys, prefix: &str) -> Self {
        let key = format!("{prefix}-native:rooms");
        Self { keys, key }
    }

    /// All of them, in no order. Asked for in pages, which do not block Redis.
    pub(super) async fn read(&self) -> Result<Vec<(String, Bytes)>, ConnectionError> {
        let unexpected = || ConnectionError::unexpected("HSCAN");
        let mut found = HashMap::new();
        let mut cursor = text("0");
        loop {
            let args = vec![text(&self.key), cursor, text("COUNT"), Value::Integer(SCANNED)];
            let mut page = self.keys.call("HSCAN", args).await?.into_array().into_iter();
            cursor = page.next().ok_or_else(unexpected)?;
            let fields = page.next().ok_or_else(unexpected)?;
            // A field can be in two pages when the hash grows meanwhile.
            found.extend(pairs(fields).ok_or_else(unexpected)?);
            if cursor.as_bytes() == Some(b"0") {
                return Ok(found.into_iter().collect());
            }
        }
    }

    pub(super) async fn put(&self, rooms: Vec<(String, Vec<u8>)>) -> Result<(), ConnectionError> {
        let mut rooms = rooms.into_iter().peekable();
        while rooms.peek().is_some() {
            let mut args = vec![text(&self.key)];
            for (id, value) in rooms.by_ref().take(PAGE) {
                args.extend([text(&id), Value::Bytes(value.into())]);
            }
            self.keys.call("HSET", args).await?;
        }
        Ok(())
    }

    pub(super) async fn delete(&self, ids: Vec<String>) -> Result<(), ConnectionError> {
        for page in ids.chunks(PAGE) {
            let ids = page.iter().map(String::as_str);
            let args = std::iter::once(&*self.key).chain(ids).map(text).collect();
            self.keys.call("HDEL", args).await?;
        }
        Ok(())
    }
}
