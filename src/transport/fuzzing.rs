//! What the fuzz targets ask of the transport: whole sessions, heads of requests, options.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::{
    runtime::{Builder, Runtime},
    sync::mpsc,
};

use super::{
    ByteSink, Caller, Carrier, Incoming, Transport,
    cors::Cors,
    entrance::Entrance,
    head::{Head, Offer, headers_json},
};
use crate::{
    config::{Config, LimitsConfig, TrustProxy},
    hub::{Identity, Query, RoomInfo, Socket},
    link::Link,
    ports::{EventKind, EventSink, ServiceEvent},
    service::Service,
    wire::{
        json::{Args, event_name, is_json},
        packet::{Packet, PacketKind, RESERVED_EVENTS},
    },
};

/// Between the messages of an input, which a text cannot hold.
const BETWEEN: u8 = 0xff;
/// What a binary message of an input begins with.
const BINARY: u8 = 0xfe;

/// A service with one room, and a member that hears what goes there.
struct Stage {
    runtime: Runtime,
    transport: Arc<Transport>,
    member: Arc<Inbox>,
}

#[derive(Debug, Default)]
struct Inbox(Mutex<Vec<Packet>>);

impl Link for Inbox {
    fn send(&self, packet: &Packet, _: bool) -> bool {
        self.0.lock().push(packet.clone());
        false
    }
}

/// Checks what JavaScript would be told.
struct Told;

impl EventSink for Told {
    fn wants(&self, _: EventKind) -> bool {
        false
    }

    fn emit(&self, event: ServiceEvent) {
        if let ServiceEvent::Client { args, attachments, .. } | ServiceEvent::Ack { args, attachments, .. } = event {
            let text = std::str::from_utf8(&args).expect("text");
            let args = Args::read(text, attachments.len()).expect("a list");
            assert!(args.is_complete && args.depth <= 1_000);
        }
    }
}

/// What a client was sent.
#[derive(Default)]
struct Sent(Mutex<Vec<u8>>);

impl ByteSink for Sent {
    fn write(&self, bytes: Bytes) {
        self.0.lock().extend_from_slice(&bytes);
    }

    fn end(&self) {}

    fn destroy(&self) {}
}

impl Stage {
    fn set() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let mut config = Config {
            worker_threads: 1,
            allow_eio3: true,
            require_membership: false,
            ..Config::default()
        };
        config.history.max_messages_per_room = Some(4);
        let service = Arc::new(Service::new(config, Arc::new(Told), runtime.handle()));
        let member = Arc::new(Inbox::default());
        let socket = Arc::new(Socket::new(
            service.next_key(),
            "member",
            member.clone(),
            "{}".into(),
            0,
        ));
        socket.identify(Identity::new("bob", Some("Bob")));
        service.register(&socket).unwrap();
        let info = RoomInfo {
            registered: true,
            ..RoomInfo::plain("room")
        };
        service.learn_room(info).unwrap();
        let packet = crate::service::ClientPacket {
            args: r#"["room:join",{"roomId":"room"}]"#,
            attachments: Vec::new(),
            id: None,
        };
        service.client_event(&socket, packet).unwrap();
        let transport = Transport::new(service, runtime.handle().clone());
        Self {
            runtime,
            transport,
            member,
        }
    }

    async fn serve(&self, url: &str, messages: Bytes) {
        let caller = Caller {
            headers:
                r#"{"upgrade":"websocket","sec-websocket-version":"13","sec-websocket-key":"AQIDBAUGBwgJCgsMDQ4PEA=="}"#
                    .to_owned(),
            ..Caller::default()
        };
        let upgrade = self.transport.upgrade("GET", url, &caller).expect("an upgrade");
        let sent = Arc::new(Sent::default());
        let (sender, receiver) = mpsc::channel(1);
        let carrier = Carrier::Bridge(sent.clone());
        let connection = self.transport.attach(upgrade, carrier, Incoming::Bridge(receiver), &[]);
        let _ = sender.send(messages).await;
        drop(sender);
        let over = tokio::time::timeout(Duration::from_secs(5), self.transport.quiet()).await;
        assert!(over.is_ok(), "a session that does not end");
        let service = &self.transport.sessions.service;
        service.fanout().flushed().await;
        drop(connection);
        check_frames(&sent.0.lock());
        for packet in std::mem::take(&mut *self.member.0.lock()) {
            check_packet(packet.kind(), packet.args(), packet.attachments().len());
        }
        assert_eq!(service.hub.socket_count(), 1, "a socket that stays");
    }
}

