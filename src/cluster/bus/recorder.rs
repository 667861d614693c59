//! An observer that passes on what it is told, for tests.

use bytes::Bytes;
use tokio::sync::mpsc::UnboundedSender;

use super::{BusError, Observer};

/// What an observer is told.
#[derive(Debug, PartialEq)]
pub(crate) enum Told {
    Message(String, Bytes),
    Up,
    Down(BusError),
}

pub(crate) struct Recorder(pub(crate) UnboundedSender<Told>);

impl Observer for Recorder {
    fn message(&self, channel: &str, payload: Bytes) {
        let _sent = self.0.send(Told::Message(channel.to_owned(), payload));
    }

    fn up(&self) {
        let _sent = self.0.send(Told::Up);
    }

    fn down(&self, error: &BusError) {
        let _sent = self.0.send(Told::Down(error.clone()));
    }
}
