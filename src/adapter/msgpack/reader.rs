//! MessagePack to values and to JSON text.

use std::fmt::Write as _;

use bytes::Bytes;
use rmp::Marker;

use super::{MAX_READ_DEPTH, Malformed};
use crate::{
    clock,
    wire::{
        json::{push_canonical, push_quoted},
        packet::MAX_ATTACHMENTS,
    },
};

/// One value, of a container only its length.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Token<'a> {
    /// `null`.
    Nil,
    /// JavaScript's `undefined`, an extension of older peers.
    Undefined,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Unsigned(u64),
    /// A whole number, mostly a negative one.
    Signed(i64),
    /// Any number.
    Float(f64),
    /// A string.
    Str(&'a str),
    /// A string that is no text of whole characters: of another instance, with lone surrogates as UTF-8 would have them;
    /// or of a Node.js server, whose `notepack.io` adds a byte to such a string.
    Halves(&'a [u8]),
    /// Bytes, also in the `ArrayBuffer` extension of older peers.
    Bin(&'a [u8]),
    /// A `Date`: milliseconds since the epoch.
    Date(f64),
    /// An array; this many values follow.
    Array(u32),
    /// A map; this many keys follow, each with its value.
    Map(u32),
}

/// A cursor over MessagePack. After an error its position means nothing.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A cursor at the first byte.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// An error unless every byte was read.
    pub(crate) fn finish(&self) -> Result<(), Malformed> {
        self.rest.is_empty().then_some(()).ok_or(Malformed::Trailing)
    }

    /// Length of the array at the cursor, which moves to its first value.
    pub(crate) fn array(&mut self, what: &'static str) -> Result<u32, Malformed> {
        match self.token()? {
            Token::Array(length) => Ok(length),
            _ => Err(Malformed::Type(what)),
        }
    }

    /// Number of keys of the map at the cursor, which moves to the first.
    pub(crate) fn map(&mut self, what: &'static str) -> Result<u32, Malformed> {
        match self.token()? {
            Token::Map(length) => Ok(length),
            _ => Err(Malformed::Type(what)),
        }
    }

    /// The string at the cursor.
    pub(crate) fn str(&mut self, what: &'static str) -> Result<&'a str, Malformed> {
        match self.token()? {
            Token::Str(text) => Ok(text),
            _ => Err(Malformed::Type(what)),
        }
    }

    /// The whole number at the cursor, in whichever form.
    pub(crate) fn uint(&mut self, what: &'static str) -> Result<u64, Malformed> {
        match self.token()? {
            Token::Unsigned(value) => Ok(value),
            Token::Signed(value) => u64::try_from(value).map_err(|_| Malformed::Type(what)),
            Token::Float(value) if value.fract() == 0.0 && (0.0..1e15).contains(&value) => Ok(value as u64),
            _ => Err(Malformed::Type(what)),
        }
    }

    /// Passes over one value, which is checked all the same.
    pub(crate) fn skip(&mut self) -> Result<(), Malformed> {
        let mut left = 1_u64;
        while left > 0 {
            let within = match self.token()? {
                Token::Array(length) => u64::from(length),
                Token::Map(length) => u64::from(length) * 2,
                _ => 0,
            };
            // Every value takes a byte, so this cannot overflow before the bytes end.
            left = (left - 1).saturating_add(within);
        }
        Ok(())
    }

    /// Appends the value at the cursor as compact JSON text, with the value that `JSON.stringify` gives it in a
    /// Node.js peer; bytes become placeholders of Socket.IO, numbered from `first`, and join the attachments.
    pub(crate) fn read_json(
        &mut self,
        json: &mut String,
        attachments: &mut Vec<Bytes>,
        first: usize,
    ) -> Result<(), Malformed> {
        let mut open: Vec<Level> = Vec::new();
        loop {
            match self.token()? {
                Token::Array(length) => enter(&mut open, Level::new(false, length), json)?,
                Token::Map(length) => enter(&mut open, Level::new(true, length), json)?,
                scalar => push_scalar(json, scalar, attachments, first)?,
            }
            while let Some(level) = open.last_mut() {
                if self.advance(level, json)? {
                    break;
                }
                if level.left == 0 {
                    json.push(if level.keyed { '}' } else { ']' });
                    open.pop();
                }
            }
            if open.is_empty() {
                return Ok(());
            }
        }
    }

    /// Moves to the next value of a container: writes the comma and the key. False where there is none to write.
    fn advance(&mut self, level: &mut Level, json: &mut String) -> Result<bool, Malformed> {
        if level.left == 0 {
            return Ok(false);
        }
        level.left -= 1;
        let key = if level.keyed { Some(self.token()?) } else { None };
        // Before anything is left out: what is in a container that stands for a key would be taken for what comes next.
        if let Some(Token::Array(_) | Token::Map(_)) = key {
            return Err(Malformed::Type("a key"));
        }
        // JSON has no `undefined`: a key that has it for a value is left out.
        if key.is_some() && self.rest.starts_with(&[Marker::FixExt1.to_u8(), 0]) {
            self.token()?;
            return Ok(false);
        }
        if !std::mem::take(&mut level.first) {
            json.push(',');
        }
        match key {
            None => {}
            Some(Token::Str(key)) => push_quoted(json, key),
            Some(Token::Halves(key)) => push_halves(json, key),
            Some(Token::Unsigned(key)) => push(json, format_args!("\"{key}\"")),
            Some(Token::Signed(key)) => push(json, format_args!("\"{key}\"")),
            Some(_) => return Err(Malformed::Type("a key")),
        }
        if level.keyed {
            json.push(':');
        }
        Ok(true)
    }

    /// The value at the cursor, which moves behind it or, of a container, to its first value.
    pub(crate) fn token(&mut self) -> Result<Token<'a>, Malformed> {
        Ok(match Marker::from_u8(self.u8()?) {
            Marker::FixPos(value) => Token::Unsigned(value.into()),
            Marker::FixNeg(value) => Token::Signed(value.into()),
            Marker::Null => Token::Nil,
            Marker::False => Token::Bool(false),
            Marker::True => Token::Bool(true),
            Marker::U8 => Token::Unsigned(self.u8()?.into()),
            Marker::U16 => Token::Unsigned(self.u16()?.into()),
            Marker::U32 => Token::Unsigned(self.u32()?.into()),
            Marker::U64 => Token::Unsigned(u64::from_be_bytes(self.number()?)),
            Marker::I8 => Token::Signed(i8::from_be_bytes(self.number()?).into()),
            Marker::I16 => Token::Signed(i16::from_be_bytes(self.number()?).into()),
            Marker::I32 => Token::Signed(i32::from_be_bytes(self.number()?).into()),
            Marker::I64 => Token::Signed(i64::from_be_bytes(self.number()?)),
            Marker::F32 => Token::Float(f32::from_be_bytes(self.number()?).into()),
            Marker::F64 => Token::Float(f64::from_be_bytes(self.number()?)),
            Marker::FixStr(length) => self.text(length.into())?,
            Marker::Str8 => self.u8().and_then(|length| self.text(length.into()))?,
            Marker::Str16 => self.u16().and_then(|length| self.text(length.into()))?,
            Marker::Str32 => self.u32().and_then(|length| self.text(length))?,
            Marker::Bin8 => self.u8().and_then(|length| self.bytes(length.into())).map(Token::Bin)?,
            Marker::Bin16 => self
                .u16()
                .and_then(|length| self.bytes(length.into()))
                .map(Token::Bin)?,
            Marker::Bin32 => self.u32().and_then(|length| self.bytes(length)).map(Token::Bin)?,
            Marker::FixArray(length) => Token::Array(length.into()),
            Marker::Array16 => Token::Array(self.u16()?.into()),
            Marker::Array32 => Token::Array(self.u32()?),
            Marker::FixMap(length) => Token::Map(length.into()),
            Marker::Map16 => Token::Map(self.u16()?.into()),
            Marker::Map32 => Token::Map(self.u32()?),
            Marker::FixExt1 => self.fixed_extension(1)?,
            Marker::FixExt4 => self.fixed_extension(4)?,
            Marker::FixExt8 => self.fixed_extension(8)?,
            Marker::Ext8 => self.u8().and_then(|length| self.extension(length.into()))?,
            Marker::Ext16 => self.u16().and_then(|length| self.extension(length.into()))?,
            Marker::Ext32 => self.u32().and_then(|length| self.extension(length))?,
            Marker::FixExt2 | Marker::FixExt16 | Marker::Reserved => return Err(Malformed::Unknown),
        })
    }

    fn text(&mut self, length: u32) -> Result<Token<'a>, Malformed> {
        let bytes = self.bytes(length)?;
        match simdutf8::basic::from_utf8(bytes) {
            Ok(text) => Ok(Token::Str(text)),
            Err(_) => Ok(Token::Halves(bytes)),
        }
    }

    /// Timestamps (−1) of MessagePack, and what `notepack.io` 2 wrote as type 0.
    fn fixed_extension(&mut self, length: u32) -> Result<Token<'a>, Malformed> {
        let kind = i8::from_be_bytes(self.number()?);
        match (kind, length) {
            (0, 1) => self.u8().map(|_| Token::Undefined),
            (0, 8) => Ok(Token::Date(i64::from_be_bytes(self.number()?) as f64)),
            (-1, 4) => Ok(Token::Date(f64::from(self.u32()?) * 1e3)),
            (-1, 8) => {
                let packed = u64::from_be_bytes(self.number()?);
                Ok(instant((packed & 0x3_FFFF_FFFF) as f64, (packed >> 34) as f64))
            }
            _ => Err(Malformed::Unknown),
        }
    }

    fn extension(&mut self, length: u32) -> Result<Token<'a>, Malformed> {
        let kind = i8::from_be_bytes(self.number()?);
        match (kind, length) {
            (0, _) => self.bytes(length).map(Token::Bin),
            (-1, 12) => {
                let nanoseconds = self.u32()?;
                let seconds = i64::from_be_bytes(self.number()?);
                Ok(instant(seconds as f64, nanoseconds.into()))
            }
            _ => Err(Malformed::Unknown),
        }
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        self.number().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        self.number().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.number().map(u32::from_be_bytes)
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (number, rest) = self.rest.split_first_chunk().ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(*number)
    }

    fn bytes(&mut self, length: u32) -> Result<&'a [u8], Malformed> {
        let (bytes, rest) = self
            .rest
            .split_at_checked(length as usize)
            .ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }
}

