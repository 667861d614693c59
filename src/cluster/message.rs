//! What instances of this package tell each other, on channels of their own: four bytes that name the format and its
//! version, then MessagePack.

use std::{borrow::Cow, collections::VecDeque, sync::Arc};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    adapter::msgpack::MAX_DEPTH,
    config::MembershipEvents,
    error::Spoken,
    hub::{Claim, Cut, Handed, Room, RoomInfo, Socket},
    metrics::Stats,
    ports::{Command, Session},
    selection::{Names, Selection},
    wire::{
        json::{Args, event_name, is_json, quoted},
        packet::{MAX_ATTACHMENTS, Origin, Packet, PacketKind, RESERVED_EVENTS},
    },
};

/// What every message of ours begins with.
const MAGIC: [u8; 3] = *b"nws";
/// Version of the messages; instances that differ in it ignore each other.
pub(super) const VERSION: u8 = 1;

/// A message, and who sent it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Envelope {
    /// The sender.
    pub(super) uid: Arc<str>,
    /// Its number in the sender's publications, if it is one of those that must not be missed.
    pub(super) seq: Option<u64>,
    /// What it tells.
    pub(super) message: Message,
}

/// What an instance tells.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Message {
    /// A socket was registered.
    Connected(SocketFacts),
    /// A socket was registered that another instance had before, in these rooms of the registry. That instance was asked; or
    /// else it is gone from there.
    Arrived(SocketFacts, Vec<String>, bool),
    /// A socket has come into a room outside the registry, or has left it: socket id, name, whether it is in.
    MovedPlain(String, String, bool),
    /// What the application keeps in `socket.data` of a socket, as JSON, and when that is to be closed.
    Kept(String, String, Option<u64>),
    /// A socket is gone.
    Disconnected(String),
    /// A room was created.
    RoomCreated(RoomFacts),
    /// A room was deleted.
    RoomDeleted(String),
    /// The sender's sockets are no longer in this room, because it was deleted.
    RoomCleared(String),
    /// A packet for those whom the filter means.
    Select(Select),
    /// A chat message for the history of a room, and for no client: room id, packet, and time in milliseconds since the
    /// epoch.
    Stored(String, PacketParts, u64),
    /// A publication that could not be sent; it only takes its number.
    Nothing,

    /// The sender lives.
    Beat(Beat),
    /// The sender is new here, or was away: everyone is to beat at once.
    Hello,
    /// The sender ends; its sockets have gone before.
    Bye,

    /// Asks for publications with these numbers again: first, and one past the last.
    Resend(u64, u64),
    /// Publications again: number, channel and payload of each.
    Resent(VecDeque<(u64, Bytes, Bytes)>),
    /// Publications before this number cannot be had any more.
    Lost(u64),
    /// Asks for everything that the receiver knows of its own sockets.
    AskSnapshot,
    /// A part of that.
    Snapshot(Snapshot),
    /// Asks for the newest messages of every room.
    AskHistory,
    /// The newest messages of some rooms.
    History(HistoryPart),
    /// Asks to do something with a socket: number of the question, socket id, what.
    Do(u64, String, Command),
    /// The outcome: number of the question, and what went wrong, if something did.
    Done(u64, Option<Spoken>),
    /// A client has come to the sender with the secret of a socket that is elsewhere: it does not come back to that.
    Moved(String),
    /// A client has come to the sender with the secret of a socket of the receiver. Asks what that is: number of the question,
    /// what the client says.
    AskSession(u64, Claim),
    /// The answer to that.
    Session(u64, Option<Session>),
    /// The sender has registered that socket. Asks to let it go, once the receiver has heard as much as it has: number of the
    /// question, what the client says, the rooms that the sender has put it into, and how far that has heard each instance.
    Release(u64, Claim, Vec<String>, Heard),
    /// The socket is not let go yet: it is in these rooms meanwhile.
    NotReleased(u64, Vec<String>),
    /// A part of what the client has missed; nothing when it cannot be told.
    Released(u64, Option<MissedPart>),
}

