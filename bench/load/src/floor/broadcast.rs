//! Broadcasts that the floor starts itself, as fast as the kernel takes them: blocks of many frames, each block written
//! to everyone before the next is made.

use super::request::BroadcastAll;
use crate::wire::server_frame;
use anyhow::Result;
use std::{
    rc::Rc,
    time::{Duration, Instant},
};

/// Size of a block, about.
const BLOCK_BYTES: usize = 128 * 1024;

pub struct Broadcast {
    event: String,
    text: String,
    end: Instant,
    /// Number of the next event.
    sequence: u64,
}

impl Broadcast {
    pub fn new(BroadcastAll { event, bytes, seconds }: BroadcastAll) -> Self {
        Self {
            event,
            text: "x".repeat(bytes),
            end: Instant::now() + Duration::from_secs(seconds),
            sequence: 0,
        }
    }

    /// The next frames; `None` when the time is over.
    pub fn block(&mut self) -> Result<Option<Rc<[u8]>>> {
        if Instant::now() >= self.end {
            return Ok(None);
        }
        let mut block = Vec::with_capacity(BLOCK_BYTES + self.text.len() * 2);
        while block.len() < BLOCK_BYTES {
            block.extend(server_frame(&format!(
                r#"42["{}",{{"sequence":{},"text":"{}"}}]"#,
                self.event, self.sequence, self.text,
            ))?);
            self.sequence += 1;
        }
        Ok(Some(block.into()))
    }
}
