//! Broadcasts: `[uid, { type: 2, data: [event, ...args], nsp }, { rooms, except, flags }]` in MessagePack.
//!
//! Broadcasts of this package carry a mark as the last entry of `flags`, under the key `native`: bytes
//! `[kind: u8][seq: u64][time: u64]`, big endian. It is always the last 19 bytes of the payload, so the sequence
//! number can be written when the payload is published, and read without decoding. To other servers it is an
//! unknown flag.

use bytes::Bytes;

use super::{NAMESPACE, name};
use crate::adapter::msgpack::{Malformed, Reader, Token, Unfit, Writer, from_json};

/// `PacketType.EVENT` of `socket.io-parser`; what carries binary has the same type in the cluster.
const EVENT: u64 = 2;
/// `BINARY_EVENT`, which emitters of Socket.IO 2 wrote.
const BINARY_EVENT: u64 = 5;

/// The key of the mark, and the header of its bytes.
const MARK_KEY: &str = "native";
const MARK_HEAD: &[u8] = b"\xa6native\xc4\x11";
const MARK_LENGTH: usize = 17;

/// What only instances of this package tell each other with a broadcast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// What the packet is.
    pub(crate) kind: u8,
    /// Number of the message among those of its sender.
    pub(crate) seq: u64,
    /// Milliseconds since the epoch.
    pub(crate) time: u64,
}

impl Mark {
    fn to_bytes(self) -> [u8; MARK_LENGTH] {
        let mut bytes = [0; MARK_LENGTH];
        let (kind, numbers) = bytes.split_at_mut(1);
        let (seq, time) = numbers.split_at_mut(8);
        kind.copy_from_slice(&[self.kind]);
        seq.copy_from_slice(&self.seq.to_be_bytes());
        time.copy_from_slice(&self.time.to_be_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let (seq, rest) = rest.split_first_chunk()?;
        let time = rest.try_into().ok()?;
        Some(Self {
            kind: *kind,
            seq: u64::from_be_bytes(*seq),
            time: u64::from_be_bytes(time),
        })
    }
}

/// How a packet is to be delivered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Flags {
    /// May be lost when a client is not ready for it.
    pub(crate) volatile: bool,
    /// How long acknowledgements are awaited, in milliseconds.
    pub(crate) timeout: Option<u64>,
}

/// A packet to send, to be written as a broadcast or as a request of type 7.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outgoing<'a> {
    /// This server.
    pub(crate) uid: &'a str,
    /// The JSON array of arguments, event first.
    pub(crate) args: &'a str,
    /// Bytes, in the order of their placeholders.
    pub(crate) attachments: &'a [Bytes],
    /// Rooms, each once. None means everyone, so what is meant for nobody must not be sent.
    pub(crate) rooms: &'a [&'a str],
    /// Rooms left out.
    pub(crate) except: &'a [&'a str],
    /// How to deliver it.
    pub(crate) flags: Flags,
}

impl Outgoing<'_> {
    /// The payload; without a mark the same bytes as the adapter's.
    pub(crate) fn encode(&self, mark: Option<Mark>) -> Result<Vec<u8>, Unfit> {
        let mut out = Vec::with_capacity(self.size_hint());
        let mut writer = Writer(&mut out);
        writer.array(3)?;
        writer.str(self.uid)?;
        self.write_packet(&mut writer)?;
        self.write_opts(&mut writer, mark)?;
        Ok(out)
    }

    /// About how long the payload is.
    pub(super) fn size_hint(&self) -> usize {
        let names = self.rooms.iter().chain(self.except).map(|name| name.len() + 5);
        let attachments = self.attachments.iter().map(|bytes| bytes.len() + 5);
        128 + self.uid.len() + self.args.len() + names.sum::<usize>() + attachments.sum::<usize>()
    }

    /// `{ type, data, nsp }`.
    pub(super) fn write_packet(&self, writer: &mut Writer<'_>) -> Result<(), Unfit> {
        // A peer's `data` must be a list: on anything else its code fails.
        if !self.args.trim_start().starts_with('[') {
            return Err(Unfit::NotJson);
        }
        writer.map(3)?;
        writer.str("type")?;
        writer.uint(EVENT)?;
        writer.str("data")?;
        from_json(self.args, self.attachments, writer.0)?;
        writer.str("nsp")?;
        writer.str(NAMESPACE)
    }

    /// `{ rooms, except, flags }`.
    pub(super) fn write_opts(&self, writer: &mut Writer<'_>, mark: Option<Mark>) -> Result<(), Unfit> {
        writer.map(3)?;
        for (key, names) in [("rooms", self.rooms), ("except", self.except)] {
            writer.str(key)?;
            writer.array(names.len())?;
            for name in names {
                writer.str(name)?;
            }
        }
        let flags = self.flags;
        let set = [flags.volatile, flags.timeout.is_some(), mark.is_some()];
        writer.str("flags")?;
        writer.map(set.into_iter().filter(|set| *set).count())?;
        if flags.volatile {
            writer.str("volatile")?;
            writer.bool(true)?;
        }
        if let Some(timeout) = flags.timeout {
            writer.str("timeout")?;
            writer.uint(timeout)?;
        }
        // Last, so that it ends the payload.
        if let Some(mark) = mark {
            writer.str(MARK_KEY)?;
            writer.bin(&mark.to_bytes())?;
        }
        Ok(())
    }
}

