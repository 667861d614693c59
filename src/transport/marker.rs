//! Markers: events that go through socketioxide's queue behind what is queued, and are taken out where they leave it. None
//! of them leaves the process.

/// What a marker shows when it comes out of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marker {
    /// The queue of a client that has upgraded has drained.
    Drained,
    /// The queue has drained for the last time: the session ends.
    Last,
}

const DRAINED: &str = "[\"\u{0}drained\"]";
const LAST: &str = "[\"\u{0}last\"]";

impl Marker {
    /// The arguments of its event; clients and servers cannot send one of such a name.
    pub(super) fn args(self) -> &'static str {
        match self {
            Self::Drained => DRAINED,
            Self::Last => LAST,
        }
    }

    /// The marker that a text packet of the library is, if it is one.
    pub(super) fn of(text: &str) -> Option<Self> {
        let args = text.strip_prefix("42").filter(|args| args.starts_with("[\"\u{0}"))?;
        Some(if args == LAST { Self::Last } else { Self::Drained })
    }
}
