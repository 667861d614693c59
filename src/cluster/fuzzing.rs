//! What the fuzz targets ask of the messages of instances.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use bytes::Bytes;

use super::message::{Envelope, Message, PacketParts, RoomFacts};
use crate::{
    adapter::msgpack::MAX_DEPTH,
    hub::RoomInfo,
    wire::{
        json::{Args, event_name, is_json},
        packet::{MAX_ATTACHMENTS, RESERVED_EVENTS},
    },
};

/// A message that is read comes back from what is written of it; of what others tell, clients get only events that they may
/// get, and JavaScript only JSON.
pub fn records(data: &[u8]) {
    let with_mark = Bytes::from([b"nws\x01", data].concat());
    for payload in [Bytes::copy_from_slice(data), with_mark] {
        let Ok(read) = Envelope::decode(&payload) else { continue };
        let written = Envelope::encode(&read.uid, read.seq, &read.message);
        let again = Envelope::decode(&written).expect("what is written is read");
        assert_eq!(format!("{again:?}"), format!("{read:?}"));
        match read.message {
            Message::Select(select) => event(select.into_parts().1),
            Message::Stored(_, parts, _) => event(parts),
            Message::History(part) => {
                let packets = part.rooms.into_iter().flat_map(|(_, packets)| packets);
                packets.for_each(|(parts, _)| event(parts));
            }
            Message::RoomCreated(facts) => room(facts),
            _ => {}
        }
    }
}

fn room(facts: RoomFacts) {
    let info = RoomInfo::from(facts);
    assert!(info.metadata.is_none_or(|metadata| is_json(&metadata)));
}

fn event(parts: PacketParts) {
    let Some(packet) = parts.event() else { return };
    let count = packet.attachments().len();
    let args = Args::read(packet.args(), count).expect("a list");
    let name = event_name(packet.args()).expect("a name");
    assert!(!RESERVED_EVENTS.contains(&&*name), "{name} is Socket.IO's own");
    assert!(count <= MAX_ATTACHMENTS && args.is_complete, "{count} attachments");
    assert!(args.depth <= MAX_DEPTH, "{} levels", args.depth);
    assert!(!packet.frames_v4().is_empty() && !packet.frames_v3().is_empty());
}
