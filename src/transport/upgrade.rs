//! Streams that are handed over for WebSocket: of new sessions, and of those that polled before.
//!
//! The upgrade of a polling session is ours: the library never hears of it. Once the client has completed its part, what the
//! library still holds for it goes to the stream, and the library is told that the client is gone.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use engineioxide_core::{Packet as EnginePacket, ProtocolVersion};
use futures_util::FutureExt as _;
use tokio::sync::mpsc;

#[cfg(unix)]
use super::tls::Tls;
use super::{
    carrier::Carrier,
    connection::Connection,
    gateway::{Target, Transport},
    head::{Head, Offer},
    polling::{cost, payload_packets},
    reply::{Reply, TEXT},
    session::{Session, rewrite::Outgoing},
    websocket::{Reader, Source, Stream, opening},
};
use crate::{
    disconnect::DisconnectReason,
    wire::{
        packet::{FIN_BINARY, FIN_TEXT, put_frame},
        payload::{CLOSE, FAREWELL, NOOP},
    },
};

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
    target: Target,
    response: String,
}

impl Transport {
    /// Checks a WebSocket upgrade; `headers` is a JSON object as Node.js gives it.
    pub fn upgrade(&self, method: &str, url: &str, headers: &str) -> Result<Upgrade, Reply> {
        let target = self.target(method, url, true).map_err(Reply::error)?;
        if method != "GET" {
            return Err(Reply::error(2));
        }
        let accepted = Offer::parse(headers).accept();
        let response = accepted.map_err(|message| Reply::new(400, TEXT, message))?;
        if self.sessions.service.is_closed() && matches!(target, Target::Handshake { .. }) {
            return Err(Reply::new(503, TEXT, "Server is shutting down"));
        }
        Ok(Upgrade { target, response })
    }

    /// Takes over the stream of an upgrade; `received` was read from it already. Must be called in the runtime.
    pub fn attach(
        &self,
        upgrade: Upgrade,
        head: Head,
        carrier: Carrier,
        incoming: Incoming,
        received: &[u8],
    ) -> Arc<Connection> {
        match incoming {
            #[cfg(unix)]
            Incoming::Tcp(stream) => self.attach_source(upgrade, head, carrier, stream, received),
            #[cfg(unix)]
            Incoming::Tls(tls) => self.attach_source(upgrade, head, carrier, tls, received),
            Incoming::Bridge(chunks) => self.attach_source(upgrade, head, carrier, chunks, received),
        }
    }

    fn attach_source(
        &self,
        upgrade: Upgrade,
        head: Head,
        carrier: Carrier,
        source: impl Source,
        received: &[u8],
    ) -> Arc<Connection> {
        let by_node = matches!(carrier, Carrier::Bridge(_));
        match upgrade.target {
            Target::Handshake { eio3 } => {
                let session = Session::new(&self.sessions, head, eio3, true);
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
            Target::Session(session) => {
                let connection = session.connection().clone();
                if !connection.begin_upgrade() {
                    carrier.close();
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
        if matches!(completed, Ok(true)) && connection.upgrade() {
            self.take_over();
            connection.seat().pass_through_node(by_node);
            self.drain().await;
            connection.drained();
            // What the client sent behind its upgrade is read now, and not before: it may be another CONNECT.
            self.read(stream, &[]);
            connection.post(CLOSE).await;
        } else {
            connection.fail_upgrade();
        }
    }

    /// Empties the queue of a client that has moved. Nearly all that is ever put there is there: what still comes is the
    /// answer to a CONNECT, which the library has got and not passed on yet, and a goodbye that has just been said.
    async fn drain(self: &Arc<Self>) {
        let connection = self.connection();
        let Some(queue) = connection.queue() else { return };
        // A poll that was open ends now.
        let _turn = queue.turn().lock().await;
        loop {
            let (awaits_library, is_leaving) = (self.awaits_library(), connection.is_leaving());
            let Some(request) = queue.poll() else { return };
            // The budget of a task would make a full queue look empty.
            let mut request = Box::pin(tokio::task::unconstrained(request));
            let response = match (&mut request).now_or_never() {
                Some(response) => response,
                None if awaits_library || is_leaving => tokio::select! {
                    response = request => response,
                    () = connection.has_left(), if is_leaving => continue,
                    () = connection.over() => return,
                },
                None => return,
            };
            if response.status() != http::StatusCode::OK || response.body().is_empty() {
                // The library has ended the session.
                return connection.close(DisconnectReason::TransportClose);
            }
            self.pass_on(&String::from_utf8_lossy(response.body())).await;
        }
    }

    /// Writes what the library told a polling client to its stream.
    async fn pass_on(self: &Arc<Self>, payload: &str) {
        let connection = self.connection();
        let mut frames = BytesMut::new();
        let mut polled = 0;
        let mut is_last = false;
        for packet in payload_packets(payload, self.is_eio3()) {
            polled += cost(packet);
            is_last |= packet == FAREWELL;
            match self.outgoing(packet) {
                Outgoing::Pass(NOOP) | Outgoing::Nothing => {}
                Outgoing::Pass(packet) => put_packet(&mut frames, packet, self.is_eio3()),
                Outgoing::Replace(packet) => put_packet(&mut frames, &packet, self.is_eio3()),
                Outgoing::Connected(packet) => {
                    connection.write_raw(frames.split().freeze());
                    connection.answer_connect(&packet, connection.generation());
                }
                Outgoing::Answer(answer) => connection.post(answer).await,
                Outgoing::Last => is_last = true,
            }
        }
        connection.write_raw(frames.freeze());
        connection.polled(polled);
        if is_last {
            connection.farewell_passed();
        }
    }
}

/// Appends a packet of a polling payload as WebSocket has it: bytes are not in base64 there.
fn put_packet(frames: &mut BytesMut, packet: &str, eio3: bool) {
    if packet.starts_with('b')
        && let Ok(EnginePacket::Binary(data)) = EnginePacket::parse(ProtocolVersion::V4, packet.to_owned())
    {
        return match eio3 {
            true => put_frame(frames, FIN_BINARY, &[&[4], &data[..]].concat()),
            false => put_frame(frames, FIN_BINARY, &data),
        };
    }
    put_frame(frames, FIN_TEXT, packet.as_bytes());
}