/// How far each instance has been heard: the number of its next publication.
pub(super) type Heard = Vec<(Arc<str>, u64)>;

/// A part of what a client has missed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct MissedPart {
    /// The packets.
    pub(super) packets: Vec<MissedPacket>,
    /// With the last part: how far the client is then, and how far the sender has heard each instance.
    pub(super) last: Option<(Cut, Heard)>,
}

/// A packet that a client has missed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct MissedPacket {
    /// The packet.
    pub(super) packet: PacketParts,
    /// Where it was published, if it was.
    pub(super) origin: Option<Origin>,
    /// How far its client is then.
    pub(super) cut: Cut,
}

impl From<&Handed> for MissedPacket {
    fn from(handed: &Handed) -> Self {
        Self {
            packet: PacketParts::of(&handed.packet),
            origin: handed.packet.origin(),
            cut: handed.cut.clone(),
        }
    }
}

impl MissedPacket {
    /// `None` when it is no event.
    pub(super) fn handed(self) -> Option<Handed> {
        let packet = self.packet.event()?;
        if let Some(origin) = self.origin {
            packet.set_origin(origin);
        }
        Some(Handed { packet, cut: self.cut })
    }
}

/// What others know of a socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SocketFacts {
    /// Socket id.
    pub(super) id: String,
    /// User id.
    pub(super) user_id: String,
    /// Display name.
    pub(super) username: Option<String>,
    /// What `socket.user` holds, as JSON.
    pub(super) profile: Option<String>,
    /// When the connection was made, milliseconds since the epoch.
    pub(super) connected_at: u64,
    /// If its client may come back.
    #[serde(default)]
    pub(super) returns: Option<Returning>,
}

/// What is to be known of a socket whose client may come to any instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Returning {
    /// What its client shows then.
    pub(super) secret: String,
    /// What it had seen, or was not meant to see, when it was registered.
    pub(super) began: Cut,
    /// The rooms outside the registry that it is in.
    pub(super) plain: Vec<String>,
    /// What the application keeps in `socket.data`, as JSON, as far as that was told.
    pub(super) data: Option<String>,
    /// When it is to be closed, milliseconds since the epoch.
    pub(super) expires_at: Option<u64>,
    /// How often it has come from one instance to another.
    #[serde(default)]
    pub(super) moves: u32,
}

impl Returning {
    /// Of a socket that is in these rooms.
    fn of(socket: &Socket, rooms: &[Arc<Room>]) -> Option<Self> {
        let recovery = socket.recovery()?;
        let plain = rooms.iter().filter(|room| !room.info.registered);
        Some(Self {
            secret: recovery.secret().to_owned(),
            began: recovery.began(),
            plain: plain.map(|room| room.info.id.to_string()).collect(),
            data: socket.told_data().map(|data| data.to_string()),
            expires_at: socket.expires_at(),
            moves: recovery.moves(),
        })
    }
}

impl SocketFacts {
    /// Of a socket that is in these rooms.
    pub(super) fn of(socket: &Socket, rooms: &[Arc<Room>]) -> Self {
        let identity = socket.identity();
        Self {
            id: socket.id().to_owned(),
            user_id: identity.user_id.to_string(),
            username: identity.username.as_deref().map(str::to_owned),
            profile: socket.profile().map(str::to_owned).or_else(|| email_profile(socket)),
            connected_at: socket.connected_at,
            returns: Returning::of(socket, rooms),
        }
    }
}

/// What is known of a user whom the application has not described.
fn email_profile(socket: &Socket) -> Option<String> {
    let email = socket.query("email")?;
    Some(format!("{{\"email\":{}}}", quoted(&email)))
}

/// A room of the directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RoomFacts {
    /// Its id.
    pub(super) id: String,
    /// Its name.
    pub(super) name: String,
    /// Its label.
    pub(super) namespace: String,
    /// When it was created, milliseconds since the epoch.
    pub(super) created_at: u64,
    /// User id of its creator.
    #[serde(default)]
    pub(super) created_by: Option<String>,
    /// Metadata as JSON.
    #[serde(default)]
    pub(super) metadata: Option<String>,
    /// What its members are told of those who come and go.
    #[serde(default)]
    pub(super) membership_events: Option<MembershipEvents>,
    /// Whether clients may come in only as the application or the server lets them.
    #[serde(default)]
    pub(super) private: bool,
}

