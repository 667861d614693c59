//! Long-polling: the handshake, polls and posts of one client. What socketioxide says is put right on its way out; what the
//! client says is taken before it gets there.

use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::HeaderValue;

use super::{
    engine::{Engine, SessionId},
    entrance::Place,
    head::Head,
    poll_queue::{PollQueue, Waiting},
    reply::{Reply, TEXT},
    session::{Session, Verdict, no_namespace, rewrite::Outgoing},
    sessions::Sessions,
};
use crate::{
    backpressure::ITEM_COST,
    config::Limit,
    disconnect::DisconnectReason,
    wire::payload::{self, CLOSE, FAREWELL, NOOP, PING, PONG, Posted, SEPARATOR},
};

/// How long a poll may wait while its client moves to WebSocket.
const PROBED_POLL: Duration = Duration::from_millis(100);

impl Session {
    /// Opens a session.
    pub(super) async fn open(
        sessions: &Arc<Sessions<Self>>,
        head: Head,
        place: Option<Box<Place>>,
        eio3: bool,
    ) -> Reply {
        let session = Self::new(sessions, head, place, eio3, false);
        let text = sessions.engine.open(eio3, session.clone()).await;
        if let Some(at) = text.find("0{") {
            session.outgoing(text.get(at..).unwrap_or_default());
        }
        let Some(sid) = session.sid() else {
            return Reply::error(3);
        };
        let listening = listen(Arc::downgrade(&session), sessions.engine.clone(), sid, eio3);
        sessions.common.runtime.spawn(listening);
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
        let connection = self.connection();
        let Some(queue) = connection.queue() else {
            return Reply::error(3);
        };
        let Some(_turn) = queue.turn() else {
            if self.phase().is_on_websocket() {
                return Reply::error(3);
            }
            // As Engine.IO has it.
            connection.close(DisconnectReason::TransportError);
            return Reply::error(1);
        };
        // Of an upgrade that began before, only a while is waited for.
        let is_moving = self.phase().ends_polls();
        tokio::select! {
            biased;
            () = queue.filled(|| self.phase().is_on_websocket() || (!is_moving && self.phase().is_probed())) => {}
            () = tokio::time::sleep(PROBED_POLL), if is_moving => {}
        }
        let payload = self.fetch(queue);
        match payload.is_empty() {
            true if queue.has_ended() => Reply::error(1),
            // The client moves to WebSocket.
            true => self.packet(NOOP),
            false => Reply::new(200, TEXT, payload),
        }
    }

    /// A payload of one packet.
    fn packet(&self, packet: &'static str) -> Reply {
        let mut payload = String::new();
        payload::put(&mut payload, packet, self.is_eio3());
        Reply::new(200, TEXT, payload)
    }

    /// Takes what waits into a payload, which is not to become longer than one that a client may send.
    fn fetch(&self, queue: &PollQueue) -> String {
        let (eio3, limit) = (self.is_eio3(), self.sessions().service.config.max_http_buffer_size);
        let (mut payload, mut polled, mut is_last) = (String::new(), 0, false);
        let (mut count, mut bytes) = (0, 0);
        let taken = queue.take_while(|item| {
            let fits = match item {
                _ if count == 0 => true,
                Waiting::Packet(packet) => bytes + packet.polling_len() < limit,
                Waiting::Text(_) | Waiting::Farewell => true,
                // The client would drop what comes with it in one.
                Waiting::Close => false,
            };
            count += 1;
            bytes += item.len();
            fits
        });
        for item in taken {
            polled += item.len();
            match item {
                Waiting::Packet(packet) => {
                    payload::put(&mut payload, packet.text(), eio3);
                    for attachment in packet.attachments() {
                        payload::put_binary(&mut payload, attachment, eio3);
                    }
                }
                Waiting::Text(text) => payload::put(&mut payload, &text, eio3),
                Waiting::Farewell => {
                    is_last = true;
                    payload::put(&mut payload, FAREWELL, eio3);
                }
                Waiting::Close => {
                    is_last = true;
                    payload::put(&mut payload, CLOSE, eio3);
                }
            }
        }
        self.connection().polled(polled);
        if is_last {
            self.connection().farewell_passed();
        }
        payload
    }

    /// The client begins a POST, whose body is read only now; one at a time, as Engine.IO has it.
    pub(super) fn begin_post(&self) -> Result<(), Reply> {
        if self.posting.swap(true, Ordering::AcqRel) {
            self.connection().close(DisconnectReason::TransportError);
            return Err(Reply::new(400, TEXT, ""));
        }
        Ok(())
    }

    /// The POST that was begun is over.
    pub(super) fn end_post(&self) {
        self.posting.store(false, Ordering::Release);
    }

    /// Takes what the client posts.
    pub(super) async fn take_post(self: Arc<Self>, content_type: Option<String>, body: Bytes) -> Reply {
        let reply = self.read_payload(content_type, body).await;
        self.end_post();
        if self.unfinished_for().is_some() {
            self.wait_for_the_rest();
        }
        reply
    }