/// A container whose end has not come.
#[derive(Debug)]
struct Level {
    keyed: bool,
    first: bool,
    left: u32,
}

impl Level {
    fn new(keyed: bool, left: u32) -> Self {
        Self {
            keyed,
            first: true,
            left,
        }
    }
}

fn enter(open: &mut Vec<Level>, level: Level, json: &mut String) -> Result<(), Malformed> {
    if open.len() >= MAX_READ_DEPTH {
        return Err(Malformed::TooDeep);
    }
    json.push(if level.keyed { '{' } else { '[' });
    open.push(level);
    Ok(())
}

fn instant(seconds: f64, nanoseconds: f64) -> Token<'static> {
    Token::Date(seconds * 1e3 + nanoseconds / 1e6)
}

fn push_scalar(
    json: &mut String,
    scalar: Token<'_>,
    attachments: &mut Vec<Bytes>,
    first: usize,
) -> Result<(), Malformed> {
    match scalar {
        Token::Bool(value) => push(json, format_args!("{value}")),
        Token::Unsigned(value) => push(json, format_args!("{value}")),
        Token::Signed(value) => push(json, format_args!("{value}")),
        Token::Float(value) => push_float(json, value),
        Token::Str(text) => push_quoted(json, text),
        Token::Halves(text) => push_halves(json, text),
        Token::Date(ms) => match clock::iso_of(ms) {
            Some(text) => push_quoted(json, &text),
            None => json.push_str("null"),
        },
        Token::Bin(bytes) => {
            if attachments.len() >= MAX_ATTACHMENTS {
                return Err(Malformed::TooManyAttachments);
            }
            push(
                json,
                format_args!("{{\"_placeholder\":true,\"num\":{}}}", first + attachments.len()),
            );
            // A copy: a slice would keep the whole payload, and the read buffer around it, alive.
            attachments.push(Bytes::copy_from_slice(bytes));
        }
        // Containers are the caller's.
        Token::Nil | Token::Undefined | Token::Array(_) | Token::Map(_) => json.push_str("null"),
    }
    Ok(())
}

fn push_float(json: &mut String, value: f64) {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        push(json, format_args!("{}", value as i64));
    } else if value.is_finite() {
        // The shorter of the two notations, so that a large exponent does not become hundreds of digits.
        if (1e-5..1e15).contains(&value.abs()) {
            push(json, format_args!("{value}"));
        } else {
            push(json, format_args!("{value:e}"));
        }
    } else {
        json.push_str("null");
    }
}

fn push(json: &mut String, text: std::fmt::Arguments<'_>) {
    // A String takes whatever it is given.
    let _ = json.write_fmt(text);
}

/// Appends a string as JSON, in quotes.
fn push_halves(json: &mut String, text: &[u8]) {
    json.push('"');
    push_canonical(json, text);
    json.push('"');
}

#[cfg(test)]
mod tests;
