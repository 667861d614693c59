//! What a client's Socket.IO packets mean: events and acknowledgements, in order, and its CONNECT.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::{Early, Inner, Partial, Session, Standing, Verdict};
use crate::{
    backpressure::{self, ITEM_COST, Work},
    config::Limit,
    disconnect::DisconnectReason,
    hub::Socket,
    service::{ClientPacket, Service},
    wire::packet::MAX_ATTACHMENTS,
};

impl Session {
    /// Takes the text of a Socket.IO packet.
    pub(in crate::transport) fn on_message<'a>(&self, packet: &'a str) -> Verdict<'a> {
        let rest = packet.get(1..).unwrap_or_default();
        self.account().causes(|| match packet.as_bytes() {
            [b'2' | b'3' | b'5' | b'6', ..] => self.on_packet(packet),
            _ if self.inner.lock().partial.is_some() => Verdict::Close(DisconnectReason::ParseError),
            [b'0', ..] => self.on_connect(rest),
            [b'1', ..] => self.on_disconnect(rest),
            // CONNECT_ERROR, which only servers send.
            [b'4', ..] => Verdict::Close(DisconnectReason::ForcedServerClose),
            _ => Verdict::Close(DisconnectReason::ParseError),
        })
    }

    /// Takes a binary packet: an attachment of the packet before.
    pub(in crate::transport) fn on_binary(&self, data: &[u8]) -> Verdict<'static> {
        self.account().causes(|| self.take_binary(data))
    }

    fn take_binary(&self, data: &[u8]) -> Verdict<'static> {
        let mut guard = self.inner.lock();
        let inner = &mut *guard;
        let Some(partial) = &mut inner.partial else {
            return Verdict::Close(DisconnectReason::ParseError);
        };
        partial.attachments.push(Bytes::copy_from_slice(data));
        partial.charges.push(backpressure::charge(Work::Arrival, data.len()));
        if partial.attachments.len() < partial.expected {
            return Verdict::Taken;
        }
        match inner.partial.take() {
            Some(whole) => self.receive(inner, whole.text, whole.attachments),
            None => Verdict::Taken,
        }
    }

    /// At once, so that what follows belongs to the next socket on this transport.
    fn on_disconnect(&self, rest: &str) -> Verdict<'static> {
        let (namespace, rest) = split_namespace(rest);
        if !split_id(rest).1.is_empty() {
            return Verdict::Close(DisconnectReason::ParseError);
        }
        if namespace != "/" {
            return Verdict::Close(DisconnectReason::ForcedServerClose);
        }
        let verdict = match &self.inner.lock().standing {
            Standing::Opened => return Verdict::Close(DisconnectReason::ForcedServerClose),
            // The server has said goodbye at the same time.
            Standing::Left => return Verdict::Taken,
            // The library learns from the answer for which it waits.
            Standing::Connecting(pending) if pending.socket.is_none() || pending.library.is_some() => Verdict::Taken,
            Standing::Connecting(_) | Standing::Connected(_) => Verdict::Left,
        };
        self.departed(DisconnectReason::ClientLeft);
        verdict
    }

    fn on_packet(&self, packet: &str) -> Verdict<'static> {
        let mut inner = self.inner.lock();
        if inner.partial.is_some() {
            return Verdict::Close(DisconnectReason::ParseError);
        }
        if packet.starts_with(['5', '6']) {
            let Some((expected, text)) = split_attachments(packet) else {
                return Verdict::Close(DisconnectReason::ParseError);
            };
            inner.partial = Some(Box::new(Partial {
                began: self.sessions.common.now(),
                charges: vec![backpressure::charge(Work::Arrival, text.len())],
                text,
                expected,
                attachments: Vec::new(),
            }));
            return Verdict::Taken;
        }
        match &inner.standing {
            Standing::Connected(socket) => {
                let socket = socket.clone();
                drop(inner);
                match dispatch(&self.sessions.service, &socket, packet, Vec::new()) {
                    Ok(()) => Verdict::Taken,
                    Err(reason) => Verdict::Close(reason),
                }
            }
            _ => self.receive(&mut inner, packet.to_owned(), Vec::new()),
        }
    }

    fn receive(&self, inner: &mut Inner, text: String, attachments: Vec<Bytes>) -> Verdict<'static> {
        match &mut inner.standing {
            Standing::Connecting(pending) => {
                let size = text.len() + attachments.iter().map(Bytes::len).sum::<usize>();
                pending.early_bytes += size + ITEM_COST;
                if pending.early_bytes > self.sessions.service.config.limits.max_early_bytes {
                    self.exceeded(Limit::MaxEarlyBytes);
                    return Verdict::Close(DisconnectReason::TransportError);
                }
                pending.early.push(Early {
                    text,
                    attachments,
                    _charge: backpressure::charge(Work::JavaScript, size),
                });
                Verdict::Taken
            }
            Standing::Connected(socket) => match dispatch(&self.sessions.service, socket, &text, attachments) {
                Ok(()) => Verdict::Taken,
                Err(reason) => Verdict::Close(reason),
            },
            // What was on its way when the server said goodbye.
            Standing::Left => Verdict::Taken,
            Standing::Opened => Verdict::Close(DisconnectReason::ForcedServerClose),
        }
    }

    /// A CONNECT: what follows it waits for the answer.
    fn on_connect<'a>(&self, rest: &'a str) -> Verdict<'a> {
        let (namespace, rest) = split_namespace(rest);
        let (_, auth) = split_id(rest);
        // It becomes part of the handshake object, so it must be one JSON object, as Socket.IO's parser has it.
        let is_object = auth.starts_with('{') && serde_json::from_str::<&RawValue>(auth).is_ok();
        if !(auth.is_empty() || is_object) {
            return Verdict::Close(DisconnectReason::ParseError);
        }
        if namespace != "/" {
            return Verdict::Foreign(namespace);
        }
        let mut inner = self.inner.lock();
        match &inner.standing {
            Standing::Connected(socket) if socket.is_connected() => {
                return Verdict::Close(DisconnectReason::ForcedServerClose);
            }
            // It is being decided already.
            Standing::Connecting(_) => return Verdict::Taken,
            Standing::Opened => {}
            // A socket that left may come back on the same transport; its CONNECT answer goes first again.
            Standing::Connected(_) | Standing::Left => self.connection.hold(),
        }
        inner.standing = Standing::Connecting(Box::default());
        inner.awaits_library = !self.phase().is_on_websocket();
        // Of the socket before.
        inner.connection_number = 0;
        Verdict::Connect(auth)
    }
}

