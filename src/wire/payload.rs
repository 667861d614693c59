//! Payloads: the packets in the body of a polling client's request, or of the answer to one, and those without content.

use bytes::{BufMut as _, Bytes, BytesMut};
use engineioxide_core::{Packet, ProtocolVersion, payload};
use futures_util::{
    StreamExt as _,
    future::Either,
    stream::{self, Stream},
};
use http::HeaderValue;
use http_body_util::Full;

/// Content type of a payload of bytes (Engine.IO protocol 3).
pub(crate) const BINARY: &str = "application/octet-stream";

/// Separates the packets of a payload (Engine.IO protocol 4).
pub(crate) const SEPARATOR: char = '\u{1e}';
/// Engine.IO's packet that ends a session.
pub(crate) const CLOSE: &str = "1";
/// Engine.IO's heartbeat; in Engine.IO 3 the client's.
pub(crate) const PING: &str = "2";
/// The answer to it.
pub(crate) const PONG: &str = "3";
/// Engine.IO's packet that means nothing: it ends a poll.
pub(crate) const NOOP: &str = "6";
/// Socket.IO's DISCONNECT in an Engine.IO message: a client that gets it does not come back by itself.
pub(crate) const FAREWELL: &str = "41";

/// Digits of the longest length that a body can hold.
const MOST_DIGITS: usize = 20;

/// Appends a packet to a payload.
pub(crate) fn put(payload: &mut String, packet: &str, eio3: bool) {
    if eio3 {
        payload.push_str(&packet.encode_utf16().count().to_string());
        payload.push(':');
    } else if !payload.is_empty() {
        payload.push(SEPARATOR);
    }
    payload.push_str(packet);
}

/// Appends bytes to a payload, as base64.
pub(crate) fn put_binary(payload: &mut String, bytes: &Bytes, eio3: bool) {
    let packet = String::from(Packet::Binary(bytes.clone()));
    match packet.strip_prefix('b') {
        // In Engine.IO 3, the type "message" follows the mark of base64.
        Some(data) if eio3 => put(payload, &format!("b4{data}"), eio3),
        _ => put(payload, &packet, eio3),
    }
}

/// A packet of a client that polls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Posted {
    /// Its type, and what it holds.
    Text(String),
    /// A message of bytes.
    Binary(Bytes),
}

/// What is no packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoPacket;

/// Reads the packets of a body of at most `limit` bytes, in order, up to the first fault.
///
/// What is no UTF-8 in a text is replaced, as Node.js does. Payloads of bytes are left to the library.
pub(crate) fn packets(
    body: Bytes,
    content_type: Option<&HeaderValue>,
    eio3: bool,
    limit: u64,
) -> impl Stream<Item = Result<Posted, NoPacket>> {
    if !eio3 || content_type.is_none_or(|kind| kind != BINARY) {
        return Either::Left(stream::iter(Texts::new(&body, eio3)));
    }
    let packets = payload::decoder(Full::new(body), content_type, ProtocolVersion::V3, limit);
    Either::Right(packets.map(|packet| match packet {
        Ok(Packet::Binary(bytes) | Packet::BinaryV3(bytes)) => Ok(Posted::Binary(bytes)),
        Ok(packet) => Ok(Posted::Text(packet.into())),
        Err(_) => Err(NoPacket),
    }))
}

/// The bytes of base64 as Node.js reads it: of either alphabet, up to the first `=`, without what is none of it.
pub(crate) fn base64(text: &str) -> Bytes {
    let mut bytes = BytesMut::with_capacity(text.len() / 4 * 3 + 2);
    let (mut bits, mut count) = (0_u32, 0);
    for character in text.bytes().take_while(|byte| *byte != b'=') {
        let value = match character {
            b'A'..=b'Z' => character - b'A',
            b'a'..=b'z' => character - b'a' + 26,
            b'0'..=b'9' => character - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => continue,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            let [.., byte] = (bits >> count).to_be_bytes();
            bytes.put_u8(byte);
        }
    }
    bytes.freeze()
}

/// Packets in a text: of Engine.IO 4 between separators, of Engine.IO 3 each behind its length in UTF-16 code units, as in
/// `6:4hello2:4é`.
#[derive(Debug)]
struct Texts {
    text: String,
    eio3: bool,
    /// How far it was read; `None` when that is all.
    at: Option<usize>,
}

impl Texts {
    fn new(body: &[u8], eio3: bool) -> Self {
        Self {
            text: String::from_utf8_lossy(body).into_owned(),
            eio3,
            at: Some(0),
        }
    }

    /// The next packet, and where the one after it begins.
    fn read(&self, at: usize) -> Result<(&str, Option<usize>), NoPacket> {
        let rest = self.text.get(at..).unwrap_or_default();
        if !self.eio3 {
            return Ok(rest.split_once(SEPARATOR).map_or((rest, None), |(packet, _)| {
                (packet, Some(at + packet.len() + SEPARATOR.len_utf8()))
            }));
        }
        let digits = rest.bytes().take(MOST_DIGITS).take_while(u8::is_ascii_digit).count();
        let (length, rest) = rest.split_at_checked(digits).unwrap_or_default();
        let (length, rest) = length.parse().ok().zip(rest.strip_prefix(':')).ok_or(NoPacket)?;
        let packet = prefix(rest, length).ok_or(NoPacket)?;
        let after = at + digits + 1 + packet.len();
        Ok((packet, Some(after).filter(|after| *after < self.text.len())))
    }
}

