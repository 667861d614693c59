//! Kinds of marks: what else than its packet a broadcast tells instances. The upper half of the byte is the version.

use super::message::VERSION;
use crate::ports::Fact;

/// Nothing.
pub(super) const NONE: u8 = 0;
/// It is a chat message.
pub(super) const MESSAGE: u8 = 1;
/// The socket that is left out began to type.
pub(super) const TYPING: u8 = 2;
/// It stopped typing.
pub(super) const TYPED: u8 = 3;
/// It joined the room.
pub(super) const JOINED: u8 = 4;
/// It left the room.
pub(super) const LEFT: u8 = 5;
/// Instances are not to deliver it.
pub(super) const FOREIGN: u8 = 6;

/// The byte of a fact, and the time that belongs to it.
pub(super) fn written(fact: Fact) -> (u8, u64) {
    let (kind, time) = match fact {
        Fact::None => (NONE, 0),
        Fact::Message(time) => (MESSAGE, time),
        Fact::Typing(true) => (TYPING, 0),
        Fact::Typing(false) => (TYPED, 0),
        Fact::Joined => (JOINED, 0),
        Fact::Left => (LEFT, 0),
        Fact::Foreign => (FOREIGN, 0),
    };
    (VERSION << 4 | kind, time)
}

/// The kind of a byte; or else the version that it is of.
pub(super) fn read(byte: u8) -> Result<u8, u8> {
    match byte >> 4 {
        VERSION => Ok(byte & 0x0f),
        other => Err(other),
    }
}
