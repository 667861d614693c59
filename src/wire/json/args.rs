//! The array of arguments of a packet.

use std::{borrow::Cow, collections::HashSet};

use super::{Event, Events, Kind, NotJson, Placeholder, canonical, number_name};

/// What is known of an array of arguments after one pass over its text.
#[derive(Debug, Clone, Copy)]
pub struct Args<'a> {
    /// The first argument, which names an event.
    pub first: Option<&'a str>,
    /// The second argument.
    pub second: Option<&'a str>,
    /// What follows the second one: each further argument behind a comma.
    pub rest: &'a str,
    /// Containers within each other in the deepest argument. A placeholder is none: it stands for bytes.
    pub depth: usize,
    /// Every placeholder names an attachment that exists.
    pub is_complete: bool,
}

impl<'a> Args<'a> {
    /// Reads an array; an error when the text is something else. Without attachments there are no placeholders.
    pub fn read(text: &'a str, attachments: usize) -> Result<Self, NotJson> {
        let mut events = Events::new(text);
        if events.next() != Some(Ok(Event::Open(Kind::List))) {
            return Err(NotJson);
        }
        let mut args = Self {
            first: None,
            second: None,
            rest: "",
            depth: 0,
            is_complete: true,
        };
        let mut placeholders = (attachments > 0).then(|| Placeholders::new(attachments));
        let (mut count, mut start, mut second_ends) = (0_usize, 0, None);
        let mut before = 1;
        while let Some(event) = events.next() {
            let event = event?;
            let depth = events.depth();
            let is_placeholder = placeholders.as_mut().is_some_and(|all| all.take(event));
            if matches!(event, Event::Close(_)) && !is_placeholder {
                args.depth = args.depth.max(before - 1);
            }
            if depth == 0 {
                args.rest = second_ends.map_or("", |at| text.get(at..events.start()).unwrap_or_default());
                break;
            }
            // Within the array an argument begins, ends, or both.
            if before == 1 {
                start = events.start();
            }
            if depth == 1 {
                let value = text.get(start..events.end());
                match count {
                    0 => args.first = value,
                    1 => (args.second, second_ends) = (value, Some(events.end())),
                    _ => {}
                }
                count += 1;
            }
            before = depth;
        }
        // What follows the array is an error, too.
        events.next().transpose()?;
        args.is_complete = placeholders.is_none_or(|all| all.are_complete());
        Ok(args)
    }
}

/// The name of the event that an array of arguments begins with, in canonical form; `None` when a packet may not begin
/// like this. Numbers are names, too. What follows is not looked at.
pub fn event_name(args: &str) -> Option<Cow<'_, str>> {
    let mut events = Events::new(args);
    match (events.next()?.ok()?, events.next()?.ok()?) {
        (Event::Open(Kind::List), Event::Text(raw)) => Some(canonical(raw)),
        (Event::Open(Kind::List), Event::Number(text)) => Some(Cow::Owned(number_name(text))),
        _ => None,
    }
}

/// Whether the text is an array whose placeholders name each an attachment that exists.
pub fn placeholders_fit(args: &str, attachments: usize) -> bool {
    Args::read(args, attachments).is_ok_and(|args| args.is_complete)
}

/// A container whose end has not come.
#[derive(Debug)]
struct Level<'a> {
    kind: Kind,
    key: &'a str,
    placeholder: Placeholder,
    /// An item holds a placeholder that names nothing.
    is_broken: bool,
    /// Keys whose values hold such a placeholder, unless the key comes again.
    broken: HashSet<Cow<'a, str>>,
}

/// Looks at placeholders as `socket.io-parser` does, in what `JSON.parse` would make of the text: of repeated keys the
/// last one counts, and what else a placeholder holds does not matter.
#[derive(Debug)]
struct Placeholders<'a> {
    attachments: usize,
    open: Vec<Level<'a>>,
    is_broken: bool,
}

impl<'a> Placeholders<'a> {
    fn new(attachments: usize) -> Self {
        let mut placeholders = Self {
            attachments,
            open: Vec::new(),
            is_broken: false,
        };
        placeholders.enter(Kind::List);
        placeholders
    }

    fn are_complete(&self) -> bool {
        !self.is_broken
    }

    fn enter(&mut self, kind: Kind) {
        self.open.push(Level {
            kind,
            key: "",
            placeholder: Placeholder::default(),
            is_broken: false,
            broken: HashSet::new(),
        });
    }

    /// Takes the next event. True when it ends a placeholder.
    fn take(&mut self, event: Event<'a>) -> bool {
        match event {
            Event::Open(kind) => {
                self.value(event, false);
                self.enter(kind);
            }
            Event::Key(raw) => {
                if let Some(level) = self.open.last_mut() {
                    level.key = raw;
                    level.placeholder.key(raw);
                }
            }
            Event::Close(_) => return self.leave(),
            scalar => self.value(scalar, false),
        }
        false
    }

    fn leave(&mut self) -> bool {
        let Some(level) = self.open.pop() else { return false };
        let is_broken = match level.kind {
            _ if level.placeholder.is_one() => level.placeholder.attachment(self.attachments).is_none(),
            Kind::List => level.is_broken,
            Kind::Object => !level.broken.is_empty(),
        };
        match self.open.is_empty() {
            true => self.is_broken = is_broken,
            false => self.value(Event::Close(level.kind), is_broken),
        }
        level.placeholder.is_one()
    }

