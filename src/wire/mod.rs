//! Packets and frames as bytes. Knows no connection, no socket and no room.
//!
//! | module | owns |
//! |---|---|
//! | [`packet`] | a packet of the service, encoded once |
//! | [`series`] | packets that go to the same clients, as one piece of memory |
//! | [`frame`] | WebSocket frames (RFC 6455) |
//! | [`payload`] | the packets of a polling request (Engine.IO) |
//! | [`json`] | JSON text as it travels, read in place |
//! | [`id`] | random ids |

pub mod frame;
pub mod id;
pub mod json;
pub mod packet;
pub mod payload;
pub mod series;
