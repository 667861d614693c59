//! HTTP requests and upgrades from Node.js: Engine.IO's checks and answers, in front of socketioxide.

use std::{
    borrow::Cow,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use engineioxide_core::{Packet as EnginePacket, ProtocolVersion};
use futures_util::StreamExt as _;
use http::{HeaderValue, Method, Request};
use http_body_util::Full;
use serde_json::json;

use super::{
    connection::SessionId,
    engine::Transport,
    head::{Head, Offer, single},
    outbox::Carrier,
    session::{FAREWELL, Outgoing, Session, Verdict},
    stream::Bytestream,
};
use crate::{backpressure::ITEM_COST, disconnect::DisconnectReason, wire::payload};

/// Separates the packets of a payload (Engine.IO protocol 4).
const SEPARATOR: char = '\u{1e}';
/// How long a poll may wait while its client moves to WebSocket.
const PROBED_POLL: Duration = Duration::from_millis(100);
/// Engine.IO's packet that ends a session.
const CLOSE: &str = "1";
/// Socket.IO's refusal of a namespace other than the default one.
const REFUSED: &str = "44/";
const TEXT: &str = "text/plain; charset=UTF-8";

/// An HTTP response.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// Body.
    pub body: Bytes,
    /// The new session's id, for the cookie of a handshake.
    pub sid: Option<String>,
}

impl Reply {
    fn new(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            content_type,
            body: body.into(),
            sid: None,
        }
    }

    /// One of Engine.IO's errors, by its code.
    pub fn error(code: u8) -> Self {
        let (status, message) = match code {
            0 => (400, "Transport unknown"),
            1 => (400, "Session ID unknown"),
            2 => (400, "Bad handshake method"),
            4 => (403, "Forbidden"),
            5 => (400, "Unsupported protocol version"),
            _ => (400, "Bad request"),
        };
        let body = json!({ "code": code, "message": message }).to_string();
        Self::new(status, "application/json", body)
    }
}

/// What a request is for, once it has passed the checks.
#[derive(Debug)]
enum Target {
    Handshake { eio3: bool },
    Session(Arc<Session>),
}

/// An upgrade that has passed the checks.
#[derive(Debug)]
pub struct Upgrade {
    target: Target,
    response: String,
}

impl Upgrade {
    /// Whether it opens a session, as against moving one from polling.
    pub fn is_handshake(&self) -> bool {
        matches!(self.target, Target::Handshake { .. })
    }
}

impl Transport {
    /// Engine.IO's checks of a request. True for a handshake, false for a request of a session.
    pub fn check(&self, method: &str, url: &str, upgrade: bool) -> Result<bool, Reply> {
        self.target(method, url, upgrade)
            .map(|target| matches!(target, Target::Handshake { .. }))
            .map_err(Reply::error)
    }

    fn target(&self, method: &str, url: &str, upgrade: bool) -> Result<Target, u8> {
        let config = &self.service.config;
        let websocket = match single(url, "transport").map_err(|()| 0)?.as_deref() {
            Some("polling") if config.polling => false,
            Some("websocket") if config.websocket => true,
            _ => return Err(0),
        };
        if let Some(sid) = single(url, "sid").map_err(|()| 1)?.filter(|sid| !sid.is_empty()) {
            let session = sid
                .parse()
                .ok()
                .and_then(|sid: SessionId| self.by_sid.get(&sid)?.value().upgrade());
            let session = session.filter(|session| !session.is_finished()).ok_or(1)?;
            if !upgrade && websocket != session.on_websocket.load(Ordering::Acquire) {
                return Err(3);
            }
            return Ok(Target::Session(session));
        }
        if method != "GET" {
            return Err(2);
        }
        if websocket != upgrade {
            return Err(3);
        }
        let eio3 = single(url, "EIO").ok().flatten().as_deref() != Some("4");
        if eio3 && !config.allow_eio3 {
            return Err(5);
        }
        Ok(Target::Handshake { eio3 })
    }

    /// Answers a long-polling request; `head` is needed when [`Self::check`] says that it is a handshake. Dropping the
    /// future, when the client goes away, lets go of the session.
    pub async fn respond(
        self: Arc<Self>,
        method: &str,
        url: &str,
        head: Option<Head>,
        content_type: Option<String>,
        body: Bytes,
    ) -> Reply {
        match self.target(method, url, false) {
            Err(code) => Reply::error(code),
            Ok(Target::Handshake { .. }) if self.service.is_closed() => {
                Reply::new(503, TEXT, "Server is shutting down")
            }
            Ok(Target::Handshake { eio3 }) => match head {
                Some(head) => self.open(head, eio3).await,
                None => Reply::error(3),
            },
            Ok(Target::Session(session)) => match method {
                "GET" => self.wait(session).await,
                "POST" => self.receive(session, content_type, body).await,
                _ => Reply::new(500, TEXT, ""),
            },
        }
    }

