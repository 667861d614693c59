//! The ports that the service speaks through: [`EventSink`] towards JavaScript and [`Peers`] towards the other servers.
//! Each is implemented by its other side and by a recorder of the tests; nothing here does anything.

mod peers;
mod sink;

pub use peers::{Answer, Broadcast, Command, Fact, Peers, Release, Session, Told};
pub use sink::{EventKind, EventSink, ServiceEvent};