impl From<&RoomInfo> for RoomFacts {
    fn from(info: &RoomInfo) -> Self {
        Self {
            id: info.id.to_string(),
            name: info.name.to_string(),
            namespace: info.label.to_string(),
            created_at: info.created_at,
            created_by: info.created_by.as_deref().map(str::to_owned),
            metadata: info.metadata.as_deref().map(str::to_owned),
            membership_events: info.membership_events,
            private: info.private,
        }
    }
}

impl From<RoomFacts> for RoomInfo {
    fn from(facts: RoomFacts) -> Self {
        Self {
            id: facts.id.into(),
            name: facts.name.into(),
            label: facts.namespace.into(),
            created_at: facts.created_at,
            created_by: facts.created_by.map(Into::into),
            metadata: facts.metadata.filter(|metadata| is_json(metadata)).map(Into::into),
            membership_events: facts.membership_events,
            private: facts.private,
            registered: true,
        }
    }
}

/// A packet, as text and attachments.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct PacketParts {
    /// JSON array of arguments.
    pub(super) args: String,
    /// Attachments of its placeholders.
    pub(super) attachments: Vec<Bytes>,
}

impl PacketParts {
    pub(super) fn of(packet: &Packet) -> Self {
        Self {
            args: packet.args().to_owned(),
            attachments: packet.attachments().to_vec(),
        }
    }

    /// Its bytes.
    pub(super) fn len(&self) -> usize {
        self.args.len() + self.attachments.iter().map(Bytes::len).sum::<usize>()
    }

    /// The packet as an event; `None` when it is none that clients may get: they close the connection over some, and the
    /// parsers of JavaScript stand so many levels.
    pub(super) fn event(self) -> Option<Packet> {
        let args = Args::read(&self.args, self.attachments.len()).ok()?;
        let has_name = args.first?.starts_with('"')
            && event_name(&self.args).is_some_and(|name| !RESERVED_EVENTS.contains(&&*name));
        let fits = args.is_complete && args.depth <= MAX_DEPTH && self.attachments.len() <= MAX_ATTACHMENTS;
        (has_name && fits).then(|| Packet::new(PacketKind::Event(None), &self.args, self.attachments))
    }
}

/// A packet for those whom a filter means.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Select {
    /// The packet.
    pub(super) packet: PacketParts,
    /// Members of this room only.
    pub(super) within: Option<String>,
    /// Sockets and rooms that are left out.
    pub(super) except: Vec<String>,
    /// Only these users.
    pub(super) users: Option<Vec<String>>,
    /// Only members of this room.
    pub(super) room: Option<String>,
    /// Only members of rooms with this label.
    pub(super) label: Option<String>,
}

impl Select {
    /// Of a selection with one room at most: the message has no place for more.
    pub(super) fn new(selection: &Selection<'_>, packet: &Packet) -> Self {
        let owned = |names: &Names<'_>| names.iter().map(|name| name.to_string()).collect();
        debug_assert!(selection.rooms.len() <= 1, "a filter has one room at most");
        Self {
            packet: PacketParts::of(packet),
            within: selection.rooms.first().map(|room| room.to_string()),
            except: owned(&selection.except),
            users: selection.users.as_ref().map(owned),
            room: selection.room.as_deref().map(str::to_owned),
            label: selection.label.as_deref().map(str::to_owned),
        }
    }

    /// Whom it means, and the packet.
    pub(super) fn into_parts(self) -> (Selection<'static>, PacketParts) {
        let names = |names: Vec<String>| names.into_iter().map(Cow::Owned).collect();
        let selection = Selection {
            rooms: self.within.map(Cow::Owned).into_iter().collect(),
            except: names(self.except),
            users: self.users.map(names),
            room: self.room.map(Cow::Owned),
            label: self.label.map(Cow::Owned),
            ..Selection::default()
        };
        (selection, self.packet)
    }
}

