//! A Socket.IO packet in the form in which it travels, encoded once and shared by all of its recipients.
//!
//! One buffer holds the WebSocket header, the Engine.IO type and the Socket.IO text, so the frame, the text for
//! long-polling and the JSON kept in history are slices of the same memory. Wire forms: Engine.IO protocol 4
//! ("message" is `4`), Socket.IO protocol 5 (`2` EVENT, `3` ACK, `5` BINARY_EVENT, `6` BINARY_ACK).

use std::sync::{Arc, OnceLock};

use bytes::{BufMut, Bytes, BytesMut};
use smallvec::SmallVec;

/// Longest header of an unmasked WebSocket frame: two bytes and a 64-bit length.
const MAX_HEADER: usize = 10;
/// First byte of a whole text frame (RFC 6455, section 5.2).
pub const FIN_TEXT: u8 = 0x81;
/// First byte of a whole binary frame.
pub const FIN_BINARY: u8 = 0x82;
/// First byte of a close frame.
pub const FIN_CLOSE: u8 = 0x88;
/// First byte of a pong frame.
pub const FIN_PONG: u8 = 0x8a;

/// What a packet asks of its receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PacketKind {
    /// An event, with the id under which an acknowledgement is expected.
    Event(Option<u64>),
    /// The acknowledgement of the client's event with this id.
    Ack(u64),
}

/// What a client names that comes back: letters, digits, `-` and `_`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offset(SmallVec<[u8; 48]>);

impl Offset {
    /// So many characters, to be replaced.
    pub fn of_length(length: usize) -> Self {
        Self(SmallVec::from_elem(b'0', length))
    }

    /// Adds characters.
    pub fn extend(&mut self, characters: impl IntoIterator<Item = u8>) {
        self.0.extend(characters);
    }

    /// Puts characters in the place of others.
    pub fn put(&mut self, at: usize, characters: &[u8]) {
        let place = self.0.get_mut(at..at + characters.len());
        if let Some(place) = place {
            place.copy_from_slice(characters);
        }
    }

    /// Leaves the first so many characters.
    pub fn truncate(&mut self, length: usize) {
        self.0.truncate(length);
    }

    /// The characters.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The characters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// What follows an offset in a packet.
const OFFSET_END: &[u8] = b"\"]";

/// Who has published a packet to the other servers of a cluster, and as which of its publications: the same on all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Origin {
    /// An instance, which numbers what it publishes.
    Publication {
        /// A number of the instance.
        publisher: u64,
        /// The number of the publication.
        number: u64,
    },
    /// A server that numbers nothing: a number of what it has published.
    Payload(u64),
}

/// An immutable packet of the default namespace. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Packet(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    kind: PacketKind,
    /// WebSocket frame of the text: header, `4`, Socket.IO packet.
    frame: Bytes,
    /// Where the JSON array of arguments begins in `frame`.
    args_at: usize,
    /// Length of `4` and the Socket.IO packet.
    text_len: usize,
    attachments: Vec<Bytes>,
    /// Length of the offset that is the last argument; 0 without one.
    offset_len: usize,
    origin: OnceLock<Origin>,
    binary_v4: OnceLock<Bytes>,
    binary_v3: OnceLock<Bytes>,
}

impl Packet {
    /// Encodes `args`, the text of a JSON array (`["event", …]` for an event), with its binary attachments.
    pub fn new(kind: PacketKind, args: &str, attachments: Vec<Bytes>) -> Self {
        Self::build(kind, attachments, args.len(), |buffer| {
            buffer.put_slice(args.as_bytes())
        })
    }

    /// As [`Packet::new`]; `write` appends the text of the JSON array, about `size_hint` bytes, to the buffer.
    pub fn build(
        kind: PacketKind,
        attachments: Vec<Bytes>,
        size_hint: usize,
        write: impl FnOnce(&mut BytesMut),
    ) -> Self {
        let mut buffer = BytesMut::with_capacity(MAX_HEADER + 1 + 24 + size_hint);
        buffer.put_bytes(0, MAX_HEADER);
        buffer.put_u8(b'4');
        put_prefix(&mut buffer, kind, attachments.len());
        let args_at = buffer.len();
        write(&mut buffer);
        let text_len = buffer.len() - MAX_HEADER;
        let (header, length) = header(FIN_TEXT, text_len);
        let start = MAX_HEADER - length;
        for (to, from) in buffer.iter_mut().skip(start).zip(header.iter().take(length)) {
            *to = *from;
        }
        Self(Arc::new(Inner {
            kind,
            frame: buffer.freeze().slice(start..),
            args_at: args_at - start,
            text_len,
            attachments,
            offset_len: 0,
            origin: OnceLock::new(),
            binary_v4: OnceLock::new(),
            binary_v3: OnceLock::new(),
        }))
    }