    /// Notes a value, or its beginning, in the container that it stands in.
    fn value(&mut self, event: Event<'_>, is_broken: bool) {
        let Some(level) = self.open.last_mut() else { return };
        level.placeholder.value(event);
        if level.kind == Kind::List {
            level.is_broken |= is_broken;
        } else if is_broken {
            level.broken.insert(canonical(level.key));
        } else if !level.broken.is_empty() && !matches!(event, Event::Close(_)) {
            level.broken.remove(&canonical(level.key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json::steps;

    fn read(text: &str) -> Args<'_> {
        Args::read(text, 0).unwrap()
    }

    #[test]
    fn arguments_are_told_apart() {
        let args = read(r#" [ "a" , {"b":[1]}  ,2, [3] ] "#);
        assert_eq!((args.first, args.second), (Some("\"a\""), Some(r#"{"b":[1]}"#)));
        assert_eq!(args.rest.trim(), ",2, [3]");
        assert_eq!(args.depth, 2);
        let args = read("[7]");
        assert_eq!(
            (args.first, args.second, args.rest, args.depth),
            (Some("7"), None, "", 0)
        );
        let args = read("[[[]],{},\"\"]");
        assert_eq!(
            (args.first, args.second, args.rest),
            (Some("[[]]"), Some("{}"), ",\"\"")
        );
        assert_eq!((args.depth, event_name("[[]]"), event_name("[]")), (2, None, None));
        for other in ["", "{}", "\"a\"", "[1", "[1]]", "[1] 2", "[\"a\",]"] {
            assert!(Args::read(other, 0).is_err(), "{other}");
        }
    }

    #[test]
    fn names_are_canonical() {
        for (text, name) in [
            ("[\"a\"]", "a"),
            ("[\"\\u0061\"]", "a"),
            ("[\"\\uD800\"]", "\\ud800"),
            ("[1e3]", "1000"),
        ] {
            assert_eq!(event_name(text).as_deref(), Some(name));
        }
    }

    #[test]
    fn a_placeholder_is_no_level() {
        let text = r#"["e",[{"_placeholder":true,"num":0}]]"#;
        assert_eq!(Args::read(text, 1).unwrap().depth, 1);
        assert_eq!(Args::read(text, 0).unwrap().depth, 2);
    }

    #[test]
    fn placeholders_name_attachments_as_the_parser_reads_them() {
        for fits in [
            r#"{"_placeholder":true,"num":0}"#,
            r#"{"num":0.0,"\u005fplaceholder":true}"#,
            r#"{"_placeholder":true,"num":9,"num":0}"#,
            r#"{"_placeholder":true,"_placeholder":false,"num":9}"#,
            r#"{"_placeholder":1,"num":9}"#,
            r#"{"a":{"_placeholder":true},"\u0061":1}"#,
            r#"{"_placeholder":true,"num":0,"x":{"_placeholder":true,"num":9}}"#,
            r#"{"__proto__":{"_placeholder":false},"num":9}"#,
            "1",
        ] {
            assert!(placeholders_fit(&format!("[\"e\",[{fits}]]"), 1), "{fits}");
        }
        for broken in [
            r#"{"_placeholder":true,"num":1}"#,
            r#"{"_placeholder":true,"num":-1}"#,
            r#"{"_placeholder":true,"num":0.5}"#,
            r#"{"_placeholder":true,"num":"0"}"#,
            r#"{"_placeholder":true}"#,
            r#"{"_placeholder":true,"num":0,"num":null}"#,
            r#"{"_placeholder":true,"num":0,"num":[0]}"#,
            r#"{"a":1,"a":{"_placeholder":true}}"#,
            r#"{"a":{"_placeholder":true},"b":1}"#,
            r#"{"__proto__":{"_placeholder":true},"num":0}"#,
        ] {
            assert!(
                !placeholders_fit(&format!("[\"e\",{{\"deep\":[{broken}]}}]"), 1),
                "{broken}"
            );
        }
    }

    #[test]
    fn reading_takes_steps_that_follow_the_bytes() {
        let shapes: [fn(usize) -> String; 6] = [
            |n| format!("[\"e\",{}{}]", "[".repeat(n), "]".repeat(n)),
            |n| format!("[\"e\"{}]", ",1".repeat(n)),
            |n| {
                format!(
                    "[\"e\",{{{}\"z\":0}}]",
                    (0..n).map(|key| format!("\"k{key}\":0,")).collect::<String>()
                )
            },
            |n| format!("[\"e\",{{{}\"z\":0}}]", "\"k\":{\"_placeholder\":true},".repeat(n)),
            |n| {
                format!(
                    "[\"e\",{{{}\"z\":0}}]",
                    (0..n)
                        .map(|key| format!("\"\\u006b{key}\":{{\"_placeholder\":true}},"))
                        .collect::<String>()
                )
            },
            |n| {
                format!(
                    "[\"e\",{}0{}]",
                    "{\"_placeholder\":true,\"a\":".repeat(n),
                    "}".repeat(n)
                )
            },
        ];
        for (index, shape) in shapes.iter().enumerate() {
            let steps = |n: usize| {
                let text = shape(n);
                steps::of(|| Args::read(&text, 1).unwrap()) as f64 / text.len() as f64
            };
            assert!(
                steps(20_000) < 8.0 && steps(20_000) < 1.5 * steps(2_000),
                "shape {index}"
            );
        }
    }
}
