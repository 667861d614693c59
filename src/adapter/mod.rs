//! The messages of `@socket.io/redis-adapter` 8 and `@socket.io/redis-emitter`, byte for byte.
//!
//! | module | owns |
//! |---|---|
//! | [`channels`] | names of the channels |
//! | [`envelope`] | what requests and responses have in common |
//! | [`broadcast`] | packets to the clients of every server, with the mark of our own |
//! | [`request`] | what servers ask of each other |
//! | [`response`] | what they answer |
//! | [`name`] | names of rooms and events, which may be numbers |
//! | [`msgpack`] | JSON text to MessagePack and back, without recursion |
//!
//! Knows the bytes alone: who sends, counts answers and waits is elsewhere. What arrives is untrusted: anything odd
//! is an error, and nothing panics or recurses without bound.

pub(crate) mod broadcast;
pub(crate) mod channels;
mod envelope;
pub(crate) mod msgpack;
mod name;
pub(crate) mod request;
pub(crate) mod response;

use crate::wire::id;

/// The only namespace of this package.
const NAMESPACE: &str = "/";
/// Characters of a server's uid and of a request id.
const ID_LENGTH: usize = 6;

/// A server's uid or a request id: 6 characters of `[A-Za-z0-9_-]`. `None` when the system has no random bytes.
pub(crate) fn random_id() -> Option<Box<str>> {
    let id = id::random::<ID_LENGTH>()?;
    std::str::from_utf8(&id).ok().map(Into::into)
}

#[cfg(test)]
mod tests;