    /// Ends a client that does not send the rest of a packet.
    fn wait_for_the_rest(self: &Arc<Self>) {
        let (session, most) = (
            Arc::downgrade(self),
            self.sessions().service.config.limits.message_timeout,
        );
        self.sessions().common.runtime.spawn(async move {
            tokio::time::sleep(most).await;
            if let Some(session) = session.upgrade() {
                session.is_too_slow_to_send();
            }
        });
    }

    async fn read_payload(self: &Arc<Self>, content_type: Option<String>, body: Bytes) -> Reply {
        let connection = self.connection();
        let limit = self.sessions().service.config.max_http_buffer_size;
        self.account().took(body.len());
        if body.len() > limit {
            self.exceeded(Limit::MaxHttpBufferSize);
            connection.close(DisconnectReason::TransportError);
            return Reply::new(413, TEXT, "");
        }
        if !self.is_eio3() && content_type.as_deref() == Some(payload::BINARY) {
            connection.close(DisconnectReason::TransportError);
            return Reply::new(400, TEXT, "");
        }
        let content_type = content_type.and_then(|value| HeaderValue::from_str(&value).ok());
        let packets = payload::packets(body, content_type.as_ref(), self.is_eio3(), limit as u64);
        let mut packets = std::pin::pin!(packets);
        while let Some(packet) = packets.next().await {
            let Ok(packet) = packet else {
                connection.close(DisconnectReason::ParseError);
                break;
            };
            if !self.take_packet(&packet).await {
                break;
            }
            self.has_room().await;
        }
        Reply::new(200, "text/html", "ok")
    }
}

/// Hears what socketioxide says to a client, for as long as it has the session.
async fn listen(session: Weak<Session>, engine: Arc<Engine>, sid: SessionId, eio3: bool) {
    let mut has_ended = false;
    while let Some(asked) = engine.poll(sid, eio3) {
        let response = asked.await;
        let Some(session) = session.upgrade() else { return };
        if response.status() != http::StatusCode::OK || response.body().is_empty() {
            return session.forgotten(has_ended);
        }
        let said = String::from_utf8_lossy(response.body());
        for packet in payload_packets(&said, eio3) {
            has_ended |= packet == NOOP && !session.phase().is_closing();
            session.pass(packet).await;
        }
    }
}

impl Session {
    /// Passes on what socketioxide says, put right.
    async fn pass(self: &Arc<Self>, packet: &str) {
        let connection = self.connection();
        match self.outgoing(packet) {
            // It ends a poll.
            Outgoing::Pass(NOOP) if self.phase().is_on_websocket() => {}
            Outgoing::Pass(packet) => connection.say(packet.to_owned()),
            Outgoing::Replace(packet) => connection.say(packet),
            Outgoing::Connected(packet) => connection.say_connected(packet),
            Outgoing::Answer(answer) => connection.post(answer).await,
            Outgoing::Nothing => {}
        }
        // Somebody may wait for the answer to a CONNECT.
        connection.has_changed();
    }

    /// The library has ended the session; the client knows when its poll `has_ended`.
    fn forgotten(&self, has_ended: bool) {
        let Some(queue) = self.connection().queue() else { return };
        if !has_ended && !self.phase().is_on_websocket() {
            queue.push(Waiting::Close);
        }
        queue.end();
    }

    /// Takes a packet that the client has posted. False when the session ends: what follows is ignored.
    async fn take_packet(self: &Arc<Self>, packet: &Posted) -> bool {
        if self.phase().is_leaving() || self.phase().is_closing() {
            return false;
        }
        self.heard();
        let (connection, eio3) = (self.connection(), self.is_eio3());
        let verdict = match packet {
            Posted::Binary(data) => self.on_binary(data),
            Posted::Text(text) => match text.as_bytes() {
                [b'4', ..] => self.on_message(text.get(1..).unwrap_or_default()),
                [b'2', ..] if eio3 => {
                    connection.post(PING).await;
                    return true;
                }
                [b'3', ..] if !eio3 => {
                    self.ponged();
                    connection.post(PONG).await;
                    return true;
                }
                // A heartbeat in the wrong direction.
                [b'2' | b'3', ..] => {
                    connection.close(DisconnectReason::TransportError);
                    return false;
                }
                [b'1', ..] => {
                    connection.post(CLOSE).await;
                    self.ended();
                    return false;
                }
                // Open, upgrade and noop mean nothing here.
                _ => return true,
            },
        };
        match verdict {
            Verdict::Taken => {}
            Verdict::Connect(auth) => connection.post(&format!("40{auth}")).await,
            Verdict::Left => connection.post(FAREWELL).await,
            Verdict::Foreign(namespace) => {
                connection.answered(ITEM_COST + namespace.len());
                connection.say(no_namespace(namespace));
            }
            Verdict::Close(reason) => {
                connection.because(reason.clone());
                self.departed(reason.clone());
                connection.close_behind_queue(reason);
                return false;
            }
        }
        true
    }
}

/// The packets of a payload that the library has made.
fn payload_packets(payload: &str, eio3: bool) -> impl Iterator<Item = &str> {
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
