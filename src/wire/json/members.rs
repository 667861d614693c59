//! The members of an object, their values as text.

use super::{Event, Events, Kind};

/// The members of an object in order: each key as it stands between its quotes, and its value. Ends early where the text
/// is not JSON.
#[derive(Debug, Clone)]
pub struct Members<'a> {
    text: &'a str,
    events: Events<'a>,
}

/// The members of an object; `None` when the value is something else. Of repeated keys, the last one counts.
pub fn members(text: &str) -> Option<Members<'_>> {
    let mut events = Events::new(text);
    let is_object = matches!(events.next(), Some(Ok(Event::Open(Kind::Object))));
    is_object.then_some(Members { text, events })
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let Event::Key(key) = self.events.next()?.ok()? else {
            return None;
        };
        self.events.next()?.ok()?;
        let start = self.events.start();
        while self.events.depth() > 1 {
            self.events.next()?.ok()?;
        }
        Some((key, self.text.get(start..self.events.end())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_text() {
        let members: Vec<_> = members(r#" {"a" : [1, {"b":2}] ,"\ud800":"x","a":null} "#)
            .unwrap()
            .collect();
        assert_eq!(members, [("a", r#"[1, {"b":2}]"#), (r"\ud800", "\"x\""), ("a", "null")]);
        assert_eq!(super::members("{}").unwrap().count(), 0);
        assert!(
            ["[]", "1", "\"{}\"", "", "null"]
                .iter()
                .all(|text| super::members(text).is_none())
        );
    }
}
