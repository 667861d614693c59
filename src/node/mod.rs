//! The Node.js addon: conversions and the event bridge. The only place with napi types; no logic of the service.

mod binding;
mod bridge;
mod cluster;
mod connections;
mod doors;
mod field;
mod local;
mod log;
mod messages;
mod packets;
mod protocol;
mod queue;
mod requests;
mod rooms;
mod selection;
