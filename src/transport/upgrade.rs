//! Streams that are handed over for WebSocket: of new sessions, and of those that polled before.
//!
//! The upgrade of a polling session is ours: the library never hears of it. Once the client has completed its part, what
//! waits for a poll goes to the stream, and the library is told that the client is gone.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

#[cfg(unix)]
use super::tls::Tls;
use super::{
    carrier::Carrier,
    connection::{CLOSE_FRAME, Connection, LINGER},
    entrance::{Caller, Place},
    gateway::{Target, Transport},
    head::{Head, Offer},
    outbox::Outbox,
    reply::{Reply, TEXT},
    session::Session,
    websocket::{Reader, Source, Stream, opening},
};
use crate::wire::payload::CLOSE;

/// What a client's bytes come from.
#[derive(Debug)]
pub enum Incoming {
    /// A connection of our own.
    #[cfg(unix)]
    Tcp(Arc<tokio::net::TcpStream>),
    /// One of our own over TLS.
    #[cfg(unix)]
    Tls(Arc<Tls>),
    /// A connection that JavaScript reads.
    Bridge(mpsc::Receiver<Bytes>),
}

/// An upgrade that has passed the checks.
#[derive(Debug)]
pub struct Upgrade {
    client: Client,
    response: String,
}

/// Whose upgrade it is.
#[derive(Debug)]
enum Client {
    /// One that comes.
    New {
        head: Head,
        place: Option<Box<Place>>,
        eio3: bool,
    },
    /// One that polled before.
    Polling(Arc<Session>),
}

impl Transport {
    /// Checks a WebSocket upgrade, and takes a place for its session if that is new.
    pub fn upgrade(&self, method: &str, url: &str, caller: &Caller) -> Result<Upgrade, Reply> {
        let target = self.target(method, url, true).map_err(Reply::error)?;
        if method != "GET" {
            return Err(Reply::new(405, TEXT, "Invalid HTTP method"));
        }
        let accepted = Offer::parse(&caller.headers).accept();
        let response = accepted.map_err(|message| Reply::new(400, TEXT, message))?;
        let client = match target {
            Target::Handshake { eio3 } => Client::New {
                place: self.enter(caller)?,
                head: Head::new(url, caller),
                eio3,
            },
            Target::Session(session) => Client::Polling(session),
        };
        Ok(Upgrade { client, response })
    }

    /// Takes over the stream of an upgrade; `received` was read from it already. Must be called in the runtime.
    pub fn attach(&self, upgrade: Upgrade, carrier: Carrier, incoming: Incoming, received: &[u8]) -> Arc<Connection> {
        match incoming {
            #[cfg(unix)]
            Incoming::Tcp(stream) => self.attach_source(upgrade, carrier, stream, received),
            #[cfg(unix)]
            Incoming::Tls(tls) => self.attach_source(upgrade, carrier, tls, received),
            Incoming::Bridge(chunks) => self.attach_source(upgrade, carrier, chunks, received),
        }
    }

    fn attach_source(
        &self,
        upgrade: Upgrade,
        carrier: Carrier,
        source: impl Source,
        received: &[u8],
    ) -> Arc<Connection> {
        let by_node = matches!(carrier, Carrier::Bridge(_));
        match upgrade.client {
            Client::New { head, place, eio3 } => {
                let session = Session::new(&self.sessions, head, place, eio3, true);
                let connection = session.connection().clone();
                connection.seat().pass_through_node(by_node);
                connection.carry(carrier);
                // Written by the reader: Node.js's thread has other clients to accept, and a thread of ours that then writes
                // to many of them is woken once.
                connection.stage_raw(opening(&session, &upgrade.response));
                if eio3 {
                    // Nobody sends CONNECT.
                    session.begin();
                }
                session.read(Stream::new(source), received);
                connection
            }
            Client::Polling(session) => {
                let connection = session.connection().clone();
                if !connection.begin_upgrade() {
                    let mut outbox = Outbox::default();
                    outbox.carrier = Some(carrier);
                    outbox.stage(upgrade.response.into());
                    let refused = refuse(outbox, Stream::new(source), Bytes::from_static(&CLOSE_FRAME));
                    self.sessions.common.runtime.spawn(refused);
                    return connection;
                }
                connection.carry(carrier);
                connection.write_raw(upgrade.response.into());
                let moving = session.probe(Stream::new(source), received.to_vec(), by_node);
                self.sessions.common.runtime.spawn(moving);
                connection
            }
        }
    }
}

impl Session {
    /// Reads the client from now on, and looks after its heartbeats.
    fn read<S: Source>(self: &Arc<Self>, stream: Stream<S>, received: &[u8]) {
        let sessions = self.sessions();
        if let (Some(sid), Some(after)) = (self.sid(), self.look()) {
            sessions.wheel.insert(sid, after);
        }
        sessions
            .common
            .runtime
            .spawn(Reader::new(self.clone(), stream, received));
    }

    /// Waits for the client to complete its upgrade; if it does not, the session goes on polling.
    async fn probe<S: Source>(self: Arc<Self>, mut stream: Stream<S>, received: Vec<u8>, by_node: bool) {
        let patience = self.sessions().service.config.upgrade_timeout;
        let completed = tokio::time::timeout(patience, stream.probed(&self, received)).await;
        let connection = self.connection();
        let close_frame = match completed {
            Ok(completed) => completed.err(),
            Err(_) => Some(Bytes::from_static(&CLOSE_FRAME)),
        };
        if close_frame.is_none() && connection.upgrade() {
            self.take_over();
            connection.seat().pass_through_node(by_node);
            if self.phase().is_over() {
                // The client was waited for, to find that out.
                return connection.kill();
            }
            // Not before: what the client has sent behind its upgrade may be another CONNECT.
            self.library_has_answered().await;
            self.read(stream, &[]);
            connection.post(CLOSE).await;
        } else {
            refuse(connection.fail_upgrade(), stream, close_frame.unwrap_or_default()).await;
        }
    }
}

/// Ends the stream of an upgrade that is not to be, with this close frame. What the client still sends is read and ignored, or
/// the frame might be lost with the connection.
async fn refuse<S: Source>(mut outbox: Outbox, mut stream: Stream<S>, close_frame: Bytes) {
    outbox.stage(close_frame);
    if outbox.write_pending().is_ok() {
        outbox.finish();
        let _ = tokio::time::timeout(LINGER, stream.ended()).await;
    }
    outbox.drop_carrier();
}
