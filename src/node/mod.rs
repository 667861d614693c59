//! The Node.js addon: conversions and the event bridge. The only place with napi types; no logic of the service.

mod binding;
mod bridge;
mod field;
mod local;
mod queue;
