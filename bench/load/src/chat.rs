//! The chat's packets as text: what clients send, how received payloads are told apart, and the stamp inside a
//! message's content that identifies it and says when it left.

use memchr::memmem;
use serde_json::json;
use std::sync::LazyLock;

/// Length of a message's text.
const TEXT_BYTES: usize = 64;
const SEQUENCE_DIGITS: usize = 8;
const TIME_DIGITS: usize = 16;

static CONTENT: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(b"\"content\":\""));
static ROOM: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(b"\"roomId\":\""));

/// A received Engine.IO payload, as far as the clients care.
#[derive(Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// Engine.IO open, the transport is up: everything behind `0`.
    Open(&'a [u8]),
    /// Heartbeat; wants `PONG`.
    Ping,
    /// Answer to CONNECT: everything behind `40`.
    Connected(&'a [u8]),
    /// CONNECT was refused, or the server disconnected the socket.
    Refused,
    /// A Socket.IO event: everything behind `42`.
    Event(&'a [u8]),
    /// Acknowledgement: everything behind `43`.
    Ack(&'a [u8]),
    Other,
}

impl<'a> Packet<'a> {
    pub fn parse(payload: &'a [u8]) -> Self {
        match payload {
            [b'4', b'2', event @ ..] => Self::Event(event),
            [b'2', ..] => Self::Ping,
            [b'4', b'3', ack @ ..] => Self::Ack(ack),
            [b'4', b'0', answer @ ..] => Self::Connected(answer),
            [b'0', handshake @ ..] => Self::Open(handshake),
            [b'4', b'1' | b'4', ..] | [b'1', ..] => Self::Refused,
            _ => Self::Other,
        }
    }
}

pub const CONNECT: &str = "40";
pub const PONG: &str = "3";
/// Beginning of a chat message behind the `42` of its packet.
pub const MESSAGE_EVENT: &[u8] = b"[\"message\",";

/// CONNECT of a client that comes back: the secret it was told, and the offset of the last event that it has received.
pub fn connect_again(pid: &str, offset: Option<&str>) -> String {
    let auth = match offset {
        Some(offset) => json!({ "pid": pid, "offset": offset }),
        None => json!({ "pid": pid }),
    };
    format!("{CONNECT}{auth}")
}

/// The offset of an event: its last argument, if that is a text. None has anything in it that JSON escapes.
pub fn offset(event: &[u8]) -> Option<&str> {
    let rest = event.strip_suffix(b"\"]")?;
    let begin = memchr::memrchr(b'"', rest)?;
    let (before, offset) = rest.split_at_checked(begin + 1)?;
    before.ends_with(b",\"").then(|| std::str::from_utf8(offset).ok())?
}

/// A join that wants an acknowledgement with the id 0.
pub fn join(room: &str) -> String {
    format!(r#"420["room:join",{{"roomId":"{room}"}}]"#)
}

/// A chat message of `TEXT_BYTES` that carries its number and when it was sent.
pub fn message(room: &str, stamp: Stamp) -> String {
    let Stamp { sequence, sent_ns } = stamp;
    let text = format!("{sequence:0SEQUENCE_DIGITS$}{sent_ns:0TIME_DIGITS$}");
    format!(r#"42["message",{{"roomId":"{room}","content":"{text:x<TEXT_BYTES$}","type":"text"}}]"#)
}

/// Identity of a message and when it was sent, in nanoseconds of the generator's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub sequence: u64,
    pub sent_ns: u64,
}

impl Stamp {
    /// Reads the stamp of a message event; `None` if its content carries none.
    pub fn find(event: &[u8]) -> Option<Self> {
        let content = content(event)?;
        let (sequence, rest) = content.split_at_checked(SEQUENCE_DIGITS)?;
        let (sent_ns, _) = rest.split_at_checked(TIME_DIGITS)?;
        Some(Self {
            sequence: number(sequence)?,
            sent_ns: number(sent_ns)?,
        })
    }
}

/// The content of a message event, from its first byte to the end of the event.
pub fn content(event: &[u8]) -> Option<&[u8]> {
    behind(event, &CONTENT)
}

/// The room id of an event, from its first byte to the end of the event.
pub fn room_id(event: &[u8]) -> Option<&[u8]> {
    behind(event, &ROOM)
}

fn behind<'a>(event: &'a [u8], finder: &memmem::Finder<'_>) -> Option<&'a [u8]> {
    event.get(finder.find(event)? + finder.needle().len()..)
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |number, digit| {
        digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0'))
    })
}

/// The number that digits at the beginning spell; `None` without any.
pub fn leading_number(bytes: &[u8]) -> Option<u64> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    number(bytes.get(..digits).filter(|digits| !digits.is_empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_survives_the_echo() {
        let stamp = Stamp {
            sequence: 7,
            sent_ns: 1_234_567_890,
        };
        let sent = message("room", stamp);
        assert_eq!(
            content(sent.as_bytes()).and_then(|rest| memchr::memchr(b'"', rest)),
            Some(TEXT_BYTES)
        );
        let Packet::Event(event) = Packet::parse(sent.as_bytes()) else {
            panic!("not an event")
        };
        assert!(event.starts_with(MESSAGE_EVENT));
        assert_eq!(Stamp::find(event), Some(stamp));
    }

    #[test]
    fn content_without_a_stamp_is_told_apart() {
        assert_eq!(Stamp::find(br#"["message",{"content":"hello"}]"#), None);
    }

    #[test]
    fn an_offset_is_the_text_at_the_end() {
        assert_eq!(offset(br#"["message",{"content":"a"},"1z"]"#), Some("1z"));
        assert_eq!(offset(br#"["message",{"content":"a"}]"#), None);
        assert_eq!(offset(br#"["message"]"#), None);
        assert_eq!(connect_again("p", Some("1z")), r#"40{"offset":"1z","pid":"p"}"#);
        assert_eq!(connect_again("p", None), r#"40{"pid":"p"}"#);
    }

    #[test]
    fn packets_are_told_apart() {
        assert_eq!(Packet::parse(b"2"), Packet::Ping);
        assert_eq!(Packet::parse(b"0{}"), Packet::Open(b"{}"));
        assert_eq!(Packet::parse(b"40{}"), Packet::Connected(b"{}"));
        assert_eq!(Packet::parse(b"44{}"), Packet::Refused);
        assert_eq!(Packet::parse(b"430[]"), Packet::Ack(b"0[]"));
        assert_eq!(Packet::parse(b"42[]"), Packet::Event(b"[]"));
    }
}
