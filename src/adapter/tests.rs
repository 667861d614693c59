//! Whatever arrives, the decoders answer and do not panic; what leaves, they take back.

use bytes::Bytes;
use proptest::{prelude::*, sample::Index};

use super::{broadcast, broadcast::Outgoing, random_id, request, response, response::Asked};
use crate::adapter::msgpack::{Reader, from_json};

fn valid_messages() -> Vec<Vec<u8>> {
    let attachments = [Bytes::from_static(b"bytes")];
    let packet = Outgoing {
        uid: "J9E1gm",
        args: r#"["hello",{"a":[1,-2,0.5,"\ud83d\ude00\n"],"b":{"_placeholder":true,"num":0}},null,true]"#,
        attachments: &attachments,
        rooms: &["room1", "room2"],
        except: &["room3"],
        flags: broadcast::Flags {
            volatile: true,
            timeout: Some(5000),
        },
    };
    let of = request::Rooms {
        rooms: &["a"],
        except: &["b"],
    };
    let socket = response::LocalSocket {
        id: "s1",
        handshake: r#"{"headers":{"a":"b"}}"#,
        rooms: &["s1"],
        data: "{}",
    };
    let mark = broadcast::Mark {
        kind: 1,
        seq: 2,
        time: 3,
    };
    let dates = b"\x93\xa1u\x82\xa4type\x02\xa4data\x97\xa1e\xd6\xff\x00\x00\x00\x01\xd7\xff\x01\xab\x3f\x00\x69\x44\x95\
        \x80\xc7\x0c\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xd4\x00\x00\xd7\x00\x00\x00\x00\x00\x00\x00\x00\
        \x00\xc7\x01\x00\xff\x81\xa5rooms\x90";
    let messages = [
        packet.encode(None),
        packet.encode(Some(mark)),
        Ok(dates.to_vec()),
        request::broadcast(&packet, "abc-_1"),
        request::all_rooms("u", "q"),
        request::join("u", of, &["x"]),
        request::leave("u", of, &["x"]),
        request::disconnect("u", of, true),
        request::fetch("u", "q", of),
        request::server_side_emit("u", Some("q"), r#"["e",{"a":[]}]"#),
        Ok(br#"{"requestId":"q","type":2,"sid":"s1","room":"z"}"#.to_vec()),
        response::rooms("q", &["a"]),
        response::sockets("q", &[socket]),
        response::answer("q", Some("[1]")),
        response::client_count("q", 1),
        response::ack("q", "[{\"a\":1}]", &[]),
    ];
    messages.into_iter().map(Result::unwrap).collect()
}

/// Whether any decoder took the bytes.
fn decode_everywhere(bytes: &[u8]) -> bool {
    let broadcast = broadcast::decode(bytes);
    // What the long way takes, the short one does.
    assert!(broadcast.is_err() || broadcast::peek(bytes).is_some());
    if let Ok(broadcast::Decoded::Ours(whole)) = &broadcast {
        serde_json::from_str::<&serde_json::value::RawValue>(&whole.args).unwrap();
    }
    let mut taken = broadcast.is_ok() | request::decode(bytes).is_ok() | response::request_id(bytes).is_ok();
    for asked in [Asked::AllRooms, Asked::Fetch, Asked::ServerSideEmit, Asked::Broadcast] {
        taken |= response::decode(bytes, asked, 0).is_ok();
    }
    let (mut json, mut attachments) = (String::new(), Vec::new());
    if Reader::new(bytes).read_json(&mut json, &mut attachments, 0).is_ok() {
        // What was read is JSON, and can be written.
        let mut out = Vec::new();
        if let Err(error) = from_json(&json, &[], &mut out) {
            assert_eq!(error, crate::adapter::msgpack::Unfit::TooDeep, "{json}");
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let known = serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok();
        let mut out = Vec::new();
        assert!(!known || from_json(text, &[], &mut out).is_ok(), "{text}");
    }
    taken
}

/// A change of a message, at a place.
#[derive(Debug, Clone)]
enum Change {
    Truncate(Index),
    Insert(Index, u8),
    Remove(Index),
    Repeat(Index),
    Replace(Index, u8),
}

fn change() -> impl Strategy<Value = Change> {
    let place = any::<Index>;
    prop_oneof![
        place().prop_map(Change::Truncate),
        (place(), any::<u8>()).prop_map(|(at, byte)| Change::Insert(at, byte)),
        place().prop_map(Change::Remove),
        place().prop_map(Change::Repeat),
        (place(), any::<u8>()).prop_map(|(at, byte)| Change::Replace(at, byte)),
    ]
}

fn apply(change: &Change, bytes: &mut Vec<u8>) {
    let (length, at) = (bytes.len(), |at: &Index| at.index(bytes.len() + 1));
    match change {
        Change::Truncate(place) => bytes.truncate(at(place)),
        Change::Insert(place, byte) => bytes.insert(at(place), *byte),
        Change::Repeat(place) => bytes.extend_from_within(at(place)..),
        Change::Remove(place) if length > 0 => drop(bytes.remove(place.index(length))),
        Change::Replace(place, byte) if length > 0 => bytes[place.index(length)] = *byte,
        Change::Remove(_) | Change::Replace(..) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_changed_message_makes_a_decoder_panic(
        message in prop::sample::select(valid_messages()),
        changes in prop::collection::vec(change(), 1..4),
    ) {
        let mut bytes = message;
        changes.iter().for_each(|change| apply(change, &mut bytes));
        decode_everywhere(&bytes);
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        decode_everywhere(&bytes);
    }
}

#[test]
fn every_message_is_taken_whole_and_in_no_shorter_form() {
    for message in valid_messages() {
        assert!(decode_everywhere(&message), "{message:?}");
        for length in 0..message.len() {
            let part = &message[..length];
            assert!(broadcast::decode(part).is_err());
            assert!(request::decode(part).is_err());
            assert!(response::decode(part, Asked::ServerSideEmit, 0).is_err());
        }
    }
}

#[test]
fn ids_are_six_characters_that_differ() {
    let ids: std::collections::HashSet<_> = (0..1000).map(|_| random_id().unwrap()).collect();
    assert!(ids.len() > 990);
    for id in ids {
        assert!(
            id.len() == 6
                && id
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        );
    }
}