/// Splits a complete packet of type 2, 3, 5 or 6 (attachments cut out) and has it handled.
pub(super) fn dispatch(
    service: &Service,
    socket: &Arc<Socket>,
    packet: &str,
    attachments: Vec<Bytes>,
) -> Result<(), DisconnectReason> {
    let is_ack = packet.starts_with(['3', '6']);
    let (namespace, rest) = split_namespace(packet.get(1..).unwrap_or_default());
    if namespace != "/" {
        // As Socket.IO does with a packet for a namespace that the client is not in.
        return Err(DisconnectReason::ForcedServerClose);
    }
    let (id, args) = split_id(rest);
    // An acknowledgement of nothing is one, too.
    let args = if is_ack && args.is_empty() { "[]" } else { args };
    let id = if id.is_empty() {
        None
    } else {
        Some(id.parse().map_err(|_| DisconnectReason::ParseError)?)
    };
    let packet = ClientPacket { args, attachments, id };
    if is_ack {
        service.client_ack(socket, packet)
    } else {
        service.client_event(socket, packet)
    }
}

/// The namespace of a packet without its type, and what follows.
fn split_namespace(rest: &str) -> (&str, &str) {
    match rest.starts_with('/') {
        true => rest.split_once(',').unwrap_or((rest, "")),
        false => ("/", rest),
    }
}

/// The id for an acknowledgement, if there is one, and what follows.
fn split_id(rest: &str) -> (&str, &str) {
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    rest.split_at_checked(digits).unwrap_or(("", rest))
}

/// The announced number of attachments, and the packet without it.
fn split_attachments(packet: &str) -> Option<(usize, String)> {
    let (kind, rest) = packet.split_at_checked(1)?;
    let (count, rest) = rest.split_once('-')?;
    if count.is_empty() || !count.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: usize = count
        .parse()
        .ok()
        .filter(|count| (1..=MAX_ATTACHMENTS).contains(count))?;
    Some((count, format!("{kind}{rest}")))
}
