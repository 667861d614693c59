//! Hashes and streams: what outlives the instances.

use std::collections::HashMap;

use bytes::Bytes;
use fred::types::Value;

use super::Connections;
use super::error::ConnectionError;

/// Fields of a hash that one page asks for.
const PAGE: i64 = 512;

/// An entry of a stream: its id, and its fields in order.
pub(crate) type StreamEntry = (String, Vec<(String, Bytes)>);

impl Connections {
    /// Sets fields of a hash. Nothing happens without fields.
    pub(crate) async fn hash_set(&self, key: &str, fields: Vec<(String, Vec<u8>)>) -> Result<(), ConnectionError> {
        if fields.is_empty() {
            return Ok(());
        }
        let mut args = vec![text(key)];
        for (field, value) in fields {
            args.extend([text(&field), Value::Bytes(value.into())]);
        }
        self.call("HSET", args).await.map(drop)
    }

    /// Sets a field of a hash unless it is there; whether it was set.
    #[cfg(test)]
    pub(crate) async fn hash_set_new(&self, key: &str, field: &str, value: Vec<u8>) -> Result<bool, ConnectionError> {
        let answer = self
            .call("HSETNX", vec![text(key), text(field), Value::Bytes(value.into())])
            .await?;
        answer
            .as_u64()
            .map(|set| set == 1)
            .ok_or_else(|| ConnectionError::unexpected("HSETNX"))
    }

    /// A field of a hash.
    #[cfg(test)]
    pub(crate) async fn hash_get(&self, key: &str, field: &str) -> Result<Option<Bytes>, ConnectionError> {
        match self.call("HGET", vec![text(key), text(field)]).await? {
            Value::Null => Ok(None),
            value => value
                .into_bytes()
                .map(Some)
                .ok_or_else(|| ConnectionError::unexpected("HGET")),
        }
    }

    /// Deletes fields of a hash. Nothing happens without fields.
    pub(crate) async fn hash_delete(&self, key: &str, fields: Vec<String>) -> Result<(), ConnectionError> {
        if fields.is_empty() {
            return Ok(());
        }
        let args = std::iter::once(key)
            .chain(fields.iter().map(String::as_str))
            .map(text)
            .collect();
        self.call("HDEL", args).await.map(drop)
    }

    /// All fields of a hash, in no order. Asked for in pages, which do not block Redis; what changes in between may be
    /// there or not.
    pub(crate) async fn hash_all(&self, key: &str) -> Result<Vec<(String, Bytes)>, ConnectionError> {
        let unexpected = || ConnectionError::unexpected("HSCAN");
        let mut found = HashMap::new();
        let mut cursor = text("0");
        loop {
            let args = vec![text(key), cursor, text("COUNT"), Value::Integer(PAGE)];
            let mut page = self.call("HSCAN", args).await?.into_array().into_iter();
            cursor = page.next().ok_or_else(unexpected)?;
            let fields = page.next().ok_or_else(unexpected)?;
            // A field can be in two pages when the hash grows meanwhile.
            found.extend(pairs(fields).ok_or_else(unexpected)?);
            if cursor.as_bytes() == Some(b"0") {
                return Ok(found.into_iter().collect());
            }
        }
    }

    /// Appends to a stream and returns the id of the entry. With `max_len`, whole blocks of older entries are dropped
    /// for as long as that many remain.
    pub(crate) async fn stream_append(
        &self,
        key: &str,
        fields: Vec<(&str, Bytes)>,
        max_len: Option<usize>,
    ) -> Result<String, ConnectionError> {
        let mut args = vec![text(key)];
        if let Some(max_len) = max_len {
            args.extend([text("MAXLEN"), text("~"), text(&max_len.to_string())]);
        }
        args.push(text("*"));
        for (field, value) in fields {
            args.extend([text(field), Value::Bytes(value)]);
        }
        let answer = self.call("XADD", args).await?;
        answer.into_string().ok_or_else(|| ConnectionError::unexpected("XADD"))
    }

    /// The newest entries of a stream, newest first; with `before`, those older than the entry of this id.
    pub(crate) async fn stream_newest(
        &self,
        key: &str,
        count: usize,
        before: Option<String>,
    ) -> Result<Vec<StreamEntry>, ConnectionError> {
        let newest = before.map_or_else(|| "+".to_owned(), |id| format!("({id}"));
        let args = vec![
            text(key),
            text(&newest),
            text("-"),
            text("COUNT"),
            text(&count.to_string()),
        ];
        let answer = self.call("XREVRANGE", args).await?;
        let entries: Option<Vec<_>> = answer.into_array().into_iter().map(entry).collect();
        entries.ok_or_else(|| ConnectionError::unexpected("XREVRANGE"))
    }

    /// Deletes a key.
    pub(crate) async fn delete(&self, key: &str) -> Result<(), ConnectionError> {
        self.call("DEL", vec![text(key)]).await.map(drop)
    }

    async fn call(&self, name: &'static str, args: Vec<Value>) -> Result<Value, ConnectionError> {
        let key = args.first().and_then(Value::as_str).map(|key| key.into_owned());
        let outcome = self.keys().await?.call(name, args).await;
        outcome.map_err(|error| match error {
            ConnectionError::WrongType(_) => error.at(&key.unwrap_or_default()),
            other => other,
        })
    }
}

fn text(text: &str) -> Value {
    Value::Bytes(Bytes::copy_from_slice(text.as_bytes()))
}

fn entry(value: Value) -> Option<StreamEntry> {
    let mut parts = value.into_array().into_iter();
    let id = parts.next()?.into_string()?;
    Some((id, pairs(parts.next()?)?))
}

fn pairs(value: Value) -> Option<Vec<(String, Bytes)>> {
    let mut flat = value.into_array().into_iter();
    let mut pairs = Vec::with_capacity(flat.len() / 2);
    while let Some(field) = flat.next() {
        pairs.push((field.into_string()?, flat.next()?.into_bytes()?));
    }
    Some(pairs)
}
