//! The grammar of JSON (RFC 8259), as `JSON.parse` has it: one pass over the text, without recursion.

/// What a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `[…]`.
    List,
    /// `{…}`.
    Object,
}

/// A part of the text with its meaning. Strings are what stands between the quotes, escapes as they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// A container begins.
    Open(Kind),
    /// A container ends.
    Close(Kind),
    /// A key; its value follows.
    Key(&'a str),
    /// A string.
    Text(&'a str),
    /// A number.
    Number(&'a str),
    /// `true` or `false`.
    Bool(bool),
    /// `null`.
    Null,
}

/// The text is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotJson;

/// What may come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    Value,
    /// A value or `]`.
    First,
    /// A key or `}`.
    FirstKey,
    Key,
    /// A comma or the end of the container.
    Next,
    Nothing,
}

/// The events of one JSON value. The last one is an error when the text is not JSON.
#[derive(Debug, Clone)]
pub struct Events<'a> {
    text: &'a str,
    start: usize,
    at: usize,
    expect: Expect,
    open: Vec<Kind>,
}

impl<'a> Events<'a> {
    /// Begins to read.
    pub fn new(text: &'a str) -> Self {
        Self {
            text,
            start: 0,
            at: 0,
            expect: Expect::Value,
            open: Vec::new(),
        }
    }

    /// Where the last event begins.
    pub fn start(&self) -> usize {
        self.start
    }

    /// Where the last event ends.
    pub fn end(&self) -> usize {
        self.at
    }

    /// Containers that are open.
    pub fn depth(&self) -> usize {
        self.open.len()
    }

    fn read(&mut self) -> Result<Option<Event<'a>>, NotJson> {
        loop {
            self.skip_space();
            let Some(first) = self.byte() else {
                return match self.expect {
                    Expect::Nothing => Ok(None),
                    _ => Err(NotJson),
                };
            };
            self.start = self.at;
            match (self.expect, first) {
                (Expect::Next, b',') => {
                    self.at += 1;
                    self.expect = match self.open.last() {
                        Some(Kind::Object) => Expect::Key,
                        _ => Expect::Value,
                    };
                }
                (Expect::First | Expect::Next, b']') => return self.close(Kind::List).map(Some),
                (Expect::FirstKey | Expect::Next, b'}') => return self.close(Kind::Object).map(Some),
                (Expect::FirstKey | Expect::Key, b'"') => return self.key().map(Some),
                (Expect::Value | Expect::First, first) => return self.value(first).map(Some),
                _ => return Err(NotJson),
            }
        }
    }

    fn value(&mut self, first: u8) -> Result<Event<'a>, NotJson> {
        let event = match first {
            b'[' => return Ok(self.open(Kind::List, Expect::First)),
            b'{' => return Ok(self.open(Kind::Object, Expect::FirstKey)),
            b'"' => Event::Text(self.string()?),
            b't' => self.word("true", Event::Bool(true))?,
            b'f' => self.word("false", Event::Bool(false))?,
            b'n' => self.word("null", Event::Null)?,
            _ => Event::Number(self.number()?),
        };
        self.after_value();
        Ok(event)
    }

    fn open(&mut self, kind: Kind, expect: Expect) -> Event<'a> {
        self.at += 1;
        self.open.push(kind);
        self.expect = expect;
        Event::Open(kind)
    }

    fn close(&mut self, kind: Kind) -> Result<Event<'a>, NotJson> {
        if self.open.pop() != Some(kind) {
            return Err(NotJson);
        }
        self.at += 1;
        self.after_value();
        Ok(Event::Close(kind))
    }

    fn key(&mut self) -> Result<Event<'a>, NotJson> {
        let key = self.string()?;
        self.skip_space();
        if self.byte() != Some(b':') {
            return Err(NotJson);
        }
        self.at += 1;
        self.expect = Expect::Value;
        Ok(Event::Key(key))
    }

    fn after_value(&mut self) {
        self.expect = match self.open.is_empty() {
            true => Expect::Nothing,
            false => Expect::Next,
        };
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.byte() {
            self.at += 1;
        }
    }

    fn word(&mut self, word: &str, event: Event<'a>) -> Result<Event<'a>, NotJson> {
        if !self.rest().starts_with(word.as_bytes()) {
            return Err(NotJson);
        }
        self.at += word.len();
        Ok(event)
    }

    /// The string at the cursor, which is at its first quote.
    fn string(&mut self) -> Result<&'a str, NotJson> {
        self.at += 1;
        let start = self.at;
        loop {
            let special = memchr::memchr2(b'"', b'\\', self.rest()).ok_or(NotJson)?;
            let (plain, _) = self.rest().split_at_checked(special).ok_or(NotJson)?;
            // Without a branch for each byte, so that many are compared at once.
            if plain.iter().fold(false, |found, byte| found | (*byte < b' ')) {
                return Err(NotJson);
            }
            self.at += special;
            match self.rest() {
                [b'"', ..] => break,
                [b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => self.at += 2,
                [b'\\', b'u', digits @ ..]
                    if digits.iter().take(4).filter(|digit| digit.is_ascii_hexdigit()).count() == 4 =>
                {
                    self.at += 6;
                }
                _ => return Err(NotJson),
            }
        }
        let string = self.text.get(start..self.at).ok_or(NotJson)?;
        self.at += 1;
        Ok(string)
    }

    fn number(&mut self) -> Result<&'a str, NotJson> {
        let start = self.at;
        self.at += usize::from(self.byte() == Some(b'-'));
        match self.byte() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.at += 1;
            self.at += usize::from(matches!(self.byte(), Some(b'+' | b'-')));
            self.digits()?;
        }
        self.text.get(start..self.at).ok_or(NotJson)
    }

    /// One digit or more.
    fn digits(&mut self) -> Result<(), NotJson> {
        let count = self.rest().iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        (count > 0).then_some(()).ok_or(NotJson)
    }
}

