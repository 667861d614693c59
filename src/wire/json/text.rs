//! Strings of JSON. JavaScript's may hold lone surrogates, Rust's cannot: so two are compared by their canonical form,
//! which is what `JSON.stringify` puts between the quotes.

use std::{borrow::Cow, fmt::Write as _};

/// A part of a string.
enum Piece<'a> {
    /// Without escapes.
    Plain(&'a str),
    /// An escaped character.
    Char(char),
    /// Half of a character, which JavaScript has by itself.
    Surrogate(u16),
}

/// The parts of what stands between two quotes, escapes resolved. Only of text whose grammar was checked.
struct Pieces<'a>(&'a str);

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.0;
        let at = rest.find('\\').unwrap_or(rest.len());
        #[cfg(any(test, feature = "fuzzing"))]
        super::steps::add(at + 1);
        if at > 0 {
            let (plain, rest) = rest.split_at(at);
            self.0 = rest;
            return Some(Piece::Plain(plain));
        }
        let escape = rest.strip_prefix('\\')?;
        let mut characters = escape.chars();
        let character = match characters.next()? {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => return self.unit(characters.as_str()),
            character => character,
        };
        self.0 = characters.as_str();
        Some(Piece::Char(character))
    }
}

impl<'a> Pieces<'a> {
    /// What the digits after `\u` stand for; two surrogates that belong together are one character.
    fn unit(&mut self, digits: &'a str) -> Option<Piece<'a>> {
        let (unit, rest) = hexadecimal(digits)?;
        let low = rest.strip_prefix("\\u").and_then(hexadecimal);
        if let (0xD800..0xDC00, Some((low @ 0xDC00..0xE000, rest))) = (unit, low) {
            self.0 = rest;
            let point = 0x10000 + (u32::from(unit - 0xD800) << 10) + u32::from(low - 0xDC00);
            return char::from_u32(point).map(Piece::Char);
        }
        self.0 = rest;
        Some(char::from_u32(unit.into()).map_or(Piece::Surrogate(unit), Piece::Char))
    }
}

fn hexadecimal(text: &str) -> Option<(u16, &str)> {
    let (digits, rest) = text.split_at_checked(4)?;
    Some((u16::from_str_radix(digits, 16).ok()?, rest))
}

fn has_escapes(raw: &str) -> bool {
    #[cfg(any(test, feature = "fuzzing"))]
    super::steps::add(raw.len());
    raw.contains('\\')
}

/// A string in the form that `JSON.stringify` gives it, without quotes: equal for equal strings.
pub fn canonical(raw: &str) -> Cow<'_, str> {
    if !has_escapes(raw) {
        return Cow::Borrowed(raw);
    }
    let mut text = String::with_capacity(raw.len());
    for piece in Pieces(raw) {
        match piece {
            Piece::Plain(plain) => text.push_str(plain),
            Piece::Char(character) => push_escaped(&mut text, character),
            Piece::Surrogate(unit) => push_unit(&mut text, unit),
        }
    }
    Cow::Owned(text)
}

/// The string itself; `None` when it holds a lone surrogate, and so equals no string of Rust's.
pub fn decode(raw: &str) -> Option<Cow<'_, str>> {
    if !has_escapes(raw) {
        return Some(Cow::Borrowed(raw));
    }
    let mut text = String::with_capacity(raw.len());
    for piece in Pieces(raw) {
        match piece {
            Piece::Plain(plain) => text.push_str(plain),
            Piece::Char(character) => text.push(character),
            Piece::Surrogate(_) => return None,
        }
    }
    Some(Cow::Owned(text))
}

/// Whether a JSON value is a string.
pub fn is_string(value: &str) -> bool {
    value.starts_with('"')
}

/// A JSON value as a string; `None` when it is something else, or no string of Rust's.
pub fn string(value: &str) -> Option<Cow<'_, str>> {
    value.strip_prefix('"')?.strip_suffix('"').and_then(decode)
}

/// The string in UTF-8, its lone surrogates as UTF-8 would have them (WTF-8).
pub fn wtf8(raw: &str) -> Cow<'_, [u8]> {
    if !has_escapes(raw) {
        return Cow::Borrowed(raw.as_bytes());
    }
    let mut bytes = Vec::with_capacity(raw.len());
    for piece in Pieces(raw) {
        match piece {
            Piece::Plain(plain) => bytes.extend_from_slice(plain.as_bytes()),
            Piece::Char(character) => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            Piece::Surrogate(unit) => {
                let [high, low] = unit.to_be_bytes();
                bytes.extend_from_slice(&[0xE0 | high >> 4, 0x80 | (high & 0xF) << 2 | low >> 6, 0x80 | low & 0x3F]);
            }
        }
    }
    Cow::Owned(bytes)
}

