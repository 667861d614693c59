//! WebSocket bytes (RFC 6455): splits what was read into frames, builds frames and both sides of the upgrade.
//! Knows nothing of Engine.IO or Socket.IO, does no input or output.

use anyhow::{Result, ensure};
use memchr::memmem;
use std::io::Cursor;
use tungstenite::{
    handshake::derive_accept_key,
    protocol::frame::{
        FrameHeader,
        coding::{Data, OpCode},
    },
};

/// Clients must mask what they send; any key will do when no proxy is in between.
const MASK: [u8; 4] = [0x3b, 0x91, 0x5c, 0xe7];

/// Room for a frame header.
const HEADER_BYTES: usize = 14;

/// What a connection has read and not yet used: nothing, or the beginning of a frame.
#[derive(Default)]
pub struct Inbox {
    rest: Vec<u8>,
}

impl Inbox {
    /// Passes the payload of every complete text frame to `visit` and keeps the remaining bytes for the next call.
    pub fn feed(&mut self, fresh: &mut [u8], mut visit: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        if self.rest.is_empty() {
            let used = split_frames(fresh, &mut visit)?;
            self.rest.extend(fresh.iter().skip(used));
        } else {
            self.rest.extend_from_slice(fresh);
            let used = split_frames(&mut self.rest, &mut visit)?;
            self.rest.drain(..used);
        }
        Ok(())
    }

    /// Adds bytes of the upgrade and takes its head out, once the head is complete.
    pub fn feed_head(&mut self, fresh: &[u8]) -> Option<Vec<u8>> {
        self.rest.extend_from_slice(fresh);
        let end = memmem::find(&self.rest, b"\r\n\r\n")? + 4;
        Some(self.rest.drain(..end).collect())
    }
}

/// Visits the text frames in `bytes`, unmasked in place; returns how many bytes the complete frames take.
fn split_frames(bytes: &mut [u8], visit: &mut impl FnMut(&[u8]) -> Result<()>) -> Result<usize> {
    let mut used = 0;
    while let Some(rest) = bytes.get_mut(used..) {
        let mut cursor = Cursor::new(&*rest);
        let Some((header, length)) = FrameHeader::parse(&mut cursor)? else {
            break;
        };
        let start = usize::try_from(cursor.position())?;
        let end = start + usize::try_from(length)?;
        let Some(payload) = rest.get_mut(start..end) else {
            break;
        };
        if let Some(key) = header.mask {
            mask(payload, key);
        }
        ensure!(
            header.opcode != OpCode::Data(Data::Binary),
            "binary frame from a text-only peer"
        );
        if header.opcode == OpCode::Data(Data::Text) {
            ensure!(header.is_final, "fragmented message");
            visit(payload)?;
        }
        used += end;
    }
    Ok(used)
}

/// A text frame as a client sends it.
pub fn client_frame(text: &str) -> Result<Vec<u8>> {
    let mut frame = text_frame(text, Some(MASK))?;
    let start = frame.len() - text.len();
    if let Some(payload) = frame.get_mut(start..) {
        mask(payload, MASK);
    }
    Ok(frame)
}

/// A text frame as a server sends it.
pub fn server_frame(text: &str) -> Result<Vec<u8>> {
    text_frame(text, None)
}

fn text_frame(text: &str, mask: Option<[u8; 4]>) -> Result<Vec<u8>> {
    let mut frame = Vec::with_capacity(text.len() + HEADER_BYTES);
    let header = FrameHeader {
        opcode: OpCode::Data(Data::Text),
        mask,
        ..FrameHeader::default()
    };
    header.format(u64::try_from(text.len())?, &mut frame)?;
    frame.extend_from_slice(text.as_bytes());
    Ok(frame)
}

fn mask(payload: &mut [u8], key: [u8; 4]) {
    for (byte, key) in payload.iter_mut().zip(key.into_iter().cycle()) {
        *byte ^= key;
    }
}

/// The upgrade request of a WebSocket-only Socket.IO client.
pub fn upgrade_request(port: u16, username: &str) -> String {
    format!(
        "GET /socket.io/?EIO=4&transport=websocket&username={username} HTTP/1.1\r\n\
         Host: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// The answer that accepts an upgrade with this `Sec-WebSocket-Key`.
pub fn upgrade_response(key: &[u8]) -> String {
    let accept = derive_accept_key(key);
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts_of(chunks: &[&[u8]]) -> Vec<String> {
        let mut inbox = Inbox::default();
        let mut texts = Vec::new();
        for chunk in chunks {
            let fed = inbox.feed(&mut chunk.to_vec(), |text| {
                texts.push(String::from_utf8_lossy(text).into_owned());
                Ok(())
            });
            assert!(fed.is_ok());
        }
        texts
    }

    #[test]
    fn frames_survive_any_split() -> Result<()> {
        let long = "y".repeat(70_000);
        let mut bytes = server_frame("2")?;
        bytes.extend(client_frame("42[\"message\"]")?);
        bytes.extend(server_frame(&long)?);
        for cut in [0, 1, 3, 4, 9, 30, 1_000, bytes.len()] {
            let (head, tail) = bytes.split_at(cut);
            assert_eq!(texts_of(&[head, tail]), ["2", "42[\"message\"]", long.as_str()]);
        }
        Ok(())
    }

    #[test]
    fn frames_right_behind_the_upgrade_are_kept() -> Result<()> {
        let mut inbox = Inbox::default();
        let mut bytes = upgrade_response(b"key").into_bytes();
        let head_bytes = bytes.len();
        bytes.extend(server_frame("0{}")?);
        assert_eq!(inbox.feed_head(&bytes).map(|head| head.len()), Some(head_bytes));
        let mut texts = 0;
        inbox.feed(&mut [], |_| {
            texts += 1;
            Ok(())
        })?;
        assert_eq!(texts, 1);
        Ok(())
    }
}