    /// An event with no arguments but `data`, the text of any JSON value.
    pub fn event(name: &str, data: &str) -> Self {
        let name = serde_json::Value::from(name).to_string();
        Self::build(
            PacketKind::Event(None),
            Vec::new(),
            name.len() + data.len() + 3,
            |buffer| {
                buffer.put_u8(b'[');
                buffer.put_slice(name.as_bytes());
                buffer.put_u8(b',');
                buffer.put_slice(data.as_bytes());
                buffer.put_u8(b']');
            },
        )
    }

    /// Whether a client that comes back is brought the packet: an event that asks for no acknowledgement.
    pub fn is_recoverable(&self) -> bool {
        self.0.kind == PacketKind::Event(None)
    }

    /// The event with an offset as its last argument, by which a client that comes back tells what it has seen. The offset
    /// is letters and digits.
    pub fn with_offset(&self, offset: &Offset) -> Self {
        let args = self.args();
        let open = args.strip_suffix(']').unwrap_or(args);
        let mut packet = Self::build(
            self.0.kind,
            self.0.attachments.clone(),
            args.len() + offset.as_bytes().len() + 3,
            |buffer| {
                buffer.put_slice(open.as_bytes());
                buffer.put_slice(b",\"");
                buffer.put_slice(offset.as_bytes());
                buffer.put_slice(OFFSET_END);
            },
        );
        if let Some(inner) = Arc::get_mut(&mut packet.0) {
            inner.offset_len = offset.as_bytes().len();
        }
        packet
    }

    /// The event with another offset of the same length as its own; in its place as long as nobody else has the packet.
    pub fn at_offset(mut self, offset: &Offset) -> Self {
        let offset_bytes = offset.as_bytes();
        if let Some(inner) = Arc::get_mut(&mut self.0).filter(|inner| inner.offset_len == offset_bytes.len()) {
            match std::mem::take(&mut inner.frame).try_into_mut() {
                Ok(mut frame) => {
                    let end = frame.len() - OFFSET_END.len();
                    let place = end
                        .checked_sub(offset_bytes.len())
                        .and_then(|start| frame.get_mut(start..end));
                    if let Some(place) = place {
                        place.copy_from_slice(offset_bytes);
                    }
                    inner.frame = frame.freeze();
                    return self;
                }
                Err(frame) => inner.frame = frame,
            }
        }
        self.without_offset().with_offset(offset)
    }

    /// The packet as it was before it got an offset.
    pub fn without_offset(&self) -> Self {
        let before = self.args().rsplit_once(",\"").filter(|_| self.0.offset_len > 0);
        before.map_or_else(
            || self.clone(),
            |(args, _)| Self::new(self.0.kind, &format!("{args}]"), self.0.attachments.clone()),
        )
    }

    /// Where the packet was published, if it was.
    pub fn origin(&self) -> Option<Origin> {
        self.0.origin.get().copied()
    }

    /// Says where the packet was published; only the first call counts.
    pub fn set_origin(&self, origin: Origin) {
        let _ = self.0.origin.set(origin);
    }

    /// Where its text ends in memory: the same for all who have the packet, or bytes of it.
    pub fn place(&self) -> usize {
        self.0.frame.as_ptr_range().end.addr()
    }

    /// What the packet asks of its receiver.
    pub fn kind(&self) -> PacketKind {
        self.0.kind
    }

    /// The JSON array of arguments.
    pub fn args(&self) -> &str {
        self.0.frame.get(self.0.args_at..).map_or("", |bytes| {
            // Built from `&str` parts only.
            std::str::from_utf8(bytes).unwrap_or("")
        })
    }