impl Iterator for Texts {
    type Item = Result<Posted, NoPacket>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let read = self.read(self.at?);
            let (packet, after) = match read {
                Ok((packet, after)) => (posted(packet, self.eio3), after),
                Err(fault) => (Err(fault), None),
            };
            // In Engine.IO 3, what has the length 0 is no packet.
            let is_skipped = self.eio3 && matches!(read, Ok(("", _)));
            self.at = after.filter(|_| is_skipped || packet.is_ok());
            if !is_skipped {
                return Some(packet);
            }
        }
    }
}

fn posted(packet: &str, eio3: bool) -> Result<Posted, NoPacket> {
    match packet.as_bytes() {
        [b'b', b'4', ..] if eio3 => Ok(Posted::Binary(base64(packet.get(2..).unwrap_or_default()))),
        [b'b', ..] if !eio3 => Ok(Posted::Binary(base64(packet.get(1..).unwrap_or_default()))),
        [b'0'..=b'6', ..] => Ok(Posted::Text(packet.to_owned())),
        _ => Err(NoPacket),
    }
}

/// The first `units` UTF-16 code units of a text; `None` when it has not as many, or they end within a character.
fn prefix(text: &str, units: usize) -> Option<&str> {
    let (mut left, mut end) = (units, 0);
    for character in text.chars() {
        if left == 0 {
            break;
        }
        left = left.checked_sub(character.len_utf16())?;
        end += character.len_utf8();
    }
    #[cfg(any(test, feature = "fuzzing"))]
    crate::wire::json::steps::add(end);
    if left == 0 { text.get(..end) } else { None }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::wire::json::steps;

    fn read(body: &[u8], eio3: bool) -> Vec<Result<Posted, NoPacket>> {
        Texts::new(body, eio3).collect()
    }

    fn text(packet: &str) -> Result<Posted, NoPacket> {
        Ok(Posted::Text(packet.to_owned()))
    }

    fn binary(bytes: &'static [u8]) -> Result<Posted, NoPacket> {
        Ok(Posted::Binary(Bytes::from_static(bytes)))
    }

    #[test]
    fn packets_are_cut_by_their_length_in_code_units() {
        let body = "6:4hello1:20:4:4é😀";
        assert_eq!(read(body.as_bytes(), true), [text("4hello"), text("2"), text("4é😀")]);
        assert_eq!(read(b"10:b4AQIDBA==", true), [binary(&[1, 2, 3, 4])]);
        assert_eq!(read(b"0:", true), []);
    }

    #[test]
    fn packets_are_cut_at_separators() {
        let body = "4hello\u{1e}2\u{1e}bAQIDBA==\u{1e}0\u{1e}4é😀";
        let expected = [
            text("4hello"),
            text("2"),
            binary(&[1, 2, 3, 4]),
            text("0"),
            text("4é😀"),
        ];
        assert_eq!(read(body.as_bytes(), false), expected);
        assert_eq!(read("4a\u{1e}".as_bytes(), false), [text("4a"), Err(NoPacket)]);
    }

    #[test]
    fn the_library_reads_the_same() {
        for body in ["6:4hello1:2", "4:4é😀", "5:4a:b:", "2:4\u{1e}3:4ab", "0:1:3"] {
            let kind = HeaderValue::from_static("text/plain");
            let theirs = payload::decoder(Full::new(Bytes::from(body)), Some(&kind), ProtocolVersion::V3, 1_000);
            let theirs = theirs.map(|packet| Ok(Posted::Text(packet.unwrap().into())));
            let theirs: Vec<_> = theirs.collect().now_or_never().unwrap();
            assert_eq!(read(body.as_bytes(), true), theirs, "{body}");
        }
    }

    #[test]
    fn the_first_fault_is_the_last_thing_read() {
        for body in [
            &b""[..],
            b"x",
            b":4a",
            b"-1:4",
            b"1",
            b"3:4a",
            "2:4😀".as_bytes(),
            b"99999999999999999999999:4",
            b"1:x1:2",
            b"4:b2AA",
        ] {
            assert_eq!(read(body, true), [Err(NoPacket)], "{body:?}");
        }
        for body in ["", "x", "7", "x\u{1e}2", "\u{1e}2"] {
            assert_eq!(read(body.as_bytes(), false), [Err(NoPacket)], "{body:?}");
        }
    }

    #[test]
    fn what_is_no_text_is_replaced() {
        assert_eq!(read(b"4a\xffb", false), [text("4a\u{fffd}b")]);
        assert_eq!(read(b"3:4\xffb", true), [text("4\u{fffd}b")]);
    }

    #[test]
    fn base64_is_read_as_node_reads_it() {
        for (text, bytes) in [
            ("", &b""[..]),
            ("Y", b""),
            ("YQ", b"a"),
            ("YQ==", b"a"),
            ("YWI", b"ab"),
            ("YWJj", b"abc"),
            ("YWJjZ", b"abc"),
            ("Y\nW Jj", b"abc"),
            ("!!YQé", b"a"),
            ("YQ==YQ==", b"a"),
            ("=YQ", b""),
            ("YW-_", b"ao\xbf"),
            ("YW+/", b"ao\xbf"),
        ] {
            assert_eq!(base64(text), bytes, "{text}");
        }
    }

    #[test]
    fn tiny_packets_take_steps_that_follow_the_bytes() {
        let body = "1:2".repeat(300_000);
        let steps = steps::of(|| assert_eq!(Texts::new(body.as_bytes(), true).count(), 300_000));
        assert!(steps <= body.len(), "{steps}");
    }
}
