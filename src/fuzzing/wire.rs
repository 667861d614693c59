//! WebSocket frames, payloads of polls, JSON.

use std::io::{Cursor, Read, Write};

use bytes::Bytes;
use engineioxide_core::{Packet, ProtocolVersion};
use futures_util::{FutureExt as _, StreamExt as _};
use http::HeaderValue;
use serde_json::Value;
use tungstenite::protocol::{
    Role, WebSocket, WebSocketConfig,
    frame::coding::{Control, OpCode},
};

use crate::wire::{
    frame::{FrameError, FrameReader, Message, close_status},
    json::{
        self, Args, Event, Events, Kind, canonical, decode, event_name, is_json, members, number_name, push_canonical,
        quoted, steps, wtf8,
    },
    payload::{self as polled, NoPacket, Posted},
};

/// A message that owns what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Heard {
    Text(String),
    Binary(Vec<u8>),
    Control(OpCode, Vec<u8>),
}

fn own(message: &Message<'_>) -> Heard {
    match message {
        Message::Text(text) => Heard::Text((*text).to_owned()),
        Message::Binary(bytes) => Heard::Binary(bytes.to_vec()),
        Message::Control(code, payload) => {
            if let OpCode::Control(Control::Close) = code {
                let _ = close_status(payload);
            }
            Heard::Control(*code, payload.to_vec())
        }
    }
}

/// A stream gives the same messages and the same end however it is cut, and wherever the reader was stopped; no more is
/// kept than a message and a frame may have; and the library's reader hears the same.
pub fn frames(data: &[u8]) {
    let Some((&[kind, a, b, c], stream)) = data.split_first_chunk() else {
        return;
    };
    let limit = if kind & 1 == 0 { 300 } else { 70_000 };
    let whole = read_in_pieces(stream, limit, &[stream.len().max(1)], false);
    let cuts = [a, b, c].map(|size| usize::from(size) + 1);
    assert_eq!(read_in_pieces(stream, limit, &cuts, false), whole, "cut");
    assert_eq!(read_in_pieces(stream, limit, &[1], false), whole, "cut to bytes");
    assert_eq!(read_in_pieces(stream, limit, &cuts, true), whole, "stopped");
    compare_with_library(stream, limit, &whole.0, whole.1);
}

fn read_in_pieces(stream: &[u8], limit: usize, cuts: &[usize], stops: bool) -> (Vec<Heard>, Option<FrameError>) {
    let mut reader = FrameReader::default();
    let mut heard = Vec::new();
    let mut rest = stream;
    for cut in cuts.iter().cycle() {
        let (piece, after) = rest.split_at(rest.len().min(*cut));
        rest = after;
        let mut piece = piece.to_vec();
        loop {
            let outcome = reader.read(&mut piece, limit, |message| {
                heard.push(own(&message));
                !stops
            });
            if let Err(error) = outcome {
                return (heard, Some(error));
            }
            if !reader.is_stopped() {
                break;
            }
            piece.clear();
        }
        // Fragments of a message; the largest header, and a control frame between them.
        assert!(reader.kept() <= limit + 14 + 125, "{} bytes are kept", reader.kept());
        if rest.is_empty() {
            return (heard, None);
        }
    }
    (heard, None)
}

/// Reads what is there, and takes whatever is written.
struct Wire<'a>(Cursor<&'a [u8]>);

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn compare_with_library(stream: &[u8], limit: usize, ours: &[Heard], end: Option<FrameError>) {
    let config = WebSocketConfig::default()
        .max_message_size(Some(limit))
        .max_frame_size(Some(limit));
    let mut library = WebSocket::from_raw_socket(Wire(Cursor::new(stream)), Role::Server, Some(config));
    let mut theirs = Vec::new();
    loop {
        use tungstenite::Message as Theirs;
        theirs.push(match library.read() {
            Ok(Theirs::Text(text)) => Heard::Text(text.as_str().to_owned()),
            Ok(Theirs::Binary(bytes)) => Heard::Binary(bytes.to_vec()),
            Ok(Theirs::Ping(bytes)) => Heard::Control(OpCode::Control(Control::Ping), bytes.to_vec()),
            Ok(Theirs::Pong(bytes)) => Heard::Control(OpCode::Control(Control::Pong), bytes.to_vec()),
            Ok(_) | Err(_) => break,
        });
    }
    for (one, other) in ours.iter().zip(&theirs) {
        if let Heard::Control(OpCode::Control(Control::Close), _) = one {
            return;
        }
        assert_eq!(one, other, "the library hears something else");
    }
    // It takes control frames whose length is written in more bytes than it needs, as `ws` does not.
    if let (Some(FrameError::Invalid), Some(Heard::Control(..))) = (end, theirs.get(ours.len())) {
        return;
    }
    // It looks at the text of fragments before the last has come, and not behind a close frame.
    assert!(theirs.len() <= ours.len(), "the library hears more");
}

