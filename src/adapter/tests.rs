//! Whatever arrives, the decoders answer and do not panic; what leaves, they take back.

use bytes::Bytes;

use super::{broadcast, broadcast::Outgoing, random_id, request, response, response::Asked};
use crate::adapter::msgpack::{Reader, from_json};

/// xorshift64*, seeded, so that a failure comes again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next()).unwrap() % limit.max(1)
    }
}

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

fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len() + 1);
        match random.below(5) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, random.next() as u8),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            3 => bytes.extend_from_within(at..),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = random.next() as u8;
                }
            }
        }
    }
}

#[test]
fn no_bytes_make_a_decoder_panic() {
    let messages = valid_messages();
    let mut random = Random(0x5EED_1234_ABCD_EF01);
    for _ in 0..100_000 {
        let mut bytes = messages[random.below(messages.len())].clone();
        mutate(&mut bytes, &mut random);
        decode_everywhere(&bytes);
    }
    for _ in 0..100_000 {
        let length = random.below(40);
        let bytes: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
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
