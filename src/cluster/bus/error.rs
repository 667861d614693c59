//! What goes wrong with a bus or a store.

/// What helps against an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Time: it cannot be reached at the moment, and is tried again without being asked to.
    Unreachable,
    /// A person: this instance may not do that.
    Refused,
    /// Nothing that is known here.
    Other,
}

/// Why it is down, or why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub(crate) struct BusError {
    fault: Fault,
    code: &'static str,
    text: String,
}

impl BusError {
    /// `code` and `text` reach the application: the code stays the same between versions, the text holds no secrets.
    pub(crate) fn new(fault: Fault, code: &'static str, text: String) -> Self {
        Self { fault, code, text }
    }

    /// `err.code`.
    pub(crate) fn code(&self) -> &'static str {
        self.code
    }

    /// Whether trying again helps.
    pub(crate) fn is_unreachable(&self) -> bool {
        self.fault == Fault::Unreachable
    }

    /// Whether only a person can help.
    pub(crate) fn is_refused(&self) -> bool {
        self.fault == Fault::Refused
    }
}