    async fn open(self: Arc<Self>, head: Head, eio3: bool) -> Reply {
        let protocol = if eio3 { 3 } else { 4 };
        // socketioxide types binary packets wrongly for Engine.IO 3; in base64 that can be put right.
        let b64 = if eio3 { "&b64=1" } else { "" };
        let uri = format!("{}/?EIO={protocol}&transport=polling{b64}", self.service.config.path);
        let session = Session::new(&self, head, eio3, false);
        let Ok(request) = Request::builder()
            .uri(uri)
            .extension(session.clone())
            .body(Full::default())
        else {
            return Reply::error(3);
        };
        let response = self.call(request).await;
        let text = String::from_utf8_lossy(response.body()).into_owned();
        if let Some(at) = text.find("0{") {
            session.outgoing(text.get(at..).unwrap_or_default(), false);
        }
        let Some(sid) = session.sid() else {
            return Reply::error(3);
        };
        let text = if self.service.config.allow_upgrades && self.service.config.websocket {
            text
        } else {
            without_upgrades(&text)
        };
        Reply {
            sid: Some(sid.as_str().to_owned()),
            ..Reply::new(200, TEXT, text)
        }
    }

    /// Answers a poll of a session. Dropping the future, when the client goes away, lets go of the session.
    pub fn poll(self: Arc<Self>, url: &str) -> Result<impl Future<Output = Reply> + Send + 'static, Reply> {
        match self.target("GET", url, false) {
            Ok(Target::Session(session)) => Ok(self.wait(session)),
            Ok(Target::Handshake { .. }) => Err(Reply::error(3)),
            Err(code) => Err(Reply::error(code)),
        }
    }

    /// Waits until there is something for a polling client.
    async fn wait(self: Arc<Self>, session: Arc<Session>) -> Reply {
        loop {
            let Some(request) = self.poll_request(Method::GET, &session, Bytes::new(), None) else {
                return Reply::error(1);
            };
            let released = session.release_poll.notified();
            let response = tokio::select! {
                biased;
                response = self.call(request) => response,
                () = released => return Reply::new(200, TEXT, noop(&session)),
                () = tokio::time::sleep(PROBED_POLL), if session.probed.load(Ordering::Acquire) => {
                    return Reply::new(200, TEXT, noop(&session));
                }
            };
            if response.status() != http::StatusCode::OK {
                return Reply::error(1);
            }
            let body = response.into_body();
            if body.is_empty() {
                // The session ended meanwhile.
                return Reply::new(200, TEXT, close_packet(&session));
            }
            if session.is_eio3() {
                return eio3_reply(&session, &body);
            }
            let text = String::from_utf8_lossy(&body);
            let packets = self.pass_out(&session, &text).await;
            if !packets.is_empty() {
                return Reply::new(200, TEXT, packets);
            }
        }
    }

    /// Puts right what socketioxide tells a polling client.
    async fn pass_out(&self, session: &Arc<Session>, payload: &str) -> String {
        let mut packets = String::with_capacity(payload.len());
        let mut polled = 0;
        let mut farewell = false;
        for packet in payload.split(SEPARATOR) {
            farewell |= packet == FAREWELL;
            if packet.starts_with(['4', 'b']) {
                polled += cost(packet);
            }
            let packet = match session.outgoing(packet, false) {
                Outgoing::Pass(packet) => Cow::Borrowed(packet),
                Outgoing::Replace(packet) => Cow::Owned(packet),
                Outgoing::Connected(packet) => {
                    session.connection().connect_passed(false);
                    Cow::Owned(packet)
                }
                Outgoing::Answer(answer) => {
                    // Boxed, because it is rare and each poll's task would keep room for it.
                    Box::pin(self.post(session, answer)).await;
                    continue;
                }
                Outgoing::Drained => {
                    session.connection().drained();
                    continue;
                }
                Outgoing::Last if packets.is_empty() => {
                    farewell = true;
                    Cow::Borrowed(CLOSE)
                }
                Outgoing::Last => {
                    session.connection().close_later();
                    continue;
                }
                Outgoing::Nothing => continue,
            };
            if !packets.is_empty() {
                packets.push(SEPARATOR);
            }
            packets.push_str(&packet);
        }
        session.connection().polled(polled);
        if farewell {
            session.farewell_passed();
        }
        packets
    }

    async fn receive(self: Arc<Self>, session: Arc<Session>, content_type: Option<String>, body: Bytes) -> Reply {
        if session.posting.swap(true, Ordering::AcqRel) {
            session.close(DisconnectReason::TransportError);
            return Reply::new(500, TEXT, "");
        }
        let reply = self.read_payload(&session, content_type, body).await;
        session.posting.store(false, Ordering::Release);
        reply
    }

    async fn read_payload(&self, session: &Arc<Session>, content_type: Option<String>, body: Bytes) -> Reply {
        let limit = self.service.config.max_http_buffer_size;
        if body.len() > limit {
            session.close(DisconnectReason::TransportError);
            return Reply::new(413, TEXT, "");
        }
        if !session.is_eio3() && content_type.as_deref() == Some(payload::BINARY) {
            session.close(DisconnectReason::TransportError);
            return Reply::error(3);
        }
        let protocol = if session.is_eio3() {
            ProtocolVersion::V3
        } else {
            ProtocolVersion::V4
        };
        let content_type = content_type.and_then(|value| HeaderValue::from_str(&value).ok());
        let mut packets = std::pin::pin!(payload::packets(body, content_type.as_ref(), protocol, limit as u64));
        while let Some(packet) = packets.next().await {
            let verdict = match packet {
                Ok(EnginePacket::Binary(data)) => session.on_binary(&data),
                Ok(EnginePacket::BinaryV3(data)) => session.on_binary(&[&[4], &data[..]].concat()),
                Ok(packet) => {
                    let text = String::from(packet);
                    let verdict = session.on_text(&text);
                    if verdict == Verdict::Pass {
                        self.post(session, &text).await;
                        if text == "1" {
                            session.ended();
                        }
                    }
                    verdict
                }
                Err(_) => Verdict::Close(DisconnectReason::ParseError),
            };
            if let Verdict::Close(reason) = verdict {
                session.close(reason);
                break;
            }
            session.has_room().await;
        }
        Reply::new(200, "text/html", "ok")
    }

    /// Ends the session of a request whose body is larger than allowed and was not read.
    pub fn refuse_oversized(&self, method: &str, url: &str) {
        if let Ok(Target::Session(session)) = self.target(method, url, false) {
            session.close(DisconnectReason::TransportError);
        }
    }

    /// The client of a session's request went away before the request was over; while it moves to WebSocket it may.
    pub fn abandon(&self, method: &str, url: &str) {
        if let Ok(Target::Session(session)) = self.target(method, url, false)
            && !session.probing.load(Ordering::Acquire)
        {
            session.close(DisconnectReason::TransportError);
        }
    }

    /// Checks a WebSocket upgrade; `headers` is a JSON object as Node.js gives it.
    pub fn upgrade(&self, method: &str, url: &str, headers: &str) -> Result<Upgrade, Reply> {
        let target = self.target(method, url, true).map_err(Reply::error)?;
        let accepted = Offer::parse(headers).accept();
        let response = accepted.map_err(|message| Reply::new(400, TEXT, message))?;
        if self.service.is_closed() && matches!(target, Target::Handshake { .. }) {
            return Err(Reply::new(503, TEXT, "Server is shutting down"));
        }
        Ok(Upgrade { target, response })
    }

    /// Takes over the stream of an upgrade; `received` was read from it already. Must be called in the runtime.
    pub fn attach(
        self: &Arc<Self>,
        upgrade: Upgrade,
        head: Head,
        carrier: Carrier,
        source: super::stream::Source,
        received: &[u8],
    ) -> Arc<super::Connection> {
        let through_node = matches!(carrier, Carrier::Bridge(_));
        match upgrade.target {
            Target::Handshake { eio3 } => {
                let session = Session::new(self, head, eio3, true);
                session.pass_through_node(through_node);
                let connection = session.connection().clone();
                connection.carry(carrier, true);
                // Leaves together with the open packet: a client that got one without the other would wait for ever.
                connection.stage_raw(upgrade.response.into());
                let stream = Bytestream::new(session.clone(), source, received);
                self.serve(session, stream, None);
                connection
            }
            Target::Session(session) => {
                let connection = session.connection().clone();
                if session.probing.swap(true, Ordering::AcqRel) || session.on_websocket.load(Ordering::Acquire) {
                    // One upgrade at a time.
                    carrier.close();
                    return connection;
                }
                connection.carry(carrier, false);
                connection.write_raw(upgrade.response.into());
                let stream = Bytestream::probing(session.clone(), source, received);
                let transport = self.clone();
                self.runtime
                    .spawn(async move { transport.probe(session, stream, through_node).await });
                connection
            }
        }
    }

    /// Waits for the client to complete its upgrade; if it does not, the session goes on polling.
    async fn probe(self: Arc<Self>, session: Arc<Session>, mut stream: Bytestream, through_node: bool) {
        let patience = self.service.config.upgrade_timeout;
        let upgraded = tokio::time::timeout(patience, stream.probed()).await;
        if matches!(upgraded, Ok(Ok(()))) && !session.on_websocket.swap(true, Ordering::AcqRel) {
            let sid = session.sid();
            session.probing.store(false, Ordering::Release);
            session.pass_through_node(through_node);
            session.connection().upgraded();
            self.serve(session, stream, sid);
        } else {
            session.connection().drop_carrier();
            session.probed.store(false, Ordering::Release);
            session.probing.store(false, Ordering::Release);
        }
    }

    /// Gives a stream to socketioxide.
    fn serve(&self, session: Arc<Session>, stream: Bytestream, sid: Option<SessionId>) {
        let mut uri = format!(
            "{}/?EIO={}&transport=websocket",
            self.service.config.path,
            session.protocol_number()
        );
        if let Some(sid) = sid {
            uri.push_str("&sid=");
            uri.push_str(sid.as_str());
        }
        if let Ok(request) = Request::builder().uri(uri).extension(session).body(()) {
            // Boxed, because the library keeps room for the stream in several places of its future.
            let stream = Box::new(stream);
            let _ = hyper::service::Service::call(&self.io, (stream, request)).into_inner();
        }
    }
}

