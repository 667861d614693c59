//! The messages of `@socket.io/redis-adapter` 8 and `@socket.io/redis-emitter`, byte for byte.
//!
//! | module | owns |
//! |---|---|
//! | [`channels`] | names of the channels |
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
pub(crate) mod msgpack;
mod name;
pub(crate) mod request;
pub(crate) mod response;

/// The only namespace of this package.
const NAMESPACE: &str = "/";
/// Characters of a server's uid and of a request id.
const ID_LENGTH: usize = 6;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A server's uid or a request id: 6 characters of `[A-Za-z0-9_-]`. `None` when the system has no random bytes.
pub(crate) fn random_id() -> Option<Box<str>> {
    let mut bytes = [0; ID_LENGTH];
    getrandom::fill(&mut bytes).ok()?;
    let character = |byte: u8| ALPHABET.get(usize::from(byte & 63)).copied().map(char::from);
    let id: Option<String> = bytes.into_iter().map(character).collect();
    id.map(Into::into)
}

#[cfg(test)]
mod tests;
