//! Reading the WebSocket frames of a client (RFC 6455, section 5) straight from the receive buffer.
//!
//! Messages are unmasked in place; only what is incomplete or fragmented is kept. Bytes are never reserved because a
//! header announces them.

use std::io::Cursor;

use tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Control, Data, OpCode},
};

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
    #[error("message larger than maxHttpBufferSize")]
    TooLarge,
}

/// Cuts a byte stream into messages.
#[derive(Debug)]
pub(crate) struct FrameReader {
    /// The beginning of a frame that is not complete.
    rest: Vec<u8>,
    fragments: Option<(Data, Vec<u8>)>,
    limit: usize,
    /// `handle` has stopped the reader: what is left may hold whole messages.
    is_stopped: bool,
}

/// A buffer that outgrew this is given back when it is empty.
const KEEP_CAPACITY: usize = 1024;

impl FrameReader {
    /// A reader of messages of at most `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            rest: Vec::new(),
            fragments: None,
            limit,
            is_stopped: false,
        }
    }

    /// Whether `handle` has stopped the reader; reading no bytes goes on with what is left.
    pub(crate) fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// Takes received bytes and hands every complete message to `handle`, in order, while it returns true.
    pub(crate) fn read(
        &mut self,
        bytes: &mut [u8],
        mut handle: impl FnMut(Message<'_>) -> bool,
    ) -> Result<(), FrameError> {
        self.is_stopped = false;
        if self.rest.is_empty() {
            let used = self.consume(bytes, &mut handle)?;
            self.rest.extend_from_slice(bytes.get(used..).unwrap_or_default());
        } else {
            self.rest.extend_from_slice(bytes);
            let mut rest = std::mem::take(&mut self.rest);
            let used = self.consume(&mut rest, &mut handle)?;
            rest.drain(..used);
            if rest.is_empty() && rest.capacity() > KEEP_CAPACITY {
                rest = Vec::new();
            }
            self.rest = rest;
        }
        Ok(())
    }

    fn consume(&mut self, bytes: &mut [u8], handle: &mut impl FnMut(Message<'_>) -> bool) -> Result<usize, FrameError> {
        let mut used = 0;
        loop {
            let mut cursor = Cursor::new(bytes.get(used..).unwrap_or_default());
            let Some((header, length)) = FrameHeader::parse(&mut cursor).map_err(|_| FrameError::Invalid)? else {
                return Ok(used);
            };
            let header_length = usize::try_from(cursor.position()).map_err(|_| FrameError::Invalid)?;
            let length = usize::try_from(length).map_err(|_| FrameError::TooLarge)?;
            let gathered = self.fragments.as_ref().map_or(0, |(_, gathered)| gathered.len());
            if length.saturating_add(gathered) > self.limit {
                return Err(FrameError::TooLarge);
            }
            let start = used + header_length;
            let Some(payload) = bytes.get_mut(start..start + length) else {
                return Ok(used);
            };
            let mask = header.mask.ok_or(FrameError::Invalid)?;
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
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(FrameError::Invalid);
        }
        match header.opcode {
            OpCode::Control(Control::Reserved(_)) | OpCode::Data(Data::Reserved(_)) => Err(FrameError::Invalid),
            OpCode::Control(_) if !header.is_final || payload.len() > 125 => Err(FrameError::Invalid),
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

fn message(kind: Data, payload: &[u8], handle: &mut impl FnMut(Message<'_>) -> bool) -> Result<bool, FrameError> {
    match kind {
        Data::Text => {
            let text = simdutf8::basic::from_utf8(payload).map_err(|_| FrameError::Invalid)?;
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

/// Appends a frame as a client would send it, masked with zeroes, for the library behind our stream to read.
pub(crate) fn put_client_frame(buffer: &mut Vec<u8>, opcode: OpCode, payload: &[u8]) {
    let header = FrameHeader {
        is_final: true,
        rsv1: false,
        rsv2: false,
        rsv3: false,
        opcode,
        mask: Some([0; 4]),
    };
    // Writing to a `Vec` cannot fail.
    let _ = header.format(payload.len() as u64, buffer);
    buffer.extend_from_slice(payload);
}

/// Appends a text message as a client would send it.
pub(crate) fn put_client_text(buffer: &mut Vec<u8>, text: &str) {
    put_client_frame(buffer, OpCode::Data(Data::Text), text.as_bytes());
}

/// A frame that the library wrote.
#[derive(Debug)]
pub(crate) struct ServerFrame<'a> {
    pub(crate) opcode: OpCode,
    pub(crate) payload: &'a [u8],
    /// Header and payload.
    pub(crate) whole: &'a [u8],
}

/// The frames in `bytes`, which holds whole ones only; `None` for rubbish.
pub(crate) fn server_frames(bytes: &[u8]) -> Option<Vec<ServerFrame<'_>>> {
    let mut frames = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let mut cursor = Cursor::new(rest);
        let (header, length) = FrameHeader::parse(&mut cursor).ok()??;
        let start = usize::try_from(cursor.position()).ok()?;
        let end = start.checked_add(usize::try_from(length).ok()?)?;
        let (whole, after) = rest.split_at_checked(end)?;
        frames.push(ServerFrame {
            opcode: header.opcode,
            payload: whole.get(start..)?,
            whole,
        });
        rest = after;
    }
    Some(frames)
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

    fn read_in_pieces(bytes: &[u8], size: usize) -> Result<Vec<String>, FrameError> {
        let mut reader = FrameReader::new(100);
        let mut messages = Vec::new();
        for piece in bytes.chunks(size) {
            reader.read(&mut piece.to_vec(), |message| {
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
            frame(0x81, &[0xff, 0xfe]),
            [frame(0x01, b"a"), frame(0x81, b"b")].concat(),
        ] {
            assert_eq!(read_in_pieces(&bytes, 1024), Err(FrameError::Invalid), "{bytes:?}");
        }
    }

    #[test]
    fn an_announced_length_over_the_limit_is_refused_at_once() {
        let announced = [0x81, 0xff, 0, 0, 0, 0, 0xff, 0, 0, 0, 1, 2, 3, 4];
        assert_eq!(read_in_pieces(&announced, 1024), Err(FrameError::TooLarge));
        let fragments = [frame(0x01, &[b'a'; 60]), frame(0x80, &[b'a'; 60])].concat();
        assert_eq!(read_in_pieces(&fragments, 1024), Err(FrameError::TooLarge));
    }
}
