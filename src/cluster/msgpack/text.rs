//! JSON text to MessagePack, in two walks over the text: MessagePack tells the length of a container before its
//! contents, so the first walk checks the grammar and counts, and the second one writes.

use std::borrow::Cow;

use bytes::Bytes;

use super::{MAX_DEPTH, Unfit, Writer};

/// Appends the MessagePack form of `json`, the text of one JSON value, to `out`, which stays as it was on an error.
///
/// With attachments, an object whose `_placeholder` is `true` becomes the attachment that its `num` names, as in
/// `socket.io-parser`; without them it is data. Repeated keys are written as often as they stand there: who decodes
/// keeps the last, as `JSON.parse` does. Lone surrogates become U+FFFD.
pub(in crate::cluster) fn from_json(json: &str, attachments: &[Bytes], out: &mut Vec<u8>) -> Result<(), Unfit> {
    let shapes = measure(json, attachments.len())?;
    let start = out.len();
    write(json, attachments, shapes, &mut Writer(out)).inspect_err(|_| out.truncate(start))
}

/// What becomes of a container.
#[derive(Debug, Clone, Copy)]
enum Shape {
    Entries(u32),
    Attachment(u32),
}

/// The second walk. The grammar was checked by the first.
fn write(json: &str, attachments: &[Bytes], shapes: Vec<Shape>, writer: &mut Writer<'_>) -> Result<(), Unfit> {
    let mut shapes = shapes.into_iter();
    let mut depth = 0_usize;
    // Depth of the placeholder whose members are left out.
    let mut hidden = None;
    let mut lexer = Lexer { rest: json };
    while let Some(token) = lexer.next()? {
        match token {
            Lexeme::Open(list) => {
                depth += 1;
                let shape = shapes.next().ok_or(Unfit::NotJson)?;
                match shape {
                    _ if hidden.is_some() => {}
                    Shape::Attachment(num) => {
                        let attachment = attachments.get(num as usize).ok_or(Unfit::NoAttachment)?;
                        writer.bin(attachment)?;
                        hidden = Some(depth);
                    }
                    Shape::Entries(length) if list => writer.array(length as usize)?,
                    Shape::Entries(length) => writer.map(length as usize)?,
                }
            }
            Lexeme::Close(_) => {
                hidden = hidden.filter(|at| *at != depth);
                depth = depth.saturating_sub(1);
            }
            Lexeme::Comma | Lexeme::Colon => {}
            _ if hidden.is_some() => {}
            Lexeme::Text(raw) => writer.str(&unescape(raw)?)?,
            Lexeme::Number(text) => writer.number(text)?,
            Lexeme::Bool(value) => writer.bool(value)?,
            Lexeme::Null => writer.nil()?,
        }
    }
    Ok(())
}

