use super::*;
use crate::adapter::msgpack::{hex, unhex};

/// From `@socket.io/redis-adapter` 8.3, to `room1`: `hello("world", 1)`.
const TO_ROOM: &str = "93a64a394531676d83a47479706502a46461746193a568656c6c6fa5776f726c6401a36e7370a12f83a5726f6f6d7391\
    a5726f6f6d31a665786365707490a5666c61677380";
/// To everyone except `room2`: `ev({ a: 1 })`.
const EXCEPT_ROOM: &str = "93a64a394531676d83a47479706502a46461746192a2657681a16101a36e7370a12f83a5726f6f6d7390a6657863\
    65707491a5726f6f6d32a5666c61677380";
/// From `@socket.io/redis-emitter`, to `room1`: `e2({ n: 1 })`.
const EMITTER: &str = "93a7656d697474657283a47479706502a46461746192a2653281a16e01a36e7370a12f83a5726f6f6d7391a5726f6f6d\
    31a5666c61677380a665786365707490";

const MARK: Mark = Mark {
    kind: 7,
    seq: 0x0102_0304_0506_0708,
    time: 1_766_102_400_007,
};

fn outgoing<'a>(args: &'a str, rooms: &'a [&'a str], except: &'a [&'a str]) -> Outgoing<'a> {
    Outgoing {
        uid: "J9E1gm",
        args,
        attachments: &[],
        rooms,
        except,
        flags: Flags::default(),
    }
}

fn ours(payload: &[u8]) -> Broadcast {
    match decode(payload) {
        Ok(Decoded::Ours(broadcast)) => broadcast,
        other => panic!("{other:?}"),
    }
}

fn names(names: &[&str]) -> Vec<Box<str>> {
    names.iter().map(|name| (*name).into()).collect()
}

