//! Long-polling: the handshake, polls and posts of one client. What socketioxide says is put right on its way out; what the
//! client says is taken before it gets there.

use std::{
    borrow::Cow,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use engineioxide_core::{Packet as EnginePacket, ProtocolVersion};
use futures_util::StreamExt as _;
use http::HeaderValue;

use super::{
    head::Head,
    reply::{Reply, TEXT},
    session::{Session, Verdict, rewrite::Outgoing},
    sessions::Sessions,
};
use crate::{
    backpressure::ITEM_COST,
    disconnect::DisconnectReason,
    wire::payload::{self, CLOSE, FAREWELL, NOOP, SEPARATOR},
};

/// How long a poll may wait while its client moves to WebSocket.
const PROBED_POLL: Duration = Duration::from_millis(100);
/// Socket.IO's refusal of a namespace other than the default one.
const REFUSED: &str = "44/";

impl Session {
    /// Opens a session.
    pub(super) async fn open(sessions: &Arc<Sessions<Self>>, head: Head, eio3: bool) -> Reply {
        let session = Self::new(sessions, head, eio3, false);
        let text = sessions.engine.open(eio3, session.clone()).await;
        if let Some(at) = text.find("0{") {
            session.outgoing(text.get(at..).unwrap_or_default());
        }
        let Some(sid) = session.sid() else {
            return Reply::error(3);
        };
        let config = &sessions.service.config;
        let text = if config.allow_upgrades && config.websocket {
            text
        } else {
            without_upgrades(&text)
        };
        Reply {
            sid: Some(sid.as_str().to_owned()),
            ..Reply::new(200, TEXT, text)
        }
    }

    /// Waits until there is something for the client.
    pub(super) async fn poll(self: Arc<Self>) -> Reply {
        let Some(queue) = self.connection().queue() else {
            return Reply::error(3);
        };
        let Ok(_turn) = queue.turn().try_lock() else {
            if self.phase().is_on_websocket() {
                return Reply::error(3);
            }
            // As Engine.IO has it.
            self.connection().close(DisconnectReason::TransportError);
            return Reply::error(1);
        };
        loop {
            let Some(request) = queue.poll() else {
                return Reply::error(1);
            };
            // Of an upgrade that began before, only a while is waited for.
            let is_moving = self.phase().ends_polls();
            let response = tokio::select! {
                biased;
                response = request => response,
                () = self.connection().polls_end(), if !is_moving => return self.packet(NOOP),
                () = tokio::time::sleep(PROBED_POLL), if is_moving => return self.packet(NOOP),
                () = self.connection().moved(), if is_moving => return self.packet(NOOP),
            };
            if response.status() != http::StatusCode::OK {
                return Reply::error(1);
            }
            let body = response.into_body();
            if body.is_empty() {
                // The session ended meanwhile.
                return self.packet(CLOSE);
            }
            let text = String::from_utf8_lossy(&body);
            let packets = self.pass_out(&text).await;
            if !packets.is_empty() {
                return Reply::new(200, TEXT, packets);
            }
        }
    }

    /// A payload of one packet.
    fn packet(&self, packet: &'static str) -> Reply {
        let payload = if self.is_eio3() {
            format!("{}:{packet}", packet.len()).into()
        } else {
            Bytes::from_static(packet.as_bytes())
        };
        Reply::new(200, TEXT, payload)
    }

    /// Puts right what socketioxide tells a polling client.
    async fn pass_out(self: &Arc<Self>, payload: &str) -> String {
        let (connection, eio3) = (self.connection(), self.is_eio3());
        let mut packets = String::with_capacity(payload.len());
        let mut polled = 0;
        let mut farewell = false;
        for packet in payload_packets(payload, eio3) {
            farewell |= packet == FAREWELL;
            polled += cost(packet);
            let packet = match self.outgoing(packet) {
                Outgoing::Pass(packet) => match packet.strip_prefix('b') {
                    // In Engine.IO 3, the type "message" follows the mark of base64.
                    Some(data) if eio3 => Cow::Owned(format!("b4{data}")),
                    _ => Cow::Borrowed(packet),
                },
                Outgoing::Replace(packet) => Cow::Owned(packet),
                Outgoing::Connected(packet) => {
                    connection.connect_passed();
                    Cow::Owned(packet)
                }
                Outgoing::Answer(answer) => {
                    // Boxed, because it is rare and each poll's task would keep room for it.
                    Box::pin(connection.post(answer)).await;
                    continue;
                }
                Outgoing::Last if packets.is_empty() => {
                    farewell = true;
                    Cow::Borrowed(CLOSE)
                }
                Outgoing::Last => {
                    connection.close_later();
                    continue;
                }
                Outgoing::Nothing => continue,
            };
            if eio3 {
                packets.push_str(&format!("{}:{packet}", packet.encode_utf16().count()));
            } else {
                if !packets.is_empty() {
                    packets.push(SEPARATOR);
                }
                packets.push_str(&packet);
            }
        }
        connection.polled(polled);
        if farewell {
            connection.farewell_passed();
        }
        packets
    }

    /// Takes what the client posts; one request at a time.
    pub(super) async fn take_post(self: Arc<Self>, content_type: Option<String>, body: Bytes) -> Reply {
        if self.posting.swap(true, Ordering::AcqRel) {
            self.connection().close(DisconnectReason::TransportError);
            return Reply::new(500, TEXT, "");
        }
        let reply = self.read_payload(content_type, body).await;
        self.posting.store(false, Ordering::Release);
        reply
    }

    async fn read_payload(self: &Arc<Self>, content_type: Option<String>, body: Bytes) -> Reply {
        let connection = self.connection();
        let limit = self.sessions().service.config.max_http_buffer_size;
        self.account().took(body.len());
        if body.len() > limit {
            connection.close(DisconnectReason::TransportError);
            return Reply::new(413, TEXT, "");
        }
        if !self.is_eio3() && content_type.as_deref() == Some(payload::BINARY) {
            connection.close(DisconnectReason::TransportError);
            return Reply::error(3);
        }
        let protocol = if self.is_eio3() {
            ProtocolVersion::V3
        } else {
            ProtocolVersion::V4
        };
        let content_type = content_type.and_then(|value| HeaderValue::from_str(&value).ok());
        let mut packets = std::pin::pin!(payload::packets(body, content_type.as_ref(), protocol, limit as u64));
        while let Some(packet) = packets.next().await {
            let packet = match packet {
                Ok(EnginePacket::Binary(data) | EnginePacket::BinaryV3(data)) => Taken::Binary(data),
                Ok(packet) => Taken::Text(packet.into()),
                Err(_) => {
                    connection.close(DisconnectReason::ParseError);
                    break;
                }
            };
            if let Verdict::Close(reason) = self.take_packet(&packet).await {
                connection.close(reason);
                break;
            }
            self.has_room().await;
        }
        Reply::new(200, "text/html", "ok")
    }
}

/// A packet of a payload.
enum Taken {
    Binary(Bytes),
    Text(String),
}

impl Session {
    /// Takes a packet that the client has posted; the library is to see what is not for us alone.
    async fn take_packet<'a>(self: &Arc<Self>, packet: &'a Taken) -> Verdict<'a> {
        self.heard();
        let connection = self.connection();
        let text = match packet {
            Taken::Binary(data) => return self.on_binary(data),
            Taken::Text(text) => text,
        };
        let verdict = match text.as_bytes() {
            [b'4', ..] => self.on_message(text.get(1..).unwrap_or_default()),
            [b'3'] => {
                self.ponged();
                Verdict::Left
            }
            // Upgrade and noop outside an upgrade mean nothing.
            [b'5' | b'6', ..] => Verdict::Taken,
            _ => Verdict::Left,
        };
        if let Verdict::Foreign(namespace) = verdict {
            connection.answered(ITEM_COST + namespace.len());
        }
        if !matches!(verdict, Verdict::Taken | Verdict::Close(_)) {
            connection.post(text).await;
            if text == CLOSE {
                self.ended();
            }
        }
        verdict
    }
}

/// Bytes that a packet in the polling queue has counted, or more.
pub(super) fn cost(packet: &str) -> usize {
    if !packet.starts_with(['4', 'b']) {
        return 0;
    }
    // What the library answers by itself counts beyond its bytes.
    let besides = if packet.starts_with(REFUSED) { ITEM_COST } else { 0 };
    packet.len() + besides
}

/// The packets of a payload that the library has made.
pub(super) fn payload_packets(payload: &str, eio3: bool) -> impl Iterator<Item = &str> {
    let mut rest = Some(payload).filter(|payload| !payload.is_empty());
    std::iter::from_fn(move || {
        let payload = rest?;
        let (packet, after) = if eio3 {
            let (length, packets) = payload.split_once(':')?;
            let end = utf16_prefix(packets, length.parse().unwrap_or(0));
            let (packet, after) = packets.split_at_checked(end)?;
            (packet, Some(after).filter(|after| !after.is_empty()))
        } else {
            payload
                .split_once(SEPARATOR)
                .map_or((payload, None), |(packet, after)| (packet, Some(after)))
        };
        rest = after;
        Some(packet)
    })
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