thread_local! {
    static STAGE: Stage = Stage::set();
}

/// Any messages of a client: its session ends when they do, and what others and it are sent are whole packets that a client
/// takes.
pub fn packets(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else { return };
    let mut stream = Vec::new();
    for message in data.split(|byte| *byte == BETWEEN).take(64) {
        match message.split_first() {
            Some((&BINARY, bytes)) => push_frame(&mut stream, 0x82, bytes),
            _ if std::str::from_utf8(message).is_ok() => push_frame(&mut stream, 0x81, message),
            _ => return,
        }
    }
    let url = match kind % 4 {
        0 => "/socket.io/?EIO=3&transport=websocket&username=ann",
        _ => "/socket.io/?EIO=4&transport=websocket&email=a%22b",
    };
    STAGE.with(|stage| stage.runtime.block_on(stage.serve(url, stream.into())));
}

/// A frame with the mask zero.
fn push_frame(stream: &mut Vec<u8>, first: u8, payload: &[u8]) {
    stream.extend([first, 0xff]);
    stream.extend((payload.len() as u64).to_be_bytes());
    stream.extend([0; 4]);
    stream.extend(payload);
}

fn check_frames(sent: &[u8]) {
    let end = sent
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .expect("a head");
    let mut rest = &sent[end + 4..];
    let mut partial: Option<(usize, String)> = None;
    while let [first, length, after @ ..] = rest {
        let (length, after) = match length {
            126 => (usize::from(u16::from_be_bytes([after[0], after[1]])), &after[2..]),
            127 => (u64::from_be_bytes(after[..8].try_into().unwrap()) as usize, &after[8..]),
            length => (usize::from(*length), after),
        };
        let (payload, after) = after.split_at(length);
        rest = after;
        match first {
            0x81 => {
                let text = std::str::from_utf8(payload).expect("text");
                assert!(partial.is_none(), "a text between attachments");
                match text.as_bytes() {
                    [b'4', b'2' | b'3' | b'5' | b'6', ..] => partial = check_text(&text[1..]),
                    [b'4', b'0' | b'4', ..] => {
                        let json = match text[2..].strip_prefix('/') {
                            Some(named) => named.split_once(',').map_or("", |(_, json)| json),
                            None => &text[2..],
                        };
                        assert!(json.is_empty() || is_json(json), "no JSON: {text}");
                    }
                    _ => {}
                }
            }
            0x82 => {
                let (left, _) = partial.as_mut().expect("an attachment of nothing");
                *left -= 1;
                if *left == 0 {
                    partial = None;
                }
            }
            _ => assert!(payload.len() <= 125),
        }
    }
    assert!(
        rest.is_empty() && partial.is_none(),
        "the end of a frame or packet is missing"
    );
}

/// A packet of the server; how many attachments follow.
fn check_text(text: &str) -> Option<(usize, String)> {
    let (count, body) = match text.as_bytes()[0] {
        b'5' | b'6' => {
            let (count, body) = text[1..].split_once('-').expect("a number of attachments");
            (count.parse().unwrap(), body)
        }
        _ => (0, &text[1..]),
    };
    let args = body.trim_start_matches(|character: char| character.is_ascii_digit());
    let kind = match text.as_bytes()[0] {
        b'2' | b'5' => PacketKind::Event(None),
        _ => PacketKind::Ack(0),
    };
    check_packet(kind, args, count);
    (count > 0).then(|| (count, args.to_owned()))
}

fn check_packet(kind: PacketKind, args: &str, attachments: usize) {
    let read = Args::read(args, attachments).unwrap_or_else(|_| panic!("no list: {args}"));
    assert!(read.is_complete && attachments <= 10, "{args}");
    assert!(read.depth <= 1_004, "{} levels", read.depth);
    if let PacketKind::Event(_) = kind {
        let name = event_name(args).expect("a name");
        assert!(!RESERVED_EVENTS.contains(&&*name), "{name}");
    }
}