/// Appends bytes of [`wtf8`] in canonical form, without quotes. What is neither UTF-8 nor a lone surrogate becomes U+FFFD,
/// as with Node.js.
pub fn push_canonical(text: &mut String, bytes: &[u8]) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let error = match std::str::from_utf8(rest) {
            Ok(plain) => return push_plain(text, plain),
            Err(error) => error,
        };
        let (plain, tail) = rest.split_at_checked(error.valid_up_to()).unwrap_or((rest, &[]));
        push_plain(text, std::str::from_utf8(plain).unwrap_or_default());
        if let [0xED, high @ 0xA0..=0xBF, low @ 0x80..=0xBF, after @ ..] = tail {
            push_unit(text, 0xD000 | u16::from(high & 0x3F) << 6 | u16::from(low & 0x3F));
            rest = after;
        } else {
            text.push(char::REPLACEMENT_CHARACTER);
            // Without a length, the bytes end within a character.
            rest = error
                .error_len()
                .and_then(|length| tail.get(length..))
                .unwrap_or_default();
        }
    }
}

fn push_plain(text: &mut String, plain: &str) {
    let mut rest = plain;
    while let Some(at) = rest.bytes().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)) {
        let (plain, tail) = rest.split_at(at);
        text.push_str(plain);
        let mut tail = tail.chars();
        if let Some(character) = tail.next() {
            push_escaped(text, character);
        }
        rest = tail.as_str();
    }
    text.push_str(rest);
}

/// Appends a character as `JSON.stringify` writes it.
fn push_escaped(text: &mut String, character: char) {
    match character {
        '"' => text.push_str("\\\""),
        '\\' => text.push_str("\\\\"),
        '\u{8}' => text.push_str("\\b"),
        '\u{c}' => text.push_str("\\f"),
        '\n' => text.push_str("\\n"),
        '\r' => text.push_str("\\r"),
        '\t' => text.push_str("\\t"),
        '\0'..' ' => push_unit(text, u32::from(character) as u16),
        _ => text.push(character),
    }
}

fn push_unit(text: &mut String, unit: u16) {
    // A String takes whatever it is given.
    let _ = write!(text, "\\u{unit:04x}");
}

/// A string as JSON, in quotes.
pub fn quoted(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    push_quoted(&mut json, text);
    json
}

/// Appends a string as JSON, in quotes.
pub fn push_quoted(json: &mut String, text: &str) {
    json.push('"');
    push_plain(json, text);
    json.push('"');
}

/// The text of a JSON number as JavaScript names it, which is how it is as the name of an event or of a room.
pub fn number_name(text: &str) -> String {
    text.parse().map_or_else(|_| text.to_owned(), javascript_number)
}

/// A number as `String(number)` writes it (ECMAScript, "Number::toString").
pub fn javascript_number(number: f64) -> String {
    if number == 0.0 {
        return "0".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    if (1e-6..1e21).contains(&number.abs()) {
        return number.to_string();
    }
    let text = format!("{number:e}");
    if text.contains("e-") {
        text
    } else {
        text.replace('e', "e+")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_strings_have_one_canonical_form() {
        for (raw, expected) in [
            ("plain é😀", "plain é😀"),
            (r"\u0041\/\u00e9", "A/é"),
            (r"\ud83d\ude00", "😀"),
            (r"\uD800", r"\ud800"),
            (r"\ude00\ud83d", r"\ude00\ud83d"),
            (r"\ud83dx\ude00", r"\ud83dx\ude00"),
            (r"\ud83d\ud83d\ude00", r"\ud83d😀"),
            (r"\u0008\u000c\u000a\u000d\u0009\u0001\u001F", r"\b\f\n\r\t\u0001\u001f"),
            (r#"\"\\"#, r#"\"\\"#),
            (r"\u0022\u005c", r#"\"\\"#),
            (r"\u007f\u2028", "\u{7f}\u{2028}"),
        ] {
            assert_eq!(canonical(raw), expected, "{raw}");
            let mut read = String::new();
            push_canonical(&mut read, &wtf8(raw));
            assert_eq!(read, expected, "{raw}");
        }
    }

    #[test]
    fn only_whole_characters_become_strings_of_rust() {
        assert_eq!(decode(r"\ud83d\ude00\n").as_deref(), Some("😀\n"));
        assert_eq!(decode(r"\ud83d"), None);
        assert_eq!(&*wtf8(r"a\ud800\udfff\uDFFF"), b"a\xf0\x90\x8f\xbf\xed\xbf\xbf");
    }

    #[test]
    fn what_is_no_character_is_replaced() {
        for (bytes, expected) in [
            (&b"\xffA"[..], "\u{fffd}A"),
            (b"a\xed", "a\u{fffd}"),
            (b"\xe2\x82", "\u{fffd}"),
            (b"\xc0\x80\"", "\u{fffd}\u{fffd}\\\""),
            (b"\xed\xb0\x80\xaf", "\\udc00\u{fffd}"),
        ] {
            let mut read = String::new();
            push_canonical(&mut read, bytes);
            assert_eq!(read, expected, "{bytes:?}");
        }
    }

    #[test]
    fn numbers_are_named_as_javascript_names_them() {
        for (text, name) in [
            ("7", "7"),
            ("-0", "0"),
            ("1.0", "1"),
            ("1e3", "1000"),
            ("0.50", "0.5"),
            ("1e-6", "0.000001"),
            ("1.5e-7", "1.5e-7"),
            ("1e20", "100000000000000000000"),
            ("1e21", "1e+21"),
            ("-1.25e300", "-1.25e+300"),
            ("1e999", "Infinity"),
        ] {
            assert_eq!(number_name(text), name);
        }
    }
}
