//! What socketioxide tells a client, put right where it passes.

use std::{sync::Arc, time::Instant};

use super::{Answer, Ping, Session};
use crate::transport::{engine::SessionId, marker::Marker};

impl Session {
    /// A text packet of socketioxide on its way to the client: what to send instead, or `None` for nothing.
    /// The second value is what the client would answer, when the packet is withheld.
    pub(in crate::transport) fn outgoing<'a>(self: &Arc<Self>, text: &'a str, over_websocket: bool) -> Outgoing<'a> {
        match text.as_bytes() {
            b"2" => self.ping(text),
            b"3probe" if over_websocket => Outgoing::Nothing,
            [b'0', ..] => {
                if let Some(sid) = sid_in(text).and_then(|sid| sid.parse().ok()) {
                    self.identify(sid);
                }
                Outgoing::Pass(text)
            }
            [b'4', b'0', b'/', ..] => Outgoing::Pass(text),
            [b'4', b'0', ..] => Outgoing::Connected(self.connect_answer(text)),
            // A client that is told of a refusal does not try again, but with the server's end it shall.
            [b'4', b'4', ..] if self.connection.reason().is_some() => Outgoing::Nothing,
            [b'4', b'4', b'{' | b'"', ..] => self.connect_error(text),
            [b'4', b'2', b'[', b'"', 0, ..] => match Marker::of(text) {
                Some(Marker::Last) => Outgoing::Last,
                _ => Outgoing::Drained,
            },
            _ => Outgoing::Pass(text),
        }
    }

    /// The library's first heartbeat is immediate; Engine.IO's comes after an interval.
    fn ping<'a>(&self, text: &'a str) -> Outgoing<'a> {
        let mut inner = self.inner.lock();
        if matches!(inner.ping, Ping::None) {
            inner.ping = Ping::Answered;
            return Outgoing::Answer("3");
        }
        inner.ping = Ping::Sent(Instant::now());
        Outgoing::Pass(text)
    }

    /// Learns the secret id.
    pub(in crate::transport) fn identify(self: &Arc<Self>, sid: SessionId) {
        if self.connection.queue().identify(sid) {
            self.sessions.name(sid, self);
        }
    }

    fn connect_answer(&self, text: &str) -> String {
        let inner = self.inner.lock();
        match &inner.answer {
            Answer::Accepted(id) if !self.is_eio3() => format!("40{{\"sid\":{}}}", serde_json::Value::from(&**id)),
            _ => text.to_owned(),
        }
    }

    fn connect_error<'a>(&self, text: &'a str) -> Outgoing<'a> {
        let inner = self.inner.lock();
        let refusal = match &inner.answer {
            Answer::Refused(refusal) => refusal,
            Answer::Withdrawn => return Outgoing::Nothing,
            Answer::Plain | Answer::Accepted(_) => return Outgoing::Pass(text),
        };
        let message = serde_json::Value::from(refusal.message.as_str());
        Outgoing::Replace(match &refusal.data {
            Some(data) if self.is_eio3() => format!("44{data}"),
            None if self.is_eio3() => format!("44{message}"),
            Some(data) => format!("44{{\"message\":{message},\"data\":{data}}}"),
            None => format!("44{{\"message\":{message}}}"),
        })
    }
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
    /// It is withheld: the queue has drained.
    Drained,
    /// It is withheld: the queue has drained for the last time, and the session ends.
    Last,
}

/// The session id in an open packet.
fn sid_in(open: &str) -> Option<&str> {
    open.split_once("\"sid\":\"")?.1.split_once('"').map(|(sid, _)| sid)
}