impl<'a> Iterator for Events<'a> {
    type Item = Result<Event<'a>, NotJson>;

    fn next(&mut self) -> Option<Self::Item> {
        #[cfg(any(test, feature = "fuzzing"))]
        let before = self.at;
        let read = self.read();
        #[cfg(any(test, feature = "fuzzing"))]
        super::steps::add(self.at - before + 1);
        if read.is_err() {
            // Nothing follows an error.
            (self.text, self.at, self.expect) = ("", 0, Expect::Nothing);
        }
        read.transpose()
    }
}

/// Whether a text is one JSON value.
pub fn is_json(text: &str) -> bool {
    Events::new(text).all(|event| event.is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json::steps;

    #[test]
    fn events_come_in_the_order_of_the_text() {
        let events: Result<Vec<_>, _> =
            Events::new(" { \"a\" : [ -1.5e+3 , true,false , null ], \"\\u0041\":\"\" } ").collect();
        let expected = [
            Event::Open(Kind::Object),
            Event::Key("a"),
            Event::Open(Kind::List),
            Event::Number("-1.5e+3"),
            Event::Bool(true),
            Event::Bool(false),
            Event::Null,
            Event::Close(Kind::List),
            Event::Key("\\u0041"),
            Event::Text(""),
            Event::Close(Kind::Object),
        ];
        assert_eq!(events.as_deref(), Ok(&expected[..]));
    }

    #[test]
    fn what_json_parse_takes_is_taken() {
        for text in [
            "0",
            "-0",
            "1.0E-2",
            "10",
            "\"\"",
            "\"\\ud800\"",
            "\"\\uDC00\\ud800 \\\" \\/ \\b\\f\\n\\r\\t\"",
            "[]",
            "{}",
            "[[],{}]",
            "{\"\":{\"\":1},\"\":2}",
            "\"\u{7f}\u{2028}\"",
            "1e999",
        ] {
            assert!(is_json(text), "{text}");
        }
    }

    #[test]
    fn what_json_parse_refuses_is_refused() {
        for text in [
            "",
            " ",
            "01",
            "-",
            "+1",
            ".5",
            "1.",
            "1e",
            "1e+",
            "--1",
            "0x1",
            "NaN",
            "tru",
            "nul",
            "truex",
            "\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"\\u123\"",
            "\"\n\"",
            "\"\u{1}\"",
            "[",
            "]",
            "[1,]",
            "[,1]",
            "[1 2]",
            "{",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "{1:1}",
            "[}",
            "{]",
            "[1}",
            "{\"a\":1]",
            "1 2",
            "[] []",
            "\u{feff}1",
            "\"a\"b",
            "[\"a\":1]",
        ] {
            assert!(!is_json(text), "{text}");
        }
        // And nothing comes after it.
        let mut events = Events::new("[1 2]");
        assert_eq!(events.by_ref().filter(Result::is_err).count(), 1);
        assert_eq!(events.next(), None);
    }

    #[test]
    fn it_agrees_with_serde_json_on_the_grammar() {
        let mut random = 0x5EED_u64;
        let mut below = |limit: usize| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) as usize % limit
        };
        let parts = [
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"a\"",
            "\"\\n\"",
            "\"\\u00e9\"",
            "\"\\",
            "1",
            "-2.5e3",
            "0",
            "true",
            "null",
            " ",
            "é",
            "\"",
        ];
        for _ in 0..200_000 {
            let text: String = (0..below(9)).map(|_| parts[below(parts.len())]).collect();
            let known = serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
            assert_eq!(is_json(&text), known, "{text}");
        }
    }

    #[test]
    fn a_million_levels_are_read_in_steps_that_follow_the_bytes() {
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        let (one, two) = (deep(500_000), deep(1_000_000));
        let steps_of = |text: &str| steps::of(|| assert!(is_json(text)));
        assert!(steps_of(&two) <= 2 * steps_of(&one) + 8);
    }
}
