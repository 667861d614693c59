//! Reading the WebSocket frames of a client (RFC 6455, section 5) straight from the receive buffer.
//!
//! Messages are unmasked in place; only what is incomplete or fragmented is kept. Bytes are never reserved because a
//! header announces them.

use std::io::Cursor;

use tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Control, Data, OpCode},
};

/// Bytes of a control frame's payload (RFC 6455, section 5.5); a greater length in its place says that the length follows.
const MOST_CONTROL: u8 = 125;

/// A whole message, or a control frame, of a client.
#[derive(Debug)]
pub(crate) enum Message<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
    /// A ping, pong or close frame with its payload.
    Control(OpCode, &'a [u8]),
}

/// The client broke the protocol, or sent more than is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("invalid frame")]
    Invalid,
    #[error("text that is no UTF-8")]
    NotText,
    #[error("message larger than maxHttpBufferSize")]
    TooLarge,
}

impl FrameError {
    /// The status of the close frame that says so (RFC 6455, section 7.4.1).
    pub(crate) fn status(self) -> u16 {
        match self {
            Self::Invalid => 1002,
            Self::NotText => 1007,
            Self::TooLarge => 1009,
        }
    }
}

/// Cuts a byte stream into messages. As small as can be while nothing is incomplete, which is nearly always.
#[derive(Debug, Default)]
pub(crate) struct FrameReader(Option<Box<Unfinished>>);

/// What is kept of a stream between two reads.
#[derive(Debug, Default)]
struct Unfinished {
    /// The beginning of a frame that is not complete; of whole ones, if `handle` has stopped the reader.
    rest: Vec<u8>,
    /// A message of which fragments are still to come.
    fragments: Option<(Data, Vec<u8>)>,
    is_stopped: bool,
}

impl FrameReader {
    /// Whether `handle` has stopped the reader before the end of what it was given; reading no bytes goes on with that.
    pub(crate) fn is_stopped(&self) -> bool {
        self.0.as_ref().is_some_and(|unfinished| unfinished.is_stopped)
    }

    /// Whether the rest of a message, or of a frame, is still to come.
    pub(crate) fn is_unfinished(&self) -> bool {
        self.0.is_some()
    }

    /// Bytes that are kept of messages of which the rest is still to come.
    pub(crate) fn kept(&self) -> usize {
        self.0.as_ref().map_or(0, |unfinished| {
            let gathered = unfinished.fragments.as_ref().map_or(0, |(_, gathered)| gathered.len());
            unfinished.rest.len() + gathered
        })
    }