    /// The JSON array of arguments, sharing the packet's memory.
    pub fn args_bytes(&self) -> Bytes {
        self.0.frame.slice(self.0.args_at..)
    }

    /// The Engine.IO message: its type, and the Socket.IO packet without its attachments.
    pub fn text(&self) -> &str {
        let at = self.0.frame.len() - self.0.text_len;
        // Built from `&str` parts only.
        let text = self.0.frame.get(at..).map(std::str::from_utf8);
        text.and_then(Result::ok).unwrap_or_default()
    }

    /// Binary attachments in the order of their placeholders.
    pub fn attachments(&self) -> &[Bytes] {
        &self.0.attachments
    }

    /// Payload bytes, headers left out.
    pub fn len(&self) -> usize {
        self.0.frame.len() + self.0.attachments.iter().map(Bytes::len).sum::<usize>()
    }

    /// Bytes that the packet takes in a long-polling payload, where attachments are in base64.
    pub fn polling_len(&self) -> usize {
        let base64 = |bytes: &Bytes| 1 + bytes.len().div_ceil(3) * 4;
        self.0.text_len + self.0.attachments.iter().map(base64).sum::<usize>()
    }

    /// A packet always has bytes.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The bytes for a WebSocket client of Engine.IO 4: the text frame and one frame for each attachment.
    pub fn frames_v4(&self) -> Bytes {
        self.frames(&self.0.binary_v4, None)
    }

    /// The bytes for a WebSocket client of Engine.IO 3, whose binary frames carry the packet type.
    pub fn frames_v3(&self) -> Bytes {
        self.frames(&self.0.binary_v3, Some(4))
    }

    fn frames(&self, cache: &OnceLock<Bytes>, prefix: Option<u8>) -> Bytes {
        if self.0.attachments.is_empty() {
            return self.0.frame.clone();
        }
        cache
            .get_or_init(|| {
                let mut buffer = BytesMut::with_capacity(self.len() + self.0.attachments.len() * (MAX_HEADER + 1));
                buffer.put_slice(&self.0.frame);
                for attachment in &self.0.attachments {
                    let (header, length) = header(FIN_BINARY, attachment.len() + prefix.map_or(0, |_| 1));
                    buffer.extend(header.iter().take(length));
                    buffer.extend(prefix);
                    buffer.put_slice(attachment);
                }
                buffer.freeze()
            })
            .clone()
    }
}

/// A text frame with this payload, unmasked, as a server sends it.
pub fn text_frame(payload: &str) -> Bytes {
    let mut buffer = BytesMut::with_capacity(MAX_HEADER + payload.len());
    put_frame(&mut buffer, FIN_TEXT, payload.as_bytes());
    buffer.freeze()
}

/// Appends a frame, unmasked, as a server sends it; `first` is its first byte.
pub fn put_frame(buffer: &mut BytesMut, first: u8, payload: &[u8]) {
    let (header, length) = header(first, payload.len());
    buffer.extend(header.iter().take(length));
    buffer.put_slice(payload);
}

/// Event names of Socket.IO itself, which no packet may carry: servers refuse to emit them, and clients close the
/// connection over one.
pub const RESERVED_EVENTS: [&str; 6] = [
    "connect",
    "connect_error",
    "disconnect",
    "disconnecting",
    "newListener",
    "removeListener",
];

/// Bytes of a packet, attachments included, that is to reach other servers: somewhat less than the 512 MiB that Redis
/// takes in one value (`proto-max-bulk-len`), over which it would close the connection.
pub const MOST_PUBLISHED: usize = 500_000_000;

/// Number of binary attachments a packet may announce.
pub const MAX_ATTACHMENTS: usize = 10;

fn put_prefix(buffer: &mut BytesMut, kind: PacketKind, attachments: usize) {
    let (plain, binary, id) = match kind {
        PacketKind::Event(id) => (b'2', b'5', id),
        PacketKind::Ack(id) => (b'3', b'6', Some(id)),
    };
    if attachments == 0 {
        buffer.put_u8(plain);
    } else {
        buffer.put_u8(binary);
        buffer.put_slice(attachments.to_string().as_bytes());
        buffer.put_u8(b'-');
    }
    if let Some(id) = id {
        buffer.put_slice(id.to_string().as_bytes());
    }
}

