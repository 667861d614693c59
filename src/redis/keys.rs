//! Commands about keys, through whichever connection takes them, and what their answers are made of.

use std::sync::Arc;

use bytes::Bytes;
use fred::types::Value;

use super::error::ConnectionError;
use super::state::State;

/// What reads and writes keys.
#[derive(Clone)]
pub(super) struct Keys(Arc<State>);

impl Keys {
    pub(super) fn new(state: Arc<State>) -> Self {
        Self(state)
    }

    /// Sends a command whose first argument is a key, and waits for its answer.
    pub(super) async fn call(&self, name: &'static str, args: Vec<Value>) -> Result<Value, ConnectionError> {
        let key = args.first().and_then(Value::as_str).map(|key| key.into_owned());
        let outcome = self.0.keys().await?.call(name, args).await;
        outcome.map_err(|error| match error {
            ConnectionError::WrongType(_) => error.at(&key.unwrap_or_default()),
            other => other,
        })
    }
}

pub(super) fn text(text: &str) -> Value {
    Value::Bytes(Bytes::copy_from_slice(text.as_bytes()))
}

/// A list of names, each followed by its value.
pub(super) fn pairs(value: Value) -> Option<Vec<(String, Bytes)>> {
    let mut flat = value.into_array().into_iter();
    let mut pairs = Vec::with_capacity(flat.len() / 2);
    while let Some(name) = flat.next() {
        pairs.push((name.into_string()?, flat.next()?.into_bytes()?));
    }
    Some(pairs)
}