#[test]
fn broadcasts_have_the_adapters_bytes() {
    let hello = outgoing(r#"["hello","world",1]"#, &["room1"], &[])
        .encode(None)
        .unwrap();
    assert_eq!(hex(&hello), TO_ROOM);
    let ev = outgoing(r#"["ev",{"a":1}]"#, &[], &["room2"]).encode(None).unwrap();
    assert_eq!(hex(&ev), EXCEPT_ROOM);
    let mut volatile = outgoing(r#"["v"]"#, &[], &[]);
    volatile.flags.volatile = true;
    assert_eq!(
        hex(&volatile.encode(None).unwrap()),
        "93a64a394531676d83a47479706502a46461746191a176a36e7370a12f83a5726f6f6d7390a665786365707490a5666c61677381a8766f\
        6c6174696c65c3"
    );
}

#[test]
fn broadcasts_of_the_adapter_are_decoded() {
    let hello = ours(&unhex(TO_ROOM));
    assert_eq!(&*hello.args, r#"["hello","world",1]"#);
    assert_eq!((hello.rooms, hello.except), (names(&["room1"]), names(&[])));
    assert!(!hello.volatile);
    assert_eq!(peek(&unhex(TO_ROOM)), Some(("J9E1gm", None)));
    let ev = ours(&unhex(EXCEPT_ROOM));
    assert_eq!(&*ev.args, r#"["ev",{"a":1}]"#);
    assert_eq!((ev.rooms, ev.except), (names(&[]), names(&["room2"])));
}

#[test]
fn broadcasts_of_the_emitter_are_decoded() {
    let to_room = ours(&unhex(EMITTER));
    assert_eq!(&*to_room.args, r#"["e2",{"n":1}]"#);
    assert_eq!(peek(&unhex(EMITTER)), Some(("emitter", None)));
    assert_eq!((to_room.rooms, to_room.except), (names(&["room1"]), names(&[])));
    // `to(["a", "b"]).except("c").volatile.emit("x", Buffer.from([255]))`
    let binary = ours(&unhex(
        "93a7656d697474657283a47479706502a46461746192a178c401ffa36e7370a12f83a5726f6f6d7392a161a162a5666c61677381a8766f\
        6c6174696c65c3a665786365707491a163",
    ));
    assert_eq!(&*binary.args, r#"["x",{"_placeholder":true,"num":0}]"#);
    assert_eq!(binary.attachments, [&[255][..]]);
    assert_eq!((binary.rooms, binary.except), (names(&["a", "b"]), names(&["c"])));
    assert!(binary.volatile);
}

#[test]
fn numeric_rooms_are_read_other_flags_passed_over_and_a_missing_namespace_is_the_default() {
    // `[uid, { type: 2, data: ["v"] }, { rooms: [1, 2.5], except: ["x"], flags }]`
    let broadcast = ours(&unhex(
        "93a64a394531676d82a47479706502a46461746191a17683a5726f6f6d739201cb4004000000000000a665786365707491a178a5666c61\
        677383a8636f6d7072657373c2a774696d656f7574cd03e8b465787065637453696e676c65526573706f6e7365c3",
    ));
    assert_eq!(broadcast.rooms, names(&["1", "2.5"]));
    assert!(!broadcast.volatile);
}

#[test]
fn what_is_written_is_read() {
    let mut packet = outgoing(r#"["e"]"#, &["a", "b"], &["c"]);
    packet.flags = Flags {
        volatile: true,
        timeout: Some(70_000),
    };
    let payload = packet.encode(Some(MARK)).unwrap();
    assert_eq!(peek(&payload), Some(("J9E1gm", Some(MARK))));
    let back = ours(&payload);
    assert!(back.volatile);
    assert_eq!((back.rooms, back.except), (names(&["a", "b"]), names(&["c"])));
}

#[test]
fn the_mark_is_the_end_of_the_payload() {
    for volatile in [false, true] {
        let mut packet = outgoing(r#"["e",{"_placeholder":true,"num":0}]"#, &["r"], &["s"]);
        packet.flags.volatile = volatile;
        let attachments = [Bytes::from_static(b"bytes")];
        packet.attachments = &attachments;
        let payload = packet.encode(Some(MARK)).unwrap();
        let tail = "a66e6174697665c411070102030405060708";
        assert_eq!(payload.len() - 26, hex(&payload).find(tail).unwrap() / 2);
        assert_eq!(peek(&payload), Some(("J9E1gm", Some(MARK))));

        let back = ours(&payload);
        assert_eq!(back.volatile, volatile);
        assert_eq!((back.attachments, &*back.args), (attachments.to_vec(), packet.args));
    }
}

#[test]
fn a_payload_without_a_mark_has_none() {
    for payload in [TO_ROOM, EXCEPT_ROOM, EMITTER] {
        let payload = unhex(payload);
        assert_eq!(peek(&payload).unwrap().1, None);
    }
    // The length of a mark under another key, and a mark's key with other bytes.
    for flags in ["81a66e61746976 66c411", "81a66e6174697665c412", "81a66e6174697665d911"] {
        let flags = flags.replace(' ', "");
        let payload = TO_ROOM.strip_suffix("80").unwrap().to_owned() + &flags + &"00".repeat(17);
        assert_eq!(peek(&unhex(&payload)).unwrap().1, None, "{flags}");
    }
    for other in ["", "92a161", "93", "9301", "93a2ff"] {
        assert_eq!(peek(&unhex(other)), None, "{other}");
    }
}

#[test]
fn other_namespaces_are_not_for_us() {
    let payload = unhex(&TO_ROOM.replace("a36e7370a12f", "a36e7370a62f61646d696e"));
    assert_eq!(decode(&payload), Ok(Decoded::OtherNamespace));
    let odd = unhex(&TO_ROOM.replace("a36e7370a12f", "a36e737091a12f"));
    assert_eq!(decode(&odd), Ok(Decoded::OtherNamespace));
}

#[test]
fn keys_come_in_any_order_and_unknown_ones_are_passed_over() {
    let packet = "84a36e7370a12fa17891c0a46461746191a165a47479706502";
    let opts = "84a5666c61677381a17893010203a566616e637982a16101a162c0a665786365707490a5726f6f6d7390";
    let payload = unhex(&format!("93a175{packet}{opts}"));
    assert_eq!(&*ours(&payload).args, r#"["e"]"#);
}

#[test]
fn anything_odd_is_an_error() {
    let [head, _] = [TO_ROOM, EMITTER].map(|text| text.split_once("83a5726f6f6d73").unwrap().0);
    let with_opts = |opts: &str| decode(&unhex(&format!("{head}{opts}")));
    assert_eq!(with_opts(""), Err(Malformed::Truncated));
    assert_eq!(with_opts("c0"), Err(Malformed::Type("opts")));
    assert_eq!(with_opts("80"), Err(Malformed::Missing("rooms")));
    assert_eq!(with_opts("81a5726f6f6d73a161"), Err(Malformed::Type("rooms")));
    assert_eq!(with_opts("81a5726f6f6d7391c0"), Err(Malformed::Type("rooms")));
    assert_eq!(
        with_opts("82a5726f6f6d7390a5666c616773c3"),
        Err(Malformed::Type("flags"))
    );
    assert!(with_opts("81a5726f6f6d7390").is_ok());
    assert_eq!(decode(&unhex(&format!("{TO_ROOM}c0"))), Err(Malformed::Trailing));
    assert_eq!(
        decode(&unhex(&TO_ROOM.replacen("93", "92", 1))),
        Err(Malformed::Type("a broadcast"))
    );
    assert_eq!(
        decode(&unhex(&TO_ROOM.replacen("a64a394531676d", "01", 1))),
        Err(Malformed::Type("uid"))
    );

    let with_packet = |packet: &str| decode(&unhex(&format!("93a175{packet}81a5726f6f6d7390")));
    assert_eq!(with_packet("c0"), Err(Malformed::Type("the packet")));
    assert_eq!(with_packet("81a46461746191a165"), Err(Malformed::Missing("type")));
    assert_eq!(with_packet("81a47479706502"), Err(Malformed::Missing("data")));
    assert_eq!(
        with_packet("82a47479706503a46461746191a165"),
        Err(Malformed::Type("the packet"))
    );
    assert_eq!(
        with_packet("82a47479706502a46461746190"),
        Err(Malformed::Type("the event's name"))
    );
    assert_eq!(with_packet("82a47479706502a46461746180"), Err(Malformed::Type("data")));
    assert_eq!(
        with_packet("82a47479706502a46461746191aa646973636f6e6e656374"),
        Err(Malformed::Reserved)
    );
    assert!(with_packet("82a47479706505a46461746191a165").is_ok());
}

#[test]
fn only_a_list_of_arguments_leaves() {
    for args in ["{}", "1", "null", "\"a\"", "", "[1"] {
        assert_eq!(outgoing(args, &[], &[]).encode(None), Err(Unfit::NotJson), "{args}");
    }
}
