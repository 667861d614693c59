//! Names of the channels. Room names are data: any characters.

use std::borrow::Cow;

/// The channels of one server, in the default namespace.
#[derive(Debug, Clone)]
pub(crate) struct Channels {
    /// `PREFIX#/#`: broadcasts to everyone or to several rooms, and the start of each room's channel.
    pub(crate) broadcast: Box<str>,
    /// `PREFIX-request#/#`: requests to every server. Its subscribers are the servers.
    pub(crate) request: Box<str>,
    /// `PREFIX-response#/#`: answers, heard by every server.
    pub(crate) response: Box<str>,
    /// `PREFIX-response#/#UID#`: answers to this server.
    pub(crate) own_response: Box<str>,
}

/// Whom a broadcast's channel names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope<'a> {
    /// Everyone, or the rooms in the message.
    Everyone,
    /// One room, which servers without members in it need not decode.
    Room(&'a str),
}

impl Channels {
    /// The channels under a key prefix (`socket.io` unless configured) for the server `uid`.
    pub(crate) fn new(prefix: &str, uid: &str) -> Self {
        let broadcast = format!("{prefix}#/#");
        let response = format!("{prefix}-response#/#");
        Self {
            broadcast: broadcast.into(),
            request: format!("{prefix}-request#/#").into(),
            own_response: format!("{response}{uid}#").into(),
            response: response.into(),
        }
    }

    /// Where a broadcast to these rooms is published: the room's channel when there is exactly one.
    pub(crate) fn broadcast_to(&self, rooms: &[&str]) -> Cow<'_, str> {
        match rooms {
            [room] => Cow::Owned(format!("{}{room}#", self.broadcast)),
            _ => Cow::Borrowed(&self.broadcast),
        }
    }

    /// Whom a message on this channel is for; `None` when the channel is none of broadcasts.
    pub(crate) fn scope<'a>(&self, channel: &'a str) -> Option<Scope<'a>> {
        match channel.strip_prefix(&*self.broadcast)? {
            "" => Some(Scope::Everyone),
            rest => rest.strip_suffix('#').map(Scope::Room),
        }
    }

    /// Where the server `uid` alone hears its answers (servers since 7.1).
    pub(crate) fn response_to(&self, uid: &str) -> String {
        format!("{}{uid}#", self.response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_named_as_the_adapter_names_them() {
        let channels = Channels::new("socket.io", "J9E1gm");
        assert_eq!(&*channels.broadcast, "socket.io#/#");
        assert_eq!(&*channels.request, "socket.io-request#/#");
        assert_eq!(&*channels.response, "socket.io-response#/#");
        assert_eq!(&*channels.own_response, "socket.io-response#/#J9E1gm#");
        assert_eq!(channels.response_to("abc"), "socket.io-response#/#abc#");
    }

    #[test]
    fn exactly_one_room_has_a_channel_of_its_own() {
        let channels = Channels::new("k", "u");
        assert_eq!(channels.broadcast_to(&["room1"]), "k#/#room1#");
        assert_eq!(channels.broadcast_to(&[]), "k#/#");
        assert_eq!(channels.broadcast_to(&["a", "b"]), "k#/#");
    }

    #[test]
    fn any_room_name_comes_back_from_its_channel() {
        let channels = Channels::new("k", "u");
        for room in ["room1", "a#b", "#", "##", "*", "ключ \u{1F600}", "a\nb", ""] {
            let channel = channels.broadcast_to(&[room]).into_owned();
            assert_eq!(channels.scope(&channel), Some(Scope::Room(room)), "{room}");
        }
        assert_eq!(channels.scope("k#/#"), Some(Scope::Everyone));
        for other in ["k#/#room", "k#/admin#", "k-request#/#", "j#/#a#", ""] {
            assert_eq!(channels.scope(other), None, "{other}");
        }
    }
}
