//! What the floor is asked on standard input: the part of the server programs' commands that needs no JavaScript, and
//! `batch`, which only the floor has.

use anyhow::Result;
use mio::Waker;
use serde::Deserialize;
use std::{
    io,
    sync::mpsc::{Receiver, channel},
    thread,
};

/// One line; what the floor does not know it does not do.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    pub broadcast_all: Option<BroadcastAll>,
    /// Messages of a room that leave in one write.
    pub batch: Option<usize>,
}

/// An event with `bytes` of payload to everyone, again and again for `seconds`.
#[derive(Deserialize)]
pub struct BroadcastAll {
    pub event: String,
    pub bytes: usize,
    pub seconds: u64,
}

/// Reads requests on a thread of its own, wakes the poll for each, and ends the process with standard input.
pub fn read(waker: Waker) -> Receiver<Request> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        if let Err(error) = io::stdin().lines().try_for_each(|line| {
            sender.send(serde_json::from_str(&line?)?)?;
            Result::<()>::Ok(waker.wake()?)
        }) {
            eprintln!("request: {error:#}");
        }
        std::process::exit(0);
    });
    receiver
}
