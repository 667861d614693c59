//! What stands for bytes in a packet: `{"_placeholder":true,"num":0}`.

use super::{Event, canonical};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Member {
    Placeholder,
    Num,
    #[default]
    Other,
}

/// What tells whether an object is a placeholder, gathered from its members as `socket.io-parser` sees them: of
/// repeated keys the last one counts.
#[derive(Debug, Default)]
pub struct Placeholder {
    member: Member,
    is_one: bool,
    num: Option<f64>,
}

impl Placeholder {
    /// Takes the key of the next member.
    pub fn key(&mut self, raw: &str) {
        // Longer with escapes, but not by more than this; other keys are not looked at.
        let may_be_meant = raw.len() <= "_placeholder".len() * "\\u0000".len();
        self.member = match may_be_meant.then(|| canonical(raw)).as_deref() {
            Some("_placeholder") => Member::Placeholder,
            Some("num") => Member::Num,
            _ => Member::Other,
        };
    }

    /// Takes the value of the member, or the first event of it.
    pub fn value(&mut self, event: Event<'_>) {
        match (self.member, event) {
            (Member::Placeholder, event) => self.is_one = event == Event::Bool(true),
            (Member::Num, Event::Number(text)) => self.num = text.parse().ok(),
            (Member::Num, _) => self.num = None,
            (Member::Other, _) => {}
        }
    }

    /// Whether the object is a placeholder.
    pub fn is_one(&self) -> bool {
        self.is_one
    }

    /// Which of so many attachments it stands for; `None` when there is no such attachment.
    pub fn attachment(&self, attachments: usize) -> Option<usize> {
        let num = self.num.filter(|num| num.fract() == 0.0 && *num >= 0.0)?;
        Some(num as usize).filter(|num| *num < attachments)
    }
}