/// A sign of life.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Beat {
    /// Number of the sender's next publication.
    pub(super) next_seq: u64,
    /// Digest of what the sender has told of its sockets until then.
    pub(super) digest: u64,
    /// Whether the sender knows what there is to know.
    pub(super) is_ready: bool,
    /// When the sender was started, milliseconds since the epoch.
    pub(super) started_at: u64,
    /// Its statistics.
    pub(super) stats: Totals,
}

/// `getStats()` of an instance.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Totals {
    pub(super) connections: u64,
    pub(super) active: u64,
    pub(super) rooms: u64,
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) latency_ms: f64,
}

impl From<Stats> for Totals {
    fn from(stats: Stats) -> Self {
        Self {
            connections: stats.total_connections,
            active: stats.active_connections as u64,
            rooms: stats.total_rooms as u64,
            messages: stats.rates.messages,
            bytes: stats.rates.bytes,
            latency_ms: stats.avg_latency_ms,
        }
    }
}

/// A part of what an instance knows of its own sockets.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Snapshot {
    /// Number of the publication from which on what is told adds to the snapshot.
    pub(super) since: u64,
    /// The first part is 0.
    pub(super) part: u32,
    /// There is no further part.
    pub(super) is_last: bool,
    /// Sockets, and the registered rooms that each is in.
    pub(super) sockets: Vec<(SocketFacts, Vec<String>)>,
}

/// The newest messages of some rooms, oldest first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct HistoryPart {
    /// There is no further part.
    pub(super) is_last: bool,
    /// Room id, and its messages: packet, and time in milliseconds since the epoch.
    pub(super) rooms: Vec<(String, Vec<(PacketParts, u64)>)>,
}

/// Why a message on one of our channels is not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    /// It comes from an instance of another version.
    #[error("a message of version {0}, this is version {VERSION}")]
    Version(u8),
    /// It is no message of ours.
    #[error("not a message of an instance: {0}")]
    Foreign(&'static str),
}

impl Envelope {
    /// The bytes that travel. Empty when a value has no form, which none of these types has.
    pub(super) fn encode(uid: &Arc<str>, seq: Option<u64>, message: &Message) -> Bytes {
        #[derive(Serialize)]
        struct Borrowed<'a>(&'a Arc<str>, Option<u64>, &'a Message);

        let mut bytes = Vec::with_capacity(128);
        bytes.extend_from_slice(&MAGIC);
        bytes.push(VERSION);
        if rmp_serde::encode::write(&mut bytes, &Borrowed(uid, seq, message)).is_err() {
            bytes.clear();
        }
        bytes.into()
    }

    /// Reads a message.
    pub(super) fn decode(payload: &Bytes) -> Result<Self, Unreadable> {
        let [a, b, c, version, body @ ..] = payload.as_ref() else {
            return Err(Unreadable::Foreign("too short"));
        };
        if [*a, *b, *c] != MAGIC {
            return Err(Unreadable::Foreign("no mark of ours"));
        }
        if *version != VERSION {
            return Err(Unreadable::Version(*version));
        }
        // What the library says of it may repeat what it holds.
        rmp_serde::from_slice(body).map_err(|_| Unreadable::Foreign("damaged"))
    }
}

/// Digest of one fact: a socket, or a socket's membership. Digests of all facts are combined by exclusive or, so that
/// their order does not matter.
pub(super) fn digest(socket_id: &str, room_id: Option<&str>) -> u64 {
    hash(
        socket_id.bytes().chain(
            room_id
                .into_iter()
                .flat_map(|room| std::iter::once(0xff).chain(room.bytes())),
        ),
    )
}

/// Where an instance, or another server, has published something: as this publication of its.
pub(super) fn origin(uid: &str, number: u64) -> Origin {
    Origin::Publication {
        publisher: publisher(uid),
        number,
    }
}

