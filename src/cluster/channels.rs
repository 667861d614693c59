//! Names of the channels that an instance uses: those of `@socket.io/redis-adapter`, and those of this package's
//! instances alone.

use crate::{adapter::channels::Channels as ClassicChannels, cluster::bus::Subscriptions};

/// The channels of one instance.
#[derive(Debug)]
pub(super) struct Channels {
    pub(super) classic: ClassicChannels,
    /// Of all instances of this package.
    pub(super) everyone: Box<str>,
    /// Of this one.
    pub(super) inbox: Box<str>,
}

impl Channels {
    pub(super) fn new(prefix: &str, uid: &str) -> Self {
        let everyone = format!("{prefix}-native#/#");
        Self {
            classic: ClassicChannels::new(prefix, uid),
            inbox: format!("{everyone}{uid}#").into(),
            everyone: everyone.into(),
        }
    }

    /// What to subscribe to.
    pub(super) fn subscriptions(&self) -> Subscriptions {
        let names = [
            &self.classic.request,
            &self.classic.response,
            &self.classic.own_response,
            &self.everyone,
            &self.inbox,
        ];
        Subscriptions {
            prefixes: vec![self.classic.broadcast.to_string()],
            names: names.map(|name| name.to_string()).to_vec(),
        }
    }

    /// Where another instance is told something.
    pub(super) fn inbox_of(&self, uid: &str) -> String {
        format!("{}{uid}#", self.everyone)
    }
}