    /// Takes received bytes and hands every complete message of at most `limit` bytes to `handle`, in order, while it
    /// returns true.
    pub(crate) fn read(
        &mut self,
        bytes: &mut [u8],
        limit: usize,
        mut handle: impl FnMut(Message<'_>) -> bool,
    ) -> Result<(), FrameError> {
        let Unfinished {
            mut rest, fragments, ..
        } = self.0.take().map_or_else(Unfinished::default, |kept| *kept);
        let mut pass = Pass {
            fragments,
            limit,
            is_stopped: false,
        };
        if rest.is_empty() {
            let used = pass.consume(bytes, &mut handle)?;
            rest = bytes.get(used..).unwrap_or_default().to_vec();
        } else {
            rest.extend_from_slice(bytes);
            let used = pass.consume(&mut rest, &mut handle)?;
            rest.drain(..used);
        }
        if !rest.is_empty() || pass.fragments.is_some() {
            self.0 = Some(Box::new(Unfinished {
                is_stopped: pass.is_stopped && !rest.is_empty(),
                rest,
                fragments: pass.fragments,
            }));
        }
        Ok(())
    }
}

/// One reading of what has come.
struct Pass {
    fragments: Option<(Data, Vec<u8>)>,
    limit: usize,
    is_stopped: bool,
}

impl Pass {
    fn consume(&mut self, bytes: &mut [u8], handle: &mut impl FnMut(Message<'_>) -> bool) -> Result<usize, FrameError> {
        let mut used = 0;
        loop {
            let mut cursor = Cursor::new(bytes.get(used..).unwrap_or_default());
            let Some((header, length)) = FrameHeader::parse(&mut cursor).map_err(|_| FrameError::Invalid)? else {
                return Ok(used);
            };
            let header_length = usize::try_from(cursor.position()).map_err(|_| FrameError::Invalid)?;
            // Not only with its payload, which would be kept until then, beside the fragments of a message.
            let mask = allowed(&header, bytes.get(used + 1).map_or(0, |second| second & 0x7f))?;
            let length = usize::try_from(length).map_err(|_| FrameError::TooLarge)?;
            let gathered = match header.opcode {
                OpCode::Data(_) => self.fragments.as_ref().map_or(0, |(_, gathered)| gathered.len()),
                OpCode::Control(_) => 0,
            };
            if length.saturating_add(gathered) > self.limit {
                return Err(FrameError::TooLarge);
            }
            let start = used + header_length;
            let Some(payload) = bytes.get_mut(start..start + length) else {
                return Ok(used);
            };
            unmask(payload, mask);
            used = start + length;
            if !self.frame(&header, payload, handle)? {
                self.is_stopped = true;
                return Ok(used);
            }
        }
    }

    fn frame(
        &mut self,
        header: &FrameHeader,
        payload: &[u8],
        handle: &mut impl FnMut(Message<'_>) -> bool,
    ) -> Result<bool, FrameError> {
        match header.opcode {
            OpCode::Control(_) => Ok(handle(Message::Control(header.opcode, payload))),
            OpCode::Data(Data::Continue) => {
                let (kind, mut gathered) = self.fragments.take().ok_or(FrameError::Invalid)?;
                gathered.extend_from_slice(payload);
                if header.is_final {
                    message(kind, &gathered, handle)
                } else {
                    self.fragments = Some((kind, gathered));
                    Ok(true)
                }
            }
            OpCode::Data(_) if self.fragments.is_some() => Err(FrameError::Invalid),
            OpCode::Data(kind) if header.is_final => message(kind, payload, handle),
            OpCode::Data(kind) => {
                self.fragments = Some((kind, payload.to_vec()));
                Ok(true)
            }
        }
    }
}

/// The mask of a frame that a client may send, whatever came before; `length` is that of the second byte.
fn allowed(header: &FrameHeader, length: u8) -> Result<[u8; 4], FrameError> {
    let is_allowed = match header.opcode {
        OpCode::Control(Control::Reserved(_)) | OpCode::Data(Data::Reserved(_)) => false,
        OpCode::Control(_) => header.is_final && length <= MOST_CONTROL,
        OpCode::Data(_) => true,
    };
    let has_reserved_bit = header.rsv1 || header.rsv2 || header.rsv3;
    let mask = header.mask.filter(|_| is_allowed && !has_reserved_bit);
    mask.ok_or(FrameError::Invalid)
}

fn message(kind: Data, payload: &[u8], handle: &mut impl FnMut(Message<'_>) -> bool) -> Result<bool, FrameError> {
    match kind {
        Data::Text => {
            let text = simdutf8::basic::from_utf8(payload).map_err(|_| FrameError::NotText)?;
            Ok(handle(Message::Text(text)))
        }
        _ => Ok(handle(Message::Binary(payload))),
    }
}

fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let wide = u64::from_ne_bytes([mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3]]);
    let (chunks, rest) = payload.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

/// What a close frame says: its status, if it gives one (RFC 6455, sections 5.5.1 and 7.4).
pub(crate) fn close_status(payload: &[u8]) -> Result<Option<u16>, FrameError> {
    let [high, low, reason @ ..] = payload else {
        return if payload.is_empty() {
            Ok(None)
        } else {
            Err(FrameError::Invalid)
        };
    };
    let status = u16::from_be_bytes([*high, *low]);
    let is_valid = matches!(status, 1000..=1003 | 1007..=1014 | 3000..=4999);
    if !is_valid {
        return Err(FrameError::Invalid);
    }
    match simdutf8::basic::from_utf8(reason) {
        Ok(_) => Ok(Some(status)),
        Err(_) => Err(FrameError::NotText),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [1, 2, 3, 4];
        let mut bytes = vec![first, 0x80 | payload.len() as u8];
        bytes.extend(mask);
        bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
        bytes
    }

    #[test]
    fn a_message_of_empty_fragments_is_unfinished_until_it_ends() {
        let mut reader = FrameReader::default();
        let mut is_unfinished = |bytes: Vec<u8>| {
            reader.read(&mut { bytes }, 100, |_| true).unwrap();
            reader.is_unfinished()
        };
        assert!(is_unfinished(frame(0x01, b"")));
        assert!(is_unfinished(frame(0x00, b"")));
        assert!(!is_unfinished(frame(0x80, b"")));
    }

    fn read_in_pieces(bytes: &[u8], size: usize) -> Result<Vec<String>, FrameError> {
        let mut reader = FrameReader::default();
        let mut messages = Vec::new();
        for piece in bytes.chunks(size) {
            reader.read(&mut piece.to_vec(), 100, |message| {
                messages.push(match message {
                    Message::Text(text) => format!("text {text}"),
                    Message::Binary(bytes) => format!("binary {bytes:?}"),
                    Message::Control(code, _) => format!("control {code}"),
                });
                true
            })?;
        }
        Ok(messages)
    }

    #[test]
    fn messages_survive_any_cut_of_the_stream() {
        let mut bytes = frame(0x81, "zwölf Zeichen".as_bytes());
        bytes.extend(frame(0x01, b"frag"));
        bytes.extend(frame(0x89, b"ping"));
        bytes.extend(frame(0x80, b"ment"));
        bytes.extend(frame(0x82, &[1, 2, 3]));
        let expected = [
            "text zwölf Zeichen",
            "control PING",
            "text fragment",
            "binary [1, 2, 3]",
        ];
        for size in 1..bytes.len() {
            assert_eq!(read_in_pieces(&bytes, size).unwrap(), expected, "pieces of {size}");
        }
    }

    #[test]
    fn broken_frames_are_refused() {
        for bytes in [
            vec![0x81, 0x01, b'a'],
            frame(0xc1, b"reserved bit"),
            frame(0x83, b"reserved opcode"),
            frame(0x80, b"nothing to continue"),
            frame(0x09, b"fragmented ping"),
            [frame(0x01, b"a"), frame(0x81, b"b")].concat(),
        ] {
            assert_eq!(read_in_pieces(&bytes, 1024), Err(FrameError::Invalid), "{bytes:?}");
        }
    }

    #[test]
    fn what_is_no_text_is_told_from_what_is_no_frame() {
        assert_eq!(
            read_in_pieces(&frame(0x81, &[0xff, 0xfe]), 1024),
            Err(FrameError::NotText)
        );
        assert_eq!(close_status(&[0x03, 0xe8, 0xff]), Err(FrameError::NotText));
        assert_eq!(
            [FrameError::Invalid, FrameError::NotText, FrameError::TooLarge].map(FrameError::status),
            [1002, 1007, 1009]
        );
    }

    #[test]
    fn an_announced_length_over_the_limit_is_refused_at_once() {
        let announced = [0x81, 0xff, 0, 0, 0, 0, 0xff, 0, 0, 0, 1, 2, 3, 4];
        assert_eq!(read_in_pieces(&announced, 1024), Err(FrameError::TooLarge));
        let fragments = [frame(0x01, &[b'a'; 60]), frame(0x80, &[b'a'; 60])].concat();
        assert_eq!(read_in_pieces(&fragments, 1024), Err(FrameError::TooLarge));
        let between = [frame(0x01, &[b'a'; 60]), frame(0x89, &[b'p'; 60]), frame(0x80, b"b")].concat();
        assert_eq!(read_in_pieces(&between, 1024).unwrap().len(), 2);
    }

    #[test]
    fn a_frame_that_is_refused_is_not_waited_for() {
        for head in [
            [0x89, 0xfe, 0, 200], // a ping of more than 125 bytes
            [0x89, 0xfe, 0, 1],   // a length in more bytes than a ping's
            [0x09, 0x85, 0, 0],   // a ping in fragments
            [0x81, 5, b'a', 0],   // without a mask
            [0xc1, 0x85, 0, 0],   // a reserved bit
            [0x83, 0x85, 0, 0],   // a reserved opcode
        ] {
            // A mask, and no payload yet.
            let bytes = [&head[..], &[0; 4]].concat();
            let mut reader = FrameReader::default();
            let read = reader.read(&mut bytes.clone(), 1_000, |_| true);
            assert_eq!((read, reader.kept()), (Err(FrameError::Invalid), 0), "{head:x?}");
        }
    }

    #[test]
    fn a_stopped_reader_goes_on_with_what_is_left_and_keeps_nothing_after_it() {
        let mut bytes = [frame(0x81, b"a"), frame(0x81, b"b"), frame(0x01, b"c")].concat();
        let mut reader = FrameReader::default();
        let read = |reader: &mut FrameReader, bytes: &mut [u8]| {
            let mut heard = Vec::new();
            let stop_at_first = |message: Message<'_>| {
                heard.push(format!("{message:?}"));
                false
            };
            reader.read(bytes, 100, stop_at_first).unwrap();
            heard
        };
        assert_eq!(read(&mut reader, &mut bytes), ["Text(\"a\")"]);
        assert!(reader.is_stopped());
        assert_eq!(read(&mut reader, &mut []), ["Text(\"b\")"]);
        assert!(reader.is_stopped());
        assert_eq!(read(&mut reader, &mut []), [""; 0]);
        assert!(!reader.is_stopped() && reader.0.is_some());
        assert_eq!(read(&mut reader, &mut frame(0x80, b"d")), ["Text(\"cd\")"]);
        assert!(reader.0.is_none());
    }

    #[test]
    fn a_close_frame_says_a_status_that_may_be_sent_or_none() {
        assert_eq!(close_status(&[]), Ok(None));
        assert_eq!(close_status(&[0x03, 0xe8, b'x']), Ok(Some(1000)));
        for broken in [
            &[3][..],
            &[0x03, 0xed],
            &[0x03, 0xee],
            &[0, 0],
            &[0x0b, 0xb7],
            &[0x13, 0x88],
        ] {
            assert_eq!(close_status(broken), Err(FrameError::Invalid), "{broken:?}");
        }
    }
}