/// The number of an instance, or of another server.
pub(super) fn publisher(uid: &str) -> u64 {
    hash(uid.bytes())
}

/// As [`origin`] of a server that does not number what it publishes: the payload tells.
pub(super) fn origin_of_payload(uid: &str, payload: &[u8]) -> Origin {
    Origin::Payload(hash(uid.bytes().chain(payload.iter().copied())))
}

/// The same on every instance.
fn hash(bytes: impl Iterator<Item = u8>) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in bytes {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    // FNV alone spreads the last bytes too little for a combination by exclusive or.
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MOST_DEPTH;

    fn encode(message: &Message) -> Bytes {
        Envelope::encode(&"abc123".into(), Some(7), message)
    }

    #[test]
    fn what_is_written_is_read() {
        let resent = VecDeque::from([(3, Bytes::from_static(b"channel"), Bytes::from_static(b"\x00\xff"))]);
        let bytes = encode(&Message::Resent(resent.clone()));
        let read = Envelope::decode(&bytes).unwrap();
        assert_eq!((&*read.uid, read.seq), ("abc123", Some(7)));
        assert!(matches!(read.message, Message::Resent(entries) if entries == resent));
    }

    #[test]
    fn other_versions_and_rubbish_are_told_apart() {
        let mut bytes = encode(&Message::Bye).to_vec();
        bytes[3] = 9;
        assert_eq!(Envelope::decode(&bytes.into()).unwrap_err(), Unreadable::Version(9));
        for rubbish in [&b""[..], b"{}", b"nws\x01", b"nws\x01\xc1", b"hello world"] {
            let read = Envelope::decode(&Bytes::copy_from_slice(rubbish));
            assert!(matches!(read, Err(Unreadable::Foreign(_))), "{rubbish:?}");
        }
    }

    #[test]
    fn no_cut_or_changed_message_panics() {
        let whole = encode(&Message::Beat(Beat::default()));
        for end in 0..whole.len() {
            assert!(Envelope::decode(&whole.slice(..end)).is_err());
        }
        for at in 4..whole.len() {
            for value in [0, 0x7f, 0xc1, 0xdd, 0xff] {
                let mut bytes = whole.to_vec();
                bytes[at] = value;
                let _ = Envelope::decode(&bytes.into());
            }
        }
    }

    #[test]
    fn what_clients_would_close_over_becomes_none() {
        let event = |args: &str, count: usize| {
            let (args, attachments) = (args.to_owned(), vec![Bytes::from_static(b"x"); count]);
            PacketParts { args, attachments }.event().is_some()
        };
        let deep = |levels: usize| format!("[\"a\",{}{}]", "[".repeat(levels), "]".repeat(levels));
        assert!(event(r#"["a"]"#, MAX_ATTACHMENTS) && event(&deep(MOST_DEPTH), 0));
        assert!(!event(r#"["a"]"#, MAX_ATTACHMENTS + 1), "too many attachments");
        assert!(
            !event(r#"["disconnect"]"#, 0) && !event(r#"["conn\u0065ct"]"#, 0),
            "Socket.IO's own"
        );
        assert!(!event(&deep(MAX_DEPTH + 1), 0), "too deep");
    }

    #[test]
    fn what_is_no_event_becomes_none() {
        let event = |args: &str| {
            let (args, attachments) = (args.to_owned(), Vec::new());
            PacketParts { args, attachments }.event().is_some()
        };
        assert!(event(r#"["a",{"b":[1]}]"#));
        for args in ["", "[]", "[1]", r#"["a""#, r#"["a"]x"#, r#"{"a":1}"#, r#"["a",]"#] {
            assert!(!event(args), "{args}");
        }
        assert!(is_json(r#"{"a":1}"#) && !is_json("") && !is_json("{a}"));
    }

    #[test]
    fn a_digest_depends_on_socket_and_room() {
        let all = [
            digest("a", None),
            digest("a", Some("b")),
            digest("b", Some("a")),
            digest("ab", None),
            digest("a", Some("")),
        ];
        let different: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
    }
}
