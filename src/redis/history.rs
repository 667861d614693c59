//! The messages of each room in a stream, `PREFIX-native:history:ROOM`: an entry for each, with the packet, its time in
//! milliseconds and its attachments in order.

use bytes::Bytes;
use fred::types::Value;

use super::error::ConnectionError;
use super::keys::{Keys, pairs, text};
use crate::cluster::bus::Record;

/// Names of an entry's fields.
const PACKET: &str = "packet";
const TIME: &str = "time";
const ATTACHMENT: &str = "attachment";

/// The streams.
pub(super) struct History {
    keys: Keys,
    prefix: String,
}

impl History {
    pub(super) fn new(keys: Keys, prefix: &str) -> Self {
        let prefix = format!("{prefix}-native:history:");
        Self { keys, prefix }
    }

    /// With `most`, Redis drops whole blocks of older entries for as long as that many remain.
    pub(super) async fn append(
        &self,
        room_id: &str,
        record: Record,
        most: Option<usize>,
    ) -> Result<(), ConnectionError> {
        let mut args = vec![self.key(room_id)];
        if let Some(most) = most {
            args.extend([text("MAXLEN"), text("~"), text(&most.to_string())]);
        }
        args.push(text("*"));
        args.extend([text(PACKET), Value::Bytes(record.args)]);
        args.extend([text(TIME), text(&record.time.to_string())]);
        for attachment in record.attachments {
            args.extend([text(ATTACHMENT), Value::Bytes(attachment)]);
        }
        self.keys.call("XADD", args).await.map(drop)
    }

    /// The newest entries, oldest first. Those that are none of ours are passed over.
    pub(super) async fn newest(&self, room_id: &str, most: usize) -> Result<Vec<Record>, ConnectionError> {
        let unexpected = || ConnectionError::unexpected("XREVRANGE");
        let range = [text("+"), text("-"), text("COUNT"), text(&most.to_string())];
        let args = std::iter::once(self.key(room_id)).chain(range).collect();
        let answer = self.keys.call("XREVRANGE", args).await?;
        let mut records = Vec::new();
        for entry in answer.into_array().into_iter().rev() {
            let fields = entry.into_array().into_iter().nth(1).ok_or_else(unexpected)?;
            records.extend(record(pairs(fields).ok_or_else(unexpected)?));
        }
        Ok(records)
    }

    pub(super) async fn delete(&self, room_id: &str) -> Result<(), ConnectionError> {
        self.keys.call("DEL", vec![self.key(room_id)]).await.map(drop)
    }

    fn key(&self, room_id: &str) -> Value {
        text(&format!("{}{room_id}", self.prefix))
    }
}

fn record(fields: Vec<(String, Bytes)>) -> Option<Record> {
    let (mut args, mut time, mut attachments) = (None, None, Vec::new());
    for (name, value) in fields {
        match name.as_str() {
            PACKET => args = Some(value),
            TIME => time = std::str::from_utf8(&value).ok()?.parse().ok(),
            ATTACHMENT => attachments.push(value),
            _ => {}
        }
    }
    Some(Record {
        args: args?,
        time: time?,
        attachments,
    })
}
