//! Reading JSON that clients sent, in place: values stay raw text, nesting is never followed by recursion, and of
//! repeated keys the last one counts, as in `JSON.parse`.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// The members of a JSON object in order, with raw values.
#[derive(Debug)]
pub(super) struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Object<'a> {
    /// Reads an object; `None` when the value is something else.
    pub(super) fn parse(raw: &'a RawValue) -> Option<Self> {
        serde_json::from_str(raw.get()).ok()
    }

    /// The value of a key, `null` and absence alike left out.
    pub(super) fn get(&self, key: &str) -> Option<&'a RawValue> {
        self.0
            .iter()
            .rev()
            .find(|(name, _)| name == key)
            .map(|(_, value)| *value)
            .filter(|value| value.get() != "null")
    }

    /// The value of a key as a string.
    pub(super) fn string(&self, key: &str) -> Option<Cow<'a, str>> {
        self.get(key).and_then(string)
    }

    /// The members in order; of repeated keys only the last is kept.
    pub(super) fn members(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().enumerate().filter_map(|(index, (name, value))| {
            let repeated = self.0.iter().skip(index + 1).any(|(later, _)| later == name);
            (!repeated).then_some((name.as_ref(), *value))
        })
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(Text(key)) = map.next_key()? {
                    members.push((key, map.next_value()?));
                }
                Ok(Object(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

/// A string that is borrowed where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A raw value as a string; `None` when it is something else.
pub(super) fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Text<'_>>(raw.get()).ok().map(|text| text.0)
}

/// A raw value as a boolean.
pub(super) fn boolean(raw: &RawValue) -> Option<bool> {
    match raw.get() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// Whether a raw value is a string, even one with lone surrogates that Rust cannot hold.
pub(super) fn is_string(raw: &RawValue) -> bool {
    raw.get().starts_with('"')
}

/// Whether a raw value is an object.
pub(super) fn is_object(raw: &RawValue) -> bool {
    raw.get().starts_with('{')
}

/// Whether the placeholders of binary attachments name each an attachment that exists.
pub fn placeholders_fit(args: &str, attachments: usize) -> bool {
    fn fits(value: &serde_json::Value, attachments: u64) -> bool {
        match value {
            serde_json::Value::Array(items) => items.iter().all(|item| fits(item, attachments)),
            serde_json::Value::Object(object) => {
                if object.get("_placeholder") == Some(&serde_json::Value::Bool(true)) {
                    return object
                        .get("num")
                        .and_then(serde_json::Value::as_u64)
                        .is_some_and(|num| num < attachments);
                }
                object.values().all(|item| fits(item, attachments))
            }
            _ => true,
        }
    }
    // The parser bounds the depth that `fits` follows.
    serde_json::from_str(args).is_ok_and(|value| fits(&value, attachments as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn the_last_of_repeated_keys_counts() {
        let value = raw(r#"{"a":1,"b":2,"a":"x"}"#);
        let object = Object::parse(&value).unwrap();
        assert_eq!(object.string("a").as_deref(), Some("x"));
        let members: Vec<_> = object.members().map(|(key, value)| (key, value.get())).collect();
        assert_eq!(members, [("b", "2"), ("a", "\"x\"")]);
    }

    #[test]
    fn deep_nesting_is_skipped_without_recursion() {
        let deep = format!(
            "{{\"x\":{}{},\"roomId\":\"r\"}}",
            "[".repeat(200_000),
            "]".repeat(200_000)
        );
        let value = raw(&deep);
        assert_eq!(Object::parse(&value).unwrap().string("roomId").as_deref(), Some("r"));
    }

    #[test]
    fn placeholders_must_name_an_attachment() {
        assert!(placeholders_fit(r#"["e",{"_placeholder":true,"num":0}]"#, 1));
        for bad in [
            r#"{"_placeholder":true,"num":1}"#,
            r#"{"_placeholder":true,"num":-1}"#,
            r#"{"_placeholder":true}"#,
        ] {
            assert!(!placeholders_fit(&format!("[\"e\",{{\"deep\":[{bad}]}}]"), 1), "{bad}");
        }
    }
}