/// The bodies of polls: as long texts of Engine.IO 3 are read as the library reads them, packets are no more than bytes,
/// and what was read comes back from what is written of it.
pub fn payload(data: &[u8]) {
    const LIMIT: u64 = 1 << 20;
    let Some((kind, body)) = data.split_first() else { return };
    let content_type = match kind % 3 {
        0 => Some(HeaderValue::from_static(polled::BINARY)),
        1 => Some(HeaderValue::from_static("text/plain;charset=UTF-8")),
        _ => None,
    };
    let eio3 = kind & 64 != 0;
    let mut read = Vec::new();
    let count = steps::of(|| read = read_body(body, content_type.as_ref(), eio3, LIMIT));
    assert!(count <= 4 * body.len() + 64, "{count} steps for {} bytes", body.len());
    assert!(read.len() <= body.len() + 1);
    let Ok(packets) = read.into_iter().collect::<Result<Vec<_>, _>>() else {
        return;
    };
    let is_text = content_type.as_ref().is_none_or(|kind| kind != polled::BINARY);
    // What is no UTF-8 is read as Node.js reads it, and the library does not.
    if eio3 && is_text && std::str::from_utf8(body).is_ok() {
        let theirs = engineioxide_core::payload::decoder(
            http_body_util::Full::new(Bytes::copy_from_slice(body)),
            content_type.as_ref(),
            ProtocolVersion::V3,
            LIMIT,
        );
        let theirs: Vec<_> = theirs.collect().now_or_never().expect("nothing is waited for");
        if let Ok(theirs) = theirs.into_iter().collect::<Result<Vec<_>, _>>() {
            assert_eq!(packets.len(), theirs.len());
            for (ours, theirs) in packets.iter().zip(theirs) {
                match (ours, theirs) {
                    (Posted::Binary(ours), Packet::Binary(theirs) | Packet::BinaryV3(theirs)) => {
                        assert_eq!(*ours, theirs)
                    }
                    (Posted::Text(ours), theirs @ Packet::Message(_)) => assert_eq!(*ours, String::from(theirs)),
                    // What there is behind the other types, the library forgets.
                    (Posted::Text(ours), theirs) => assert_eq!(ours.get(..1), String::from(theirs).get(..1)),
                    (ours, theirs) => panic!("{ours:?} where the library has {theirs:?}"),
                }
            }
        }
    }
    let mut written = String::new();
    for packet in &packets {
        match packet {
            Posted::Text(text) => polled::put(&mut written, text, eio3),
            Posted::Binary(bytes) => polled::put_binary(&mut written, bytes, eio3),
        }
    }
    if packets.is_empty() {
        return;
    }
    let text = HeaderValue::from_static("text/plain;charset=UTF-8");
    let again = read_body(written.as_bytes(), Some(&text), eio3, LIMIT);
    assert_eq!(again.into_iter().collect::<Result<Vec<_>, _>>().ok(), Some(packets));
}

fn read_body(body: &[u8], content_type: Option<&HeaderValue>, eio3: bool, limit: u64) -> Vec<Result<Posted, NoPacket>> {
    polled::packets(Bytes::copy_from_slice(body), content_type, eio3, limit)
        .collect()
        .now_or_never()
        .expect("nothing is waited for")
}

