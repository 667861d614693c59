//! Who is meant: by room, by user, by label.

/// `BroadcastOptions`: who of the recipients is meant. An absent list or name excludes nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Socket ids, and rooms, that are left out.
    pub except: Vec<String>,
    /// Only these user ids.
    pub users: Option<Vec<String>>,
    /// Only members of this room.
    pub room: Option<String>,
    /// Only members of rooms with this label.
    pub label: Option<String>,
}