/// A request: its first line is the URL, the others are headers, or all of it is headers as JavaScript tells them.
pub fn head(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    offered(&text);
    let mut lines = data.split(|byte| *byte == b'\n');
    let url = String::from_utf8_lossy(lines.next().unwrap_or_default());
    query(&url);
    let mut headers = HeaderMap::new();
    for line in lines.take(100) {
        let at = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let value = HeaderValue::from_bytes(line.get(at + 1..).unwrap_or_default());
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(&line[..at]), value) {
            headers.append(name, value);
        }
    }
    let json = headers_json(&headers);
    let value: Value = serde_json::from_str(&json).expect("headers as JSON");
    assert_eq!(value.as_object().unwrap().len(), headers.keys_len());
    offered(&json);
    let address = headers
        .get("x-address")
        .and_then(|value| value.to_str().ok())
        .unwrap_or("10.0.0.1");
    let caller = Caller {
        headers: json,
        address: address.to_owned(),
        ..Caller::default()
    };
    let handshake = Head::new(&url, &caller).handshake(r#"{"a":1}"#);
    assert!(is_json(&handshake.json(1)));
    assert_eq!(handshake.url().as_deref(), Some(&*url));
    for limits in [
        r#"{"trustProxy":{"hops":2}}"#,
        r#"{"trustProxy":{"networks":["10.0.0.0/8"]}}"#,
    ] {
        let mut limits: LimitsConfig = serde_json::from_str(limits).unwrap();
        limits.connections_per_address = Some(1);
        let entrance = Entrance::new(&limits);
        let place = entrance.enter(&caller);
        assert!(place.is_ok_and(|place| place.is_some()));
    }
    for cors in [
        r#"{"origin":true,"credentials":true}"#,
        r#"{"origin":["https://a.b"]}"#,
        r#"{"origin":false}"#,
    ] {
        let cors: Cors = serde_json::from_str(cors).unwrap();
        let _ = (cors.headers(&headers), cors.preflight(&headers));
        let _ = (
            cors.admits_upgrade(&headers, true),
            cors.admits_upgrade(&headers, false),
        );
    }
    STAGE.with(|stage| {
        let _entered = stage.runtime.enter();
        for upgrade in [true, false] {
            if let Err(reply) = stage.transport.check("GET", &url, upgrade) {
                assert!(!reply.message().is_empty() && is_json(std::str::from_utf8(&reply.body).unwrap()));
            }
        }
    });
}

/// The response to an upgrade has only lines that belong there, whatever was asked for.
fn offered(headers: &str) {
    if let Ok(response) = Offer::parse(headers).accept() {
        let mut lines: Vec<_> = response.split("\r\n").collect();
        assert_eq!(lines.split_off(lines.len() - 2), ["", ""]);
        assert!(lines.len() <= 5, "{response}");
        assert!(
            !lines.iter().any(|line| line.contains(['\r', '\n', '\0'])),
            "{response}"
        );
    }
}

/// One reading of a query agrees with the other.
fn query(url: &str) {
    let query = Query::of(url);
    let told: Value = serde_json::from_str(&query.json()).expect("a query as JSON");
    for name in ["transport", "sid", "EIO", "username", "email"] {
        let text = told.get(name).and_then(Value::as_str);
        assert_eq!(query.text(name).as_deref(), text, "{name}");
        assert_eq!(
            query.gives(name),
            told.get(name).is_some() && text != Some(""),
            "{name}"
        );
    }
}

/// Options are refused or taken; what is taken can be used, and shows no secret.
pub(crate) fn options(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(config) = serde_json::from_str::<Config>(text) {
        let _ = Entrance::new(&config.limits);
        let shown = format!("{config:?}");
        if let Some(password) = config.redis.as_ref().and_then(|redis| redis.password.as_ref()) {
            let secret = password.reveal();
            assert!(!secret.starts_with("SECRET-") || secret.len() < 12 || !shown.contains(secret));
        }
    }
    let _ = serde_json::from_str::<TrustProxy>(text);
    let _ = serde_json::from_str::<Cors>(text);
    #[cfg(unix)]
    {
        let _ = serde_json::from_str::<super::DoorConfig>(text);
        let _ = serde_json::from_str::<super::TlsOptions>(text);
    }
}
