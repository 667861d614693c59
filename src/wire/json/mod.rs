//! JSON text as it travels, read in place: what `JSON.parse` takes is taken, and values stay text.
//!
//! | module | owns |
//! |---|---|
//! | [`events`] | the grammar: text to tokens with their meaning |
//! | [`args`] | the array of a packet: its name, its payload, its depth, its placeholders |
//! | [`members`] | the members of an object |
//! | [`placeholder`] | what stands for bytes |
//! | [`text`] | strings, which may hold lone surrogates |
//!
//! Nothing here recurses, and everything is linear in the bytes: the text comes from clients and from the network.
//! `serde_json` passes over raw values in the same way, but tells no depth and has no form for a lone surrogate.

mod args;
mod events;
mod members;
mod placeholder;
#[cfg(any(test, feature = "fuzzing"))]
pub mod steps;
mod text;

pub use args::{Args, event_name, placeholders_fit};
pub use events::{Event, Events, Kind, NotJson, is_json};
pub use members::{Members, members};
pub use placeholder::Placeholder;
pub use text::{
    canonical, decode, is_string, javascript_number, number_name, push_canonical, push_quoted, quoted, string, wtf8,
};
