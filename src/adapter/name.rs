//! Names of rooms and events. JavaScript also takes numbers for them; here they are text.

use serde::Deserialize;

use crate::{
    adapter::msgpack::{Malformed, Reader, Token},
    wire::{
        json::{event_name, javascript_number},
        packet::RESERVED_EVENTS,
    },
};

/// A name in JSON.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Name {
    /// As it is mostly.
    Text(Box<str>),
    /// A number, which JavaScript would write like this.
    Number(f64),
}

impl From<Name> for Box<str> {
    fn from(name: Name) -> Self {
        match name {
            Name::Text(text) => text,
            Name::Number(number) => javascript_number(number).into(),
        }
    }
}

/// Names in JSON as text.
pub(super) fn texts(names: Vec<Name>) -> Vec<Box<str>> {
    names.into_iter().map(Box::<str>::from).collect()
}

/// The array of names at the cursor.
pub(super) fn read_list(reader: &mut Reader<'_>, what: &'static str) -> Result<Vec<Box<str>>, Malformed> {
    let length = reader.array(what)?;
    // The declared length is not trusted with an allocation.
    let mut names = Vec::new();
    for _ in 0..length {
        names.push(match reader.token()? {
            Token::Str(text) => text.into(),
            Token::Halves(text) => String::from_utf8_lossy(text).into(),
            Token::Unsigned(number) => number.to_string().into(),
            Token::Signed(number) => number.to_string().into(),
            Token::Float(number) => javascript_number(number).into(),
            _ => return Err(Malformed::Type(what)),
        });
    }
    Ok(names)
}

/// Checks that `args` is the text of a JSON array that begins with the name of an event that may be emitted.
pub(super) fn check_event(args: &str) -> Result<(), Malformed> {
    if !args.trim_start().starts_with('[') {
        return Err(Malformed::Type("data"));
    }
    match event_name(args) {
        Some(name) if RESERVED_EVENTS.contains(&&*name) => Err(Malformed::Reserved),
        Some(_) => Ok(()),
        None => Err(Malformed::Type("the event's name")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_named_as_javascript_names_them() {
        let names: Vec<Name> = serde_json::from_str(r#"["a",1,-2,1.5,3.0]"#).unwrap();
        assert_eq!(texts(names), ["a", "1", "-2", "1.5", "3"].map(Box::<str>::from));
        assert!(serde_json::from_str::<Name>("null").is_err());
        let bytes = b"\x95\xa1a\x01\xfe\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00\xcd\x01\x00";
        let names = read_list(&mut Reader::new(bytes), "rooms").unwrap();
        assert_eq!(names, ["a", "1", "-2", "1.5", "256"].map(Box::<str>::from));
        assert_eq!(
            read_list(&mut Reader::new(b"\x91\xc0"), "rooms"),
            Err(Malformed::Type("rooms"))
        );
    }

    #[test]
    fn an_event_begins_with_its_name() {
        for args in [r#"["a"]"#, r#"[ "a",1]"#, "[7]", "[7,{}]", r#"["message",[[]]]"#] {
            assert_eq!(check_event(args), Ok(()), "{args}");
        }
        for args in [
            "[]",
            "{}",
            "[null]",
            "[[]]",
            "[{\"_placeholder\":true,\"num\":0}]",
            "",
            "1",
        ] {
            assert!(matches!(check_event(args), Err(Malformed::Type(_))), "{args}");
        }
        assert_eq!(check_event(r#"["disconnect",1]"#), Err(Malformed::Reserved));
    }
}
