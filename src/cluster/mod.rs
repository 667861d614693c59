//! The other servers, over Redis: instances of this package, and Node.js servers with `@socket.io/redis-adapter`.
//!
//! | module | owns |
//! |---|---|
//! | [`connection`] | the connections to Redis: made again for ever, publishing and subscribing apart |
//! | [`msgpack`] | JSON text to MessagePack and back, without recursion |
//! | [`classic`] | the messages of `@socket.io/redis-adapter`, byte for byte |

mod classic;
mod connection;
mod msgpack;