fn noop(session: &Session) -> &'static str {
    if session.is_eio3() { "1:6" } else { "6" }
}

fn close_packet(session: &Session) -> &'static str {
    if session.is_eio3() { "1:1" } else { CLOSE }
}

/// What socketioxide tells an Engine.IO 3 client, put right.
fn eio3_reply(session: &Arc<Session>, body: &[u8]) -> Reply {
    let text = String::from_utf8_lossy(body);
    let mut packets = String::with_capacity(text.len());
    let mut polled = 0;
    let mut rest: &str = &text;
    while let Some((length, after)) = rest.split_once(':') {
        let units = length.parse().unwrap_or(0);
        let end = utf16_prefix(after, units);
        let (packet, next) = after.split_at_checked(end).unwrap_or((after, ""));
        rest = next;
        polled += cost(packet);
        if packet == FAREWELL {
            session.farewell_passed();
        }
        let packet = match session.outgoing(packet, false) {
            Outgoing::Replace(packet) => packet,
            Outgoing::Connected(packet) => {
                session.connection().connect_passed(false);
                packet
            }
            // In Engine.IO 3, the type "message" follows the mark of base64.
            Outgoing::Pass(packet) => match packet.strip_prefix('b') {
                Some(data) => format!("b4{data}"),
                None => packet.to_owned(),
            },
            Outgoing::Drained => {
                session.connection().drained();
                continue;
            }
            Outgoing::Last if packets.is_empty() => {
                session.farewell_passed();
                CLOSE.to_owned()
            }
            Outgoing::Last => {
                session.connection().close_later();
                continue;
            }
            Outgoing::Answer(_) | Outgoing::Nothing => continue,
        };
        packets.push_str(&format!("{}:{packet}", packet.encode_utf16().count()));
    }
    session.connection().polled(polled);
    Reply::new(200, TEXT, packets)
}

/// Bytes that a packet in the polling queue has counted, or more.
fn cost(packet: &str) -> usize {
    // What the library answers by itself counts beyond its bytes.
    let besides = if packet.starts_with(REFUSED) { ITEM_COST } else { 0 };
    packet.len() + besides
}

/// Bytes that the first `units` UTF-16 code units of a text take.
fn utf16_prefix(text: &str, units: usize) -> usize {
    let mut left = units;
    for (at, character) in text.char_indices() {
        if left == 0 {
            return at;
        }
        left = left.saturating_sub(character.len_utf16());
    }
    text.len()
}

/// The open packet with an empty list of upgrades.
fn without_upgrades(payload: &str) -> String {
    let packet = payload.replace("\"upgrades\":[\"websocket\"]", "\"upgrades\":[]");
    match packet.split_once(':') {
        // Engine.IO 3 counts the packet's length.
        Some((length, rest)) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("{}:{rest}", rest.encode_utf16().count())
        }
        _ => packet,
    }
}
