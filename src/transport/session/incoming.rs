//! What a client's packets mean: events and acknowledgements, in order, and its CONNECT.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::{Early, Inner, Partial, Pending, Ping, Session, Standing, Verdict};
use crate::{
    backpressure::{self, ITEM_COST, Work},
    disconnect::DisconnectReason,
    hub::Socket,
    service::{ClientPacket, Service},
    wire::packet::MAX_ATTACHMENTS,
};

impl Session {
    /// Takes a text packet of Engine.IO: its type, then its data.
    pub(in crate::transport) fn on_text(&self, text: &str) -> Verdict {
        self.hear(|| self.take_text(text))
    }

    fn take_text(&self, text: &str) -> Verdict {
        match text.as_bytes() {
            [b'4', b'2' | b'3' | b'5' | b'6', ..] => self.on_packet(text.get(1..).unwrap_or_default()),
            [b'4', b'0', ..] => self.on_connect(text.get(2..).unwrap_or_default()),
            [b'4', b'1'] | [b'4', b'1', b'/'] | [b'4', b'1', b'/', b','] => {
                // At once, so that what follows belongs to the next socket on this transport.
                self.departed(DisconnectReason::ClientLeft);
                Verdict::Pass
            }
            [b'3'] => {
                self.on_pong();
                Verdict::Pass
            }
            // Upgrade and noop outside an upgrade mean nothing.
            [b'5' | b'6', ..] => Verdict::Taken,
            _ => Verdict::Pass,
        }
    }

    /// Takes a binary packet: an attachment of the packet before.
    pub(in crate::transport) fn on_binary(&self, data: &[u8]) -> Verdict {
        self.hear(|| self.take_binary(data))
    }

    fn take_binary(&self, data: &[u8]) -> Verdict {
        let data = if self.is_eio3() {
            data.get(1..).unwrap_or_default()
        } else {
            data
        };
        let mut inner = self.inner.lock();
        let Some(partial) = &mut inner.partial else {
            return Verdict::Close(DisconnectReason::ParseError);
        };
        partial.attachments.push(Bytes::copy_from_slice(data));
        partial.charges.push(backpressure::charge(Work::Arrival, data.len()));
        if partial.attachments.len() < partial.expected {
            return Verdict::Taken;
        }
        match inner.partial.take() {
            Some(whole) => self.receive(&mut inner, whole.text, whole.attachments),
            None => Verdict::Taken,
        }
    }

    fn on_packet(&self, packet: &str) -> Verdict {
        let mut inner = self.inner.lock();
        if inner.partial.is_some() {
            return Verdict::Close(DisconnectReason::ParseError);
        }
        if packet.starts_with(['5', '6']) {
            let Some((expected, text)) = split_attachments(packet) else {
                return Verdict::Close(DisconnectReason::ParseError);
            };
            if expected > 0 {
                inner.partial = Some(Partial {
                    charges: vec![backpressure::charge(Work::Arrival, text.len())],
                    text,
                    expected,
                    attachments: Vec::new(),
                });
                return Verdict::Taken;
            }
            return self.receive(&mut inner, text, Vec::new());
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

    fn receive(&self, inner: &mut Inner, text: String, attachments: Vec<Bytes>) -> Verdict {
        match &mut inner.standing {
            Standing::Connecting(pending) => {
                let size = text.len() + attachments.iter().map(Bytes::len).sum::<usize>();
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

    /// A CONNECT to the default namespace: what follows it waits for the answer.
    fn on_connect(&self, rest: &str) -> Verdict {
        let auth = match rest.strip_prefix('/') {
            Some(rest) => match rest.strip_prefix(',') {
                Some(auth) => auth,
                // Another namespace, which the library refuses.
                None if !rest.is_empty() => {
                    let name = rest.split_once(',').map_or(rest, |(name, _)| name);
                    self.connection.answered(ITEM_COST + name.len());
                    return Verdict::Pass;
                }
                None => rest,
            },
            None => rest,
        };
        // It becomes part of the handshake object, so it must be one JSON object, as Socket.IO's parser has it.
        let is_object = auth.starts_with('{') && serde_json::from_str::<&RawValue>(auth).is_ok();
        if !(auth.is_empty() || is_object) {
            return Verdict::Close(DisconnectReason::ParseError);
        }
        let mut inner = self.inner.lock();
        if matches!(inner.standing, Standing::Left) {
            // A socket that left may come back on the same transport; its CONNECT answer goes first again.
            self.connection.hold();
        }
        if matches!(inner.standing, Standing::Opened | Standing::Left) {
            inner.standing = Standing::Connecting(Pending::default());
        }
        Verdict::Pass
    }

    fn on_pong(&self) {
        let mut inner = self.inner.lock();
        if let Ping::Sent(at) = inner.ping {
            inner.ping = Ping::Answered;
            self.connection.heartbeat(at.elapsed());
        }
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
    let mut rest = packet.get(1..).unwrap_or_default();
    if rest.starts_with('/') {
        let (namespace, after) = rest.split_once(',').unwrap_or((rest, ""));
        if namespace != "/" {
            // As Socket.IO does with a packet for a namespace that the client is not in.
            return Err(DisconnectReason::ForcedServerClose);
        }
        rest = after;
    }
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (id, args) = rest.split_at_checked(digits).unwrap_or((rest, ""));
    let id = if id.is_empty() {
        None
    } else {
        Some(id.parse().map_err(|_| DisconnectReason::ParseError)?)
    };
    let packet = ClientPacket { args, attachments, id };
    let handled = if is_ack {
        service.client_ack(socket, packet)
    } else {
        service.client_event(socket, packet)
    };
    handled.map_err(|_| DisconnectReason::ParseError)
}

/// The announced number of attachments, and the packet without it.
fn split_attachments(packet: &str) -> Option<(usize, String)> {
    let (kind, rest) = packet.split_at_checked(1)?;
    let (count, rest) = rest.split_once('-')?;
    if count.is_empty() || !count.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: usize = count.parse().ok().filter(|count| *count <= MAX_ATTACHMENTS)?;
    Some((count, format!("{kind}{rest}")))
}
