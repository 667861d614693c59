//! Entry points of the fuzz targets in `fuzz/`: each takes any bytes as one of our parsers gets them, and panics when a
//! promise of that parser is broken. What is private to a module is asked in the `fuzzing` beside it.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod adapter;
mod wire;

pub use crate::{
    cluster::fuzzing::records,
    transport::fuzzing::{head, packets},
};
pub use adapter::{adapter, msgpack};
pub use wire::{frames, json, payload};

/// Options are refused or taken; what is taken can be used.
pub fn options(data: &[u8]) {
    crate::transport::fuzzing::options(data);
    if let Ok(selection) = serde_json::from_slice::<crate::selection::Selection<'static>>(data) {
        let _ = selection.as_rooms();
    }
}