/// JSON is what `serde_json` takes for it, and means the same; work follows the bytes; strings have one canonical form.
pub fn json(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let is_valid = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    assert_eq!(is_json(text), is_valid, "another opinion than serde_json's");
    let value = serde_json::from_str::<Value>(text).ok();
    let mut deepest = 0;
    let mut events = Events::new(text);
    while let Some(event) = events.next() {
        deepest = deepest.max(events.depth());
        match event {
            Ok(Event::Key(raw) | Event::Text(raw)) => string(raw),
            Ok(Event::Number(number)) => {
                let named = number_name(number);
                let same = named.replace("Infinity", "inf").parse::<f64>().unwrap() == number.parse::<f64>().unwrap();
                assert!(same, "{number} is {named}");
            }
            _ => {}
        }
    }
    if let Some(value) = &value {
        assert_eq!(built(text).as_ref(), Some(value));
    }
    let is_list = is_valid && text.trim_start().starts_with('[');
    for attachments in [0, 1, 3] {
        let mut read = Ok(());
        let count =
            steps::of(|| read = Args::read(text, attachments).map(|args| check(&args, value.as_ref(), attachments)));
        assert_eq!(read.is_ok(), is_list);
        // Each byte is an event, a part of a string, and of a key that is compared; the values of `check` are not counted.
        assert!(count <= 16 * text.len() + 64, "{count} steps for {} bytes", text.len());
    }
    if is_list && let Ok(args) = Args::read(text, 0) {
        assert!(args.depth < deepest, "{} levels in {deepest}", args.depth);
        let is_name = args
            .first
            .is_some_and(|first| !first.starts_with(['[', '{', 't', 'f', 'n']));
        assert_eq!(event_name(text).is_some(), is_name);
    }
    if let (Some(Value::Object(map)), Some(members)) = (&value, members(text)) {
        let read: serde_json::Map<_, _> = members
            .map(|(key, value)| (decode(key).unwrap().into_owned(), serde_json::from_str(value).unwrap()))
            .collect();
        assert_eq!(&read, map);
    }
}

fn check(args: &Args<'_>, value: Option<&Value>, attachments: usize) {
    for part in [args.first, args.second].into_iter().flatten() {
        assert!(is_json(part), "{part:?} is no argument");
    }
    if let Some(value) = value.filter(|_| attachments > 0) {
        assert_eq!(args.is_complete, fits(value, attachments));
    }
}

/// What `socket.io-parser` says of placeholders.
fn fits(value: &Value, attachments: usize) -> bool {
    match value {
        Value::Object(map) if map.get("_placeholder") == Some(&Value::Bool(true)) => {
            let num = map.get("num").and_then(Value::as_f64);
            num.is_some_and(|num| num.fract() == 0.0 && num >= 0.0 && num < attachments as f64)
        }
        Value::Object(map) => map.values().all(|value| fits(value, attachments)),
        Value::Array(list) => list.iter().all(|value| fits(value, attachments)),
        _ => true,
    }
}

fn string(raw: &str) {
    let form = canonical(raw);
    assert_eq!(canonical(&form), form, "not the canonical form of itself");
    let mut read = String::new();
    push_canonical(&mut read, &wtf8(raw));
    // What stands in a text without an escape may have one in canonical form only where JSON asks for it.
    assert_eq!(read, form, "not the same in WTF-8");
    let quote = format!("\"{raw}\"");
    assert_eq!(
        json::string(&quote),
        serde_json::from_str::<String>(&quote).ok().map(Into::into)
    );
    if let Some(text) = decode(raw) {
        assert_eq!(quoted(&text), format!("\"{form}\""));
    }
}

/// The value that our events tell.
fn built(text: &str) -> Option<Value> {
    enum Open {
        List(Vec<Value>),
        Object(serde_json::Map<String, Value>, Option<String>),
    }
    let mut open = Vec::new();
    for event in Events::new(text) {
        let value = match event.ok()? {
            Event::Open(Kind::List) => {
                open.push(Open::List(Vec::new()));
                continue;
            }
            Event::Open(Kind::Object) => {
                open.push(Open::Object(serde_json::Map::new(), None));
                continue;
            }
            Event::Key(raw) => {
                if let Some(Open::Object(_, key)) = open.last_mut() {
                    *key = Some(decode(raw)?.into_owned());
                }
                continue;
            }
            Event::Close(_) => match open.pop()? {
                Open::List(list) => list.into(),
                Open::Object(map, _) => map.into(),
            },
            Event::Text(raw) => decode(raw)?.into_owned().into(),
            Event::Number(number) => serde_json::from_str(number).ok()?,
            Event::Bool(value) => value.into(),
            Event::Null => Value::Null,
        };
        match open.last_mut() {
            Some(Open::List(list)) => list.push(value),
            Some(Open::Object(map, key)) => {
                map.insert(key.take()?, value);
            }
            None => return Some(value),
        }
    }
    None
}
