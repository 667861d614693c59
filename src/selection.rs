//! Who is meant: the one type for it, from JavaScript's options to the other servers. Knows no socket and no room; the
//! service finds out who they are.

use std::borrow::Cow;

use serde::Deserialize;
use smallvec::SmallVec;

/// Names of rooms, sockets or persons. One name takes no allocation, so that telling others of a chat message takes none.
pub type Names<'a> = SmallVec<[Cow<'a, str>; 1]>;

/// Whom something is meant for: all sockets that satisfy every part. The default means everyone.
///
/// As JSON it is `BroadcastOptions`: `{ except?, users?, room?, namespace? }`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Selection<'a> {
    /// Members of any of these rooms; everyone when there is none. Each socket is in the room of its own id.
    pub rooms: Names<'a>,
    /// But none of these sockets, and no members of these rooms.
    pub except: Names<'a>,
    /// Sockets of these persons, by user id. For other servers, a selection with persons or a label has one room at most.
    pub users: Option<Names<'a>>,
    /// Members of this room, which is no socket's own.
    pub room: Option<Cow<'a, str>>,
    /// Members of registered rooms with this label.
    #[serde(rename = "namespace")]
    pub label: Option<Cow<'a, str>>,
    /// What is sent may be dropped where it would have to wait.
    pub volatile: bool,
    /// Sockets of this instance.
    pub local: bool,
}

/// Names, which stay where they are.
pub fn names<'a, T: AsRef<str>>(list: &'a [T]) -> Names<'a> {
    list.iter().map(|name| Cow::Borrowed(name.as_ref())).collect()
}

impl<'a> Selection<'a> {
    /// The members of a room.
    pub fn room(name: &'a str) -> Self {
        Self {
            rooms: [Cow::Borrowed(name)].into(),
            ..Self::default()
        }
    }

    /// Every socket of these persons.
    pub fn users(user_ids: Names<'a>) -> Self {
        Self {
            users: Some(user_ids),
            ..Self::default()
        }
    }

    /// Those that are meant, but not this socket, nor the members of this room.
    #[must_use]
    pub fn but(mut self, name: &'a str) -> Self {
        self.except.push(Cow::Borrowed(name));
        self
    }

    /// Of those that are meant, the members of this room.
    #[must_use]
    pub fn within(self, room: &'a str) -> Self {
        Self {
            rooms: [Cow::Borrowed(room)].into(),
            ..self
        }
    }

    /// Whether something besides rooms and exceptions says who is meant.
    pub fn is_filtered(&self) -> bool {
        self.users.is_some() || self.room.is_some() || self.label.is_some()
    }

    /// The rooms that say with the exceptions who is meant, as Socket.IO's servers have it; `None` where that takes more.
    pub fn as_rooms(&self) -> Option<&[Cow<'a, str>]> {
        match (&self.users, &self.label, &self.room) {
            (None, None, None) => Some(&self.rooms),
            (None, None, Some(room)) if self.rooms.is_empty() => Some(std::slice::from_ref(room)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_room_and_one_exception_take_no_allocation() {
        let selection = Selection::room("room").but("socket");
        assert!(!selection.rooms.spilled() && !selection.except.spilled());
        let names = [&selection.rooms, &selection.except]
            .map(|names| names.iter().all(|name| matches!(name, Cow::Borrowed(_))));
        assert_eq!(names, [true, true], "copied");
    }

    #[test]
    fn broadcast_options_are_read_as_they_cross() {
        let options = r#"{"except":["a","b"],"users":["u"],"room":"r","namespace":"n"}"#;
        let selection: Selection<'static> = serde_json::from_str(options).unwrap();
        let expected = Selection {
            except: names(&["a", "b"]),
            users: Some(names(&["u"])),
            room: Some("r".into()),
            label: Some("n".into()),
            ..Selection::default()
        };
        assert_eq!(selection, expected);
        assert_eq!(
            serde_json::from_str::<Selection<'static>>("{}").unwrap(),
            Selection::default()
        );
    }

    #[test]
    fn rooms_say_who_is_meant_where_no_person_and_no_label_does() {
        let everyone = Selection::default();
        assert_eq!(everyone.as_rooms(), Some(&[][..]));
        assert_eq!(Selection::room("a").but("s").as_rooms(), Some(&["a".into()][..]));
        let filtered = Selection {
            room: Some("b".into()),
            ..Selection::default()
        };
        assert_eq!(filtered.as_rooms(), Some(&["b".into()][..]));
        assert_eq!(filtered.within("a").as_rooms(), None);
        assert_eq!(Selection::users(names(&["u"])).as_rooms(), None);
    }
}