/// The first walk: the shapes of the containers, in the order in which they open.
fn measure(json: &str, attachments: usize) -> Result<Vec<Shape>, Unfit> {
    let mut walk = Walk {
        expect: Expect::Value,
        open: Vec::new(),
        shapes: Vec::new(),
        attachments,
    };
    let mut lexer = Lexer { rest: json };
    while let Some(token) = lexer.next()? {
        walk.take(token)?;
    }
    match walk.expect {
        Expect::Nothing => Ok(walk.shapes),
        _ => Err(Unfit::NotJson),
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Expect {
    Value,
    /// A value or `]`.
    First,
    /// A key or `}`.
    FirstKey,
    Key,
    Colon,
    /// A comma or the end of the container.
    Next,
    Nothing,
}

/// A member that makes an object a placeholder.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Member {
    Placeholder,
    Num,
    Other,
}

/// A container whose end has not come.
#[derive(Debug)]
struct Open {
    list: bool,
    /// Its place among the shapes.
    shape: usize,
    length: usize,
    member: Member,
    placeholder: bool,
    num: Option<f64>,
}

#[derive(Debug)]
struct Walk {
    expect: Expect,
    open: Vec<Open>,
    shapes: Vec<Shape>,
    attachments: usize,
}

impl Walk {
    fn take(&mut self, token: Lexeme<'_>) -> Result<(), Unfit> {
        let list = self.open.last().map(|open| open.list);
        match (self.expect, token) {
            (Expect::Key | Expect::FirstKey, Lexeme::Text(raw)) => self.key(raw)?,
            (Expect::Colon, Lexeme::Colon) => self.expect = Expect::Value,
            (Expect::Next, Lexeme::Comma) if list == Some(true) => self.expect = Expect::Value,
            (Expect::Next, Lexeme::Comma) => self.expect = Expect::Key,
            (Expect::First | Expect::Next, Lexeme::Close(true)) if list == Some(true) => self.close()?,
            (Expect::FirstKey | Expect::Next, Lexeme::Close(false)) if list == Some(false) => self.close()?,
            (Expect::Value | Expect::First, Lexeme::Open(list)) => self.open(list)?,
            (Expect::Value | Expect::First, Lexeme::Comma | Lexeme::Colon | Lexeme::Close(_)) => {
                return Err(Unfit::NotJson);
            }
            (Expect::Value | Expect::First, scalar) => {
                self.value(&scalar);
                self.after_value();
            }
            _ => return Err(Unfit::NotJson),
        }
        Ok(())
    }

    fn key(&mut self, raw: &str) -> Result<(), Unfit> {
        if let Some(open) = self.open.last_mut() {
            open.length += 1;
            if self.attachments > 0 {
                open.member = match unescape(raw)?.as_ref() {
                    "_placeholder" => Member::Placeholder,
                    "num" => Member::Num,
                    _ => Member::Other,
                };
            }
        }
        self.expect = Expect::Colon;
        Ok(())
    }

    /// Notes a value in the container that it stands in.
    fn value(&mut self, token: &Lexeme<'_>) {
        let Some(open) = self.open.last_mut() else { return };
        if open.list {
            open.length += 1;
        }
        match (open.member, token) {
            (Member::Placeholder, token) => open.placeholder = matches!(token, Lexeme::Bool(true)),
            (Member::Num, Lexeme::Number(text)) => open.num = text.parse().ok(),
            (Member::Num, _) => open.num = None,
            (Member::Other, _) => {}
        }
    }

    fn open(&mut self, list: bool) -> Result<(), Unfit> {
        if self.open.len() >= MAX_DEPTH {
            return Err(Unfit::TooDeep);
        }
        self.value(&Lexeme::Open(list));
        self.open.push(Open {
            list,
            shape: self.shapes.len(),
            length: 0,
            member: Member::Other,
            placeholder: false,
            num: None,
        });
        self.shapes.push(Shape::Entries(0));
        self.expect = if list { Expect::First } else { Expect::FirstKey };
        Ok(())
    }

    fn close(&mut self) -> Result<(), Unfit> {
        let open = self.open.pop().ok_or(Unfit::NotJson)?;
        let shape = if open.placeholder {
            let num = open.num.filter(|num| num.fract() == 0.0 && *num >= 0.0);
            let num = num.filter(|num| *num < self.attachments as f64);
            Shape::Attachment(num.ok_or(Unfit::NoAttachment)? as u32)
        } else {
            Shape::Entries(u32::try_from(open.length).map_err(|_| Unfit::TooLong)?)
        };
        if let Some(place) = self.shapes.get_mut(open.shape) {
            *place = shape;
        }
        self.after_value();
        Ok(())
    }

    fn after_value(&mut self) {
        self.expect = if self.open.is_empty() {
            Expect::Nothing
        } else {
            Expect::Next
        };
    }
}

/// A token of JSON; `true` where `[` and `]` are meant, `false` for `{` and `}`.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Lexeme<'a> {
    Open(bool),
    Close(bool),
    Comma,
    Colon,
    /// What stands between the quotes.
    Text(&'a str),
    Number(&'a str),
    Bool(bool),
    Null,
}

#[derive(Debug)]
struct Lexer<'a> {
    rest: &'a str,
}

impl<'a> Lexer<'a> {
    fn next(&mut self) -> Result<Option<Lexeme<'a>>, Unfit> {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
        let Some(first) = self.rest.as_bytes().first() else {
            return Ok(None);
        };
        let (token, length) = match first {
            b'[' => (Lexeme::Open(true), 1),
            b']' => (Lexeme::Close(true), 1),
            b'{' => (Lexeme::Open(false), 1),
            b'}' => (Lexeme::Close(false), 1),
            b',' => (Lexeme::Comma, 1),
            b':' => (Lexeme::Colon, 1),
            b'"' => {
                let text = self.text().ok_or(Unfit::NotJson)?;
                (Lexeme::Text(text), text.len() + 2)
            }
            b't' if self.rest.starts_with("true") => (Lexeme::Bool(true), 4),
            b'f' if self.rest.starts_with("false") => (Lexeme::Bool(false), 5),
            b'n' if self.rest.starts_with("null") => (Lexeme::Null, 4),
            _ => {
                let text = self.number().ok_or(Unfit::NotJson)?;
                (Lexeme::Number(text), text.len())
            }
        };
        self.rest = self.rest.get(length..).ok_or(Unfit::NotJson)?;
        Ok(Some(token))
    }

    fn text(&self) -> Option<&'a str> {
        let text = self.rest.get(1..)?;
        let mut at = 0;
        loop {
            let tail = text.as_bytes().get(at..)?;
            let found = tail.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))?;
            at += found;
            match tail.get(found)? {
                b'"' => return text.get(..at),
                b'\\' => at += 2,
                _ => return None,
            }
        }
    }

    fn number(&self) -> Option<&'a str> {
        let part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let length = self.rest.bytes().take_while(part).count();
        self.rest.get(..length).filter(|text| is_number(text))
    }
}

/// The grammar of RFC 8259, section 6.
fn is_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let text = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(|exponent| digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)))
}

fn unescape(raw: &str) -> Result<Cow<'_, str>, Unfit> {
    if !raw.contains('\\') {
        return Ok(Cow::Borrowed(raw));
    }
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((plain, escape)) = rest.split_once('\\') {
        text.push_str(plain);
        rest = push_escaped(escape, &mut text).ok_or(Unfit::NotJson)?;
    }
    text.push_str(rest);
    Ok(Cow::Owned(text))
}

/// Appends the character that is escaped by what follows a backslash; returns what follows the escape.
fn push_escaped<'a>(escape: &'a str, text: &mut String) -> Option<&'a str> {
    let mut chars = escape.chars();
    let character = match chars.next()? {
        character @ ('"' | '\\' | '/') => character,
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'u' => {
            let (unit, rest) = unit(chars.as_str())?;
            let low = rest.strip_prefix("\\u").and_then(self::unit);
            if let (0xD800..0xDC00, Some((low @ 0xDC00..0xE000, rest))) = (unit, low) {
                let point = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
                text.push(char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER));
                return Some(rest);
            }
            // A lone surrogate is no character, and has no UTF-8.
            text.push(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER));
            return Some(rest);
        }
        _ => return None,
    };
    text.push(character);
    Some(chars.as_str())
}

/// Four hexadecimal digits, and what follows them.
fn unit(text: &str) -> Option<(u32, &str)> {
    let (digits, rest) = text.split_at_checked(4)?;
    let valid = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    Some((u32::from_str_radix(digits, 16).ok().filter(|_| valid)?, rest))
}

#[cfg(test)]
mod tests;
