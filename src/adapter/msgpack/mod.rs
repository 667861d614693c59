//! MessagePack as `notepack.io` 3 writes and reads it, and JSON text, the form in which packets live here.
//!
//! | module | owns |
//! |---|---|
//! | [`writer`] | values to MessagePack, each in its smallest form |
//! | [`text`] | JSON text to MessagePack |
//! | [`reader`] | MessagePack to values and to JSON text |
//!
//! Nothing here recurses, trusts a declared length or takes more than linear time: what arrives comes from the
//! network, and what leaves goes to peers that crash on bytes that do not decode.

mod reader;
mod text;
mod writer;

pub(crate) use reader::{Reader, Token};
pub(crate) use text::from_json;
pub(crate) use writer::Writer;

use crate::config::MOST_DEPTH;

/// Containers within containers in one value: the deepest argument in its array, with a chat message around it and a
/// placeholder in it. A Node.js peer decodes by recursion, so much deeper values could end it.
pub(crate) const MAX_DEPTH: usize = MOST_DEPTH + 4;

/// What a reader follows: as deep a value with the message around it.
const MAX_READ_DEPTH: usize = MAX_DEPTH + 8;

/// Why a value cannot be sent to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfit {
    /// More than [`MAX_DEPTH`] containers within each other.
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// Not the JSON text that belongs there.
    #[error("not the expected JSON text")]
    NotJson,
    /// A length does not fit in 32 bits.
    #[error("longer than MessagePack can tell")]
    TooLong,
}

/// Why bytes from the cluster do not decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// The bytes end within a value.
    #[error("truncated")]
    Truncated,
    /// Bytes follow the value.
    #[error("trailing bytes")]
    Trailing,
    /// A string is not UTF-8.
    #[error("a string is not UTF-8")]
    Utf8,
    /// A marker that MessagePack does not use, or an extension that nobody here writes.
    #[error("unknown marker or extension")]
    Unknown,
    /// More than [`MAX_DEPTH`] containers within each other.
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// More binary attachments than a packet may have.
    #[error("too many binary attachments")]
    TooManyAttachments,
    /// A value of another type than belongs there.
    #[error("unexpected type of {0}")]
    Type(&'static str),
    /// A member that must be there is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// An event name that a client must not receive.
    #[error("a reserved event")]
    Reserved,
    /// Not JSON, or not of the expected shape.
    #[error("not the expected JSON")]
    Json,
}

/// Bytes as hexadecimal text, for the captures in tests.
#[cfg(test)]
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes of hexadecimal text.
#[cfg(test)]
pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}
