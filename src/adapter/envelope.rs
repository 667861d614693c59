//! What requests and responses have in common: JSON, or MessagePack where a packet travels.

use std::borrow::Cow;

use bytes::Bytes;

use crate::adapter::msgpack::{Malformed, Reader};

/// The type of `serverSideEmit`, which its answer repeats.
pub(super) const SERVER_SIDE_EMIT: u64 = 6;

/// The text of a message in JSON or MessagePack: the adapter tells them by the first byte. Placeholders are numbered
/// from `first`.
pub(super) fn json_of(payload: &[u8], first: usize) -> Result<(Cow<'_, str>, Vec<Bytes>), Malformed> {
    if payload.first() == Some(&b'{') {
        let text = simdutf8::basic::from_utf8(payload).map_err(|_| Malformed::Utf8)?;
        return Ok((Cow::Borrowed(text), Vec::new()));
    }
    let (mut json, mut attachments) = (String::new(), Vec::new());
    let mut reader = Reader::new(payload);
    reader.read_json(&mut json, &mut attachments, first)?;
    reader.finish()?;
    if !json.starts_with('{') {
        return Err(Malformed::Type("a message"));
    }
    Ok((Cow::Owned(json), attachments))
}