/// Sender and mark of a broadcast, without decoding the rest. `None` when it does not begin like a broadcast.
pub(crate) fn peek(payload: &[u8]) -> Option<(&str, Option<Mark>)> {
    let mut reader = Reader::new(payload);
    if reader.array("a broadcast").ok()? != 3 {
        return None;
    }
    let uid = reader.str("uid").ok()?;
    Some((uid, tail(payload).and_then(Mark::from_bytes)))
}

/// The mark's bytes. No text ends like this: `c4 11` is not UTF-8.
fn tail(payload: &[u8]) -> Option<&[u8]> {
    let (head, mark) = payload.split_at_checked(payload.len().checked_sub(MARK_LENGTH)?)?;
    head.ends_with(MARK_HEAD).then_some(mark)
}

/// A broadcast that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Broadcast {
    /// The JSON array of arguments, event first.
    pub(crate) args: String,
    /// Bytes, in the order of their placeholders.
    pub(crate) attachments: Vec<Bytes>,
    /// Rooms; none means everyone.
    pub(crate) rooms: Vec<Box<str>>,
    /// Rooms left out.
    pub(crate) except: Vec<Box<str>>,
    /// It may be lost when a client is not ready for it.
    pub(crate) volatile: bool,
}

/// What a payload on a channel of broadcasts was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decoded {
    /// A broadcast in the default namespace.
    Ours(Broadcast),
    /// One in another namespace: nothing is wrong, and nothing is to do.
    OtherNamespace,
}

/// Decodes a whole payload; whose it is and its mark are [`peek`]'s. Unknown keys are passed over; anything else that the adapter does not write is an error.
pub(crate) fn decode(payload: &[u8]) -> Result<Decoded, Malformed> {
    let mut reader = Reader::new(payload);
    if reader.array("a broadcast")? != 3 {
        return Err(Malformed::Type("a broadcast"));
    }
    reader.str("uid")?;
    let packet = Packet::read(&mut reader)?;
    let opts = Opts::read(&mut reader)?;
    reader.finish()?;
    if packet.foreign {
        return Ok(Decoded::OtherNamespace);
    }
    let kind = packet.kind.ok_or(Malformed::Missing("type"))?;
    if kind != EVENT && kind != BINARY_EVENT {
        return Err(Malformed::Type("the packet"));
    }
    let args = packet.args.ok_or(Malformed::Missing("data"))?;
    name::check_event(&args)?;
    Ok(Decoded::Ours(Broadcast {
        args,
        attachments: packet.attachments,
        rooms: opts.rooms.ok_or(Malformed::Missing("rooms"))?,
        except: opts.except,
        volatile: opts.volatile,
    }))
}

/// The value at the cursor, which moves past all of it.
fn peek_value<'a>(reader: &mut Reader<'a>) -> Result<Token<'a>, Malformed> {
    let value = reader.clone().token()?;
    reader.skip()?;
    Ok(value)
}

/// `{ type, data, nsp }`.
#[derive(Debug, Default)]
struct Packet {
    kind: Option<u64>,
    args: Option<String>,
    attachments: Vec<Bytes>,
    foreign: bool,
}

impl Packet {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut packet = Self::default();
        for _ in 0..reader.map("the packet")? {
            match reader.str("a key")? {
                "type" => packet.kind = Some(reader.uint("type")?),
                "data" => {
                    let mut args = String::new();
                    packet.attachments.clear();
                    reader.read_json(&mut args, &mut packet.attachments, 0)?;
                    packet.args = Some(args);
                }
                // Left out by servers that have but one.
                "nsp" => {
                    let namespace = peek_value(reader)?;
                    packet.foreign = !matches!(namespace, Token::Str(NAMESPACE) | Token::Undefined);
                }
                _ => reader.skip()?,
            }
        }
        Ok(packet)
    }
}

/// `{ rooms, except, flags }`.
#[derive(Debug, Default)]
struct Opts {
    rooms: Option<Vec<Box<str>>>,
    except: Vec<Box<str>>,
    volatile: bool,
}

impl Opts {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut opts = Self::default();
        for _ in 0..reader.map("opts")? {
            match reader.str("a key")? {
                "rooms" => opts.rooms = Some(name::read_list(reader, "rooms")?),
                // Emitters of Socket.IO 2 wrote none.
                "except" => opts.except = name::read_list(reader, "except")?,
                "flags" => opts.read_flags(reader)?,
                _ => reader.skip()?,
            }
        }
        Ok(opts)
    }

    fn read_flags(&mut self, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        for _ in 0..reader.map("flags")? {
            let flag = reader.str("a key")?;
            // A flag of another type is as an unknown flag.
            if let ("volatile", Token::Bool(volatile)) = (flag, peek_value(reader)?) {
                self.volatile = volatile;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