/// Header of an unmasked frame and how many of its bytes are used (RFC 6455, section 5.2).
fn header(first: u8, length: usize) -> ([u8; MAX_HEADER], usize) {
    let [a, b, c, d, e, f, g, h] = (length as u64).to_be_bytes();
    if length < 126 {
        ([first, h, 0, 0, 0, 0, 0, 0, 0, 0], 2)
    } else if length <= usize::from(u16::MAX) {
        ([first, 126, g, h, 0, 0, 0, 0, 0, 0], 4)
    } else {
        ([first, 127, a, b, c, d, e, f, g, h], 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_event_is_one_text_frame() {
        let packet = Packet::event("hello", r#"{"a":1}"#);
        assert_eq!(packet.args(), r#"["hello",{"a":1}]"#);
        assert_eq!(&packet.frames_v4()[..], b"\x81\x1342[\"hello\",{\"a\":1}]");
    }

    fn offset(text: &str) -> Offset {
        let mut offset = Offset::default();
        offset.extend(text.bytes());
        offset
    }

    #[test]
    fn an_offset_is_taken_off_as_it_was_added() {
        for args in [r#"["e"]"#, r#"["e","a,\"b"]"#] {
            let packet = Packet::new(PacketKind::Event(None), args, vec![Bytes::from_static(b"xyz")]);
            let with_offset = packet.with_offset(&offset("tag_000000001z"));
            assert_ne!(with_offset.args(), args);
            for packet in [packet, with_offset] {
                let packet = packet.without_offset();
                assert_eq!((packet.args(), packet.attachments().len()), (args, 1));
            }
        }
    }

    #[test]
    fn an_offset_takes_the_place_of_another_without_a_copy_unless_somebody_has_that() {
        let packet = Packet::event("e", &"x".repeat(200)).with_offset(&Offset::of_length(14));
        let place = packet.place();
        let packet = packet.at_offset(&offset("tag_000000001z"));
        assert_eq!(packet.place(), place, "copied");
        assert!(packet.args().ends_with("xx,\"tag_000000001z\"]"));
        let other = packet.clone().at_offset(&offset("tag_000000002z"));
        assert!(packet.args().ends_with("1z\"]") && other.args().ends_with("xx,\"tag_000000002z\"]"));
        let longer = other.at_offset(&offset("tag_000000002zAAAABBB"));
        assert!(longer.args().ends_with("xx,\"tag_000000002zAAAABBB\"]"));
    }

    #[test]
    fn lengths_take_the_shortest_header() {
        for (length, expected) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            assert_eq!(header(FIN_TEXT, length).1, expected, "{length}");
        }
    }

    #[test]
    fn attachments_follow_their_text_and_are_typed_for_old_clients() {
        let packet = Packet::new(
            PacketKind::Event(Some(7)),
            r#"["b",{"_placeholder":true,"num":0}]"#,
            vec![Bytes::from_static(b"xyz")],
        );
        let frames = packet.frames_v4();
        assert!(frames[2..].starts_with(b"451-7[\"b\""));
        assert!(frames.ends_with(b"\x82\x03xyz"));
        assert!(packet.frames_v3().ends_with(b"\x82\x04\x04xyz"));
    }

    #[test]
    fn an_acknowledgement_carries_its_id() {
        let packet = Packet::new(PacketKind::Ack(12), "[true]", Vec::new());
        assert_eq!(&packet.frames_v4()[2..], b"4312[true]");
    }

    #[test]
    fn a_polling_payload_counts_attachments_in_base64() {
        let packet = Packet::new(PacketKind::Event(None), "[1]", vec![Bytes::from_static(b"wxyz")]);
        assert_eq!(packet.polling_len(), "451-[1]".len() + "bd3h5eg==".len());
        assert_eq!(Packet::event("a", "1").polling_len(), "42[\"a\",1]".len());
    }

    #[test]
    fn arguments_and_history_share_the_packets_memory() {
        let packet = Packet::event("a\"b", "{}");
        assert_eq!(packet.args(), "[\"a\\\"b\",{}]");
        let (frame, args) = (packet.frames_v4(), packet.args_bytes());
        assert!(frame.as_ptr_range().contains(&args.as_ptr()));
        assert_eq!(text_frame("42").as_ref(), b"\x81\x0242");
    }
}
