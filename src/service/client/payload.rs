//! The payload of a built-in event: an object whose members stay text, read in one pass.

use crate::wire::json;

/// The members that built-in events know; `null` is as none. Of repeated keys the last one counts, as in `JSON.parse`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Payload<'a> {
    /// The whole object.
    pub(super) text: &'a str,
    pub(super) room_id: Option<&'a str>,
    pub(super) content: Option<&'a str>,
    pub(super) kind: Option<&'a str>,
    pub(super) metadata: Option<&'a str>,
    pub(super) is_typing: Option<&'a str>,
    pub(super) before: Option<&'a str>,
    pub(super) after: Option<&'a str>,
    pub(super) limit: Option<&'a str>,
    /// Beside attachments it stands for one of them, and is no object.
    pub(super) is_placeholder: bool,
}

impl<'a> Payload<'a> {
    /// Reads an object; `None` when the value is something else.
    pub(super) fn read(text: &'a str) -> Option<Self> {
        let mut payload = Self {
            text,
            room_id: None,
            content: None,
            kind: None,
            metadata: None,
            is_typing: None,
            before: None,
            after: None,
            limit: None,
            is_placeholder: false,
        };
        for (key, value) in json::members(text)? {
            let member = match &*json::canonical(key) {
                "roomId" => &mut payload.room_id,
                "content" => &mut payload.content,
                "type" => &mut payload.kind,
                "metadata" => &mut payload.metadata,
                "isTyping" => &mut payload.is_typing,
                "before" => &mut payload.before,
                "after" => &mut payload.after,
                "limit" => &mut payload.limit,
                "_placeholder" => {
                    payload.is_placeholder = value == "true";
                    continue;
                }
                _ => continue,
            };
            *member = Some(value).filter(|value| *value != "null");
        }
        Some(payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_repeated_keys_counts() {
        let payload = Payload::read(r#"{"roomId":1,"type":"a","room\u0049d":"x","content":5,"content":null}"#).unwrap();
        assert_eq!(
            (payload.room_id, payload.kind, payload.content),
            (Some("\"x\""), Some("\"a\""), None)
        );
        assert!(Payload::read("[]").is_none() && Payload::read("\"roomId\"").is_none());
    }

    #[test]
    fn deep_nesting_is_skipped_without_recursion() {
        let (open, close) = ("[".repeat(200_000), "]".repeat(200_000));
        let text = format!("{{\"x\":{open}{close},\"roomId\":\"r\"}}");
        assert_eq!(Payload::read(&text).unwrap().room_id, Some("\"r\""));
    }
}
