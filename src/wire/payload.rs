//! Payloads: the packets in the body of a polling client's request, or of the answer to one, and those without content.

use bytes::Bytes;
use engineioxide_core::{Packet, PacketParseError, ProtocolVersion, payload};
use futures_util::{
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

/// Reads the packets of a body of at most `limit` bytes, in order, up to the first fault.
///
/// The library's decoders do it in one pass, but for the texts of Engine.IO 3: there each packet copies and checks all
/// that follows it.
pub(crate) fn packets(
    body: Bytes,
    content_type: Option<&HeaderValue>,
    protocol: ProtocolVersion,
    limit: u64,
) -> impl Stream<Item = Result<Packet, PacketParseError>> {
    let is_binary = content_type.is_some_and(|kind| kind == BINARY);
    match protocol {
        ProtocolVersion::V3 if !is_binary => Either::Left(stream::iter(Texts::new(&body))),
        _ => Either::Right(payload::decoder(Full::new(body), content_type, protocol, limit)),
    }
}

/// Packets of Engine.IO 3, each behind its length in UTF-16 code units: `6:4hello2:4é`.
#[derive(Debug)]
struct Texts {
    /// What was read of the body, if it is text.
    text: Result<String, PacketParseError>,
    at: usize,
    is_over: bool,
}

impl Texts {
    fn new(body: &[u8]) -> Self {
        let text = std::str::from_utf8(body).map_err(PacketParseError::InvalidUtf8Boundary);
        Self {
            text: text.map(str::to_owned),
            at: 0,
            is_over: false,
        }
    }

    fn read(&mut self) -> Result<Option<Packet>, PacketParseError> {
        let text = match &mut self.text {
            Ok(text) => text,
            Err(error) => return Err(std::mem::replace(error, PacketParseError::InvalidPacketPayload)),
        };
        loop {
            let rest = text.get(self.at..).unwrap_or_default();
            if rest.is_empty() {
                return Ok(None);
            }
            let digits = rest.bytes().take(MOST_DIGITS).take_while(u8::is_ascii_digit).count();
            let (length, rest) = rest.split_at_checked(digits).unwrap_or_default();
            let (length, rest) = length
                .parse()
                .ok()
                .zip(rest.strip_prefix(':'))
                .ok_or(PacketParseError::InvalidPacketLen)?;
            let packet = prefix(rest, length).ok_or(PacketParseError::InvalidPacketLen)?;
            self.at += digits + 1 + packet.len();
            // As the library: what is empty is no packet.
            if !packet.is_empty() {
                return Packet::parse(ProtocolVersion::V3, packet.to_owned()).map(Some);
            }
        }
    }
}

impl Iterator for Texts {
    type Item = Result<Packet, PacketParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let read = self.read();
        self.is_over = !matches!(read, Ok(Some(_)));
        read.transpose()
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
    use futures_util::{FutureExt as _, StreamExt as _};

    use super::*;
    use crate::wire::json::steps;

    fn read(body: &[u8]) -> Vec<Result<Packet, String>> {
        Texts::new(body)
            .map(|packet| packet.map_err(|error| error.to_string()))
            .collect()
    }

    #[test]
    fn packets_are_cut_by_their_length_in_code_units() {
        let message = |text: &str| Ok(Packet::Message(text.to_owned().into()));
        let body = "6:4hello1:20:3:4é😀".replace("3:4é😀", "4:4é😀");
        assert_eq!(
            read(body.as_bytes()),
            [message("hello"), Ok(Packet::Ping), message("é😀")]
        );
        assert_eq!(
            read(b"10:b4AQIDBA=="),
            [Ok(Packet::BinaryV3(Bytes::from_static(&[1, 2, 3, 4])))]
        );
        assert_eq!(read(b""), []);
    }

    #[test]
    fn the_library_reads_the_same() {
        for body in ["6:4hello1:2", "4:4é😀", "5:4a:b:", "2:4\u{1e}3:4ab", "0:1:3"] {
            let kind = HeaderValue::from_static("text/plain");
            let theirs = payload::decoder(Full::new(Bytes::from(body)), Some(&kind), ProtocolVersion::V3, 1_000);
            let theirs: Vec<_> = theirs.map(Result::unwrap).collect().now_or_never().unwrap();
            let ours: Vec<_> = read(body.as_bytes()).into_iter().map(Result::unwrap).collect();
            assert_eq!(ours, theirs, "{body}");
        }
    }

    #[test]
    fn the_first_fault_is_the_last_thing_read() {
        for body in [
            &b"x"[..],
            b":4a",
            b"-1:4",
            b"1",
            b"3:4a",
            "2:4😀".as_bytes(),
            b"99999999999999999999999:4",
            b"1:x1:2",
            b"2:4\xff",
        ] {
            let packets = read(body);
            assert!(packets.len() == 1 && packets[0].is_err(), "{body:?} {packets:?}");
        }
    }

    #[test]
    fn tiny_packets_take_steps_that_follow_the_bytes() {
        let body = "1:2".repeat(300_000);
        let steps = steps::of(|| assert_eq!(Texts::new(body.as_bytes()).count(), 300_000));
        assert!(steps <= body.len(), "{steps}");
    }
}
