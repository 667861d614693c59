//! What socketioxide tells a client that polls, or did before, put right where it passes.

use std::sync::Arc;

use serde::Deserialize;

use super::{Session, joining::Withdrawn};
use crate::{transport::engine::SessionId, wire::payload::FAREWELL};

impl Session {
    /// A text packet of socketioxide on its way to the client: what becomes of it.
    pub(in crate::transport) fn outgoing<'a>(self: &Arc<Self>, text: &'a str) -> Outgoing<'a> {
        match text.as_bytes() {
            b"2" if self.is_pinged_early() => Outgoing::Answer("3"),
            [b'0', ..] => {
                if let Some(sid) = sid_in(text).and_then(|sid| sid.parse().ok()) {
                    self.identify(sid);
                }
                Outgoing::Pass(text)
            }
            [b'4', b'0' | b'4', b'/', ..] => Outgoing::Pass(text),
            [b'4', b'0', ..] => {
                let mut inner = self.inner.lock();
                inner.awaits_library = false;
                Outgoing::Connected(inner.accepted.take().map_or_else(|| "40".to_owned(), String::from))
            }
            [b'4', b'4', ..] => self.connect_error(text),
            // Ours has gone before.
            _ if text == FAREWELL => Outgoing::Nothing,
            _ => Outgoing::Pass(text),
        }
    }

    /// Learns the secret id.
    pub(in crate::transport) fn identify(self: &Arc<Self>, sid: SessionId) {
        let is_new = self.connection.queue().is_some_and(|queue| queue.identify(sid));
        if is_new && self.sid.set(sid).is_ok() {
            self.sessions.name(sid, self);
        }
    }

    fn connect_error<'a>(&self, text: &'a str) -> Outgoing<'a> {
        self.inner.lock().awaits_library = false;
        // A client that is told of a refusal does not try again, but with the server's end it shall.
        if self.connection.reason().is_some() {
            return Outgoing::Nothing;
        }
        match text.get(2..).map(serde_json::from_str::<Refused>) {
            Some(Ok(Refused::Object { message } | Refused::Text(message))) if message == Withdrawn::WORDS => {
                Outgoing::Nothing
            }
            Some(Ok(Refused::Object { message } | Refused::Text(message))) => Outgoing::Replace(format!("44{message}")),
            _ => Outgoing::Pass(text),
        }
    }
}

/// The library's CONNECT_ERROR, in which it takes our whole payload for a message; in Engine.IO 3 that is all there is.
#[derive(Deserialize)]
#[serde(untagged)]
enum Refused {
    Object { message: String },
    Text(String),
}

/// What becomes of a packet of socketioxide's.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::transport) enum Outgoing<'a> {
    /// It goes out as it is.
    Pass(&'a str),
    /// This goes out instead.
    Replace(String),
    /// This goes out instead, and packets may follow it.
    Connected(String),
    /// It is withheld, and answered in the client's place.
    Answer(&'static str),
    /// It is withheld.
    Nothing,
}

/// The session id in an open packet.
fn sid_in(open: &str) -> Option<&str> {
    open.split_once("\"sid\":\"")?.1.split_once('"').map(|(sid, _)| sid)
}
