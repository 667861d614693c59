use super::*;
use crate::adapter::broadcast::Flags;
use crate::adapter::msgpack::{from_json, hex, unhex};

const OF: Rooms<'_> = Rooms {
    rooms: &["room1"],
    except: &["e"],
};

fn text(payload: Result<Vec<u8>, Unfit>) -> String {
    String::from_utf8(payload.unwrap()).unwrap()
}

fn call(json: &str) -> Call {
    decode(json.as_bytes()).unwrap().call
}

fn names(names: &[&str]) -> Vec<Box<str>> {
    names.iter().map(|name| (*name).into()).collect()
}

fn selection_of(rooms: &[&str], except: &[&str]) -> Selection {
    Selection {
        rooms: names(rooms),
        except: names(except),
    }
}

#[test]
fn requests_have_the_adapters_text() {
    for (ours, adapters) in [
        (
            all_rooms("J9E1gm", "-nH3qj"),
            r#"{"uid":"J9E1gm","requestId":"-nH3qj","type":1}"#,
        ),
        (
            join("J9E1gm", OF, &["x", "y"]),
            r#"{"uid":"J9E1gm","type":2,"opts":{"rooms":["room1"],"except":["e"]},"rooms":["x","y"]}"#,
        ),
        (
            leave("J9E1gm", OF, &["x"]),
            r#"{"uid":"J9E1gm","type":3,"opts":{"rooms":["room1"],"except":["e"]},"rooms":["x"]}"#,
        ),
        (
            disconnect("J9E1gm", OF, true),
            r#"{"uid":"J9E1gm","type":4,"opts":{"rooms":["room1"],"except":["e"]},"close":true}"#,
        ),
        (
            fetch("J9E1gm", "VZjjog", OF),
            r#"{"uid":"J9E1gm","requestId":"VZjjog","type":5,"opts":{"rooms":["room1"],"except":["e"]}}"#,
        ),
        (
            server_side_emit("J9E1gm", None, r#"["hi",{"n":1}]"#),
            r#"{"uid":"J9E1gm","type":6,"data":["hi",{"n":1}]}"#,
        ),
        (
            server_side_emit("J9E1gm", Some("Ldqtci"), r#"["hi"]"#),
            r#"{"uid":"J9E1gm","requestId":"Ldqtci","type":6,"data":["hi"]}"#,
        ),
    ] {
        assert_eq!(text(ours), adapters);
    }
}

#[test]
fn a_packet_with_acknowledgements_has_the_adapters_bytes() {
    let mut packet = Outgoing {
        uid: "J9E1gm",
        args: r#"["q",{"n":1}]"#,
        attachments: &[],
        rooms: &["r"],
        except: &[],
        flags: Flags::default(),
    };
    packet.flags.timeout = Some(1000);
    assert_eq!(
        hex(&broadcast(&packet, "abc-_1").unwrap()),
        "85a3756964a64a394531676da9726571756573744964a66162632d5f31a47479706507a67061636b657483a47479706502a46461746192\
        a17181a16e01a36e7370a12fa46f70747383a5726f6f6d7391a172a665786365707490a5666c61677381a774696d656f7574cd03e8"
    );
    packet.args = r#"["q",{"_placeholder":true,"num":0}]"#;
    let attachments = [Bytes::from_static(b"hi")];
    packet.attachments = &attachments;
    packet.rooms = &["sid"];
    packet.flags.timeout = Some(500);
    let single = "85a3756964a64a394531676da9726571756573744964a66162632d5f31a47479706507a67061636b657483a47479706502a46\
        461746192a171c4026869a36e7370a12fa46f70747383a5726f6f6d7391a3736964a665786365707490a5666c61677382b46578706563745\
        3696e676c65526573706f6e7365c3a774696d656f7574cd01f4";
    // The adapter tells the servers, too, that the first answer is enough for it.
    let flag = "b465787065637453696e676c65526573706f6e7365c3";
    let all = single.replace("666c61677382", "666c61677381").replace(flag, "");
    assert_eq!(all.len() + flag.len(), single.len());
    assert_eq!(hex(&broadcast(&packet, "abc-_1").unwrap()), all);
    let back = decode(&unhex(single)).unwrap();
    assert_eq!(
        (back.uid.as_deref(), back.id.as_deref()),
        (Some("J9E1gm"), Some("abc-_1"))
    );
    let expected = Call::Broadcast {
        args: packet.args.to_owned(),
        attachments: attachments.to_vec(),
        to: selection_of(&["sid"], &[]),
        timeout: packet.flags.timeout,
    };
    assert_eq!(back.call, expected);
}

#[test]
fn what_servers_ask_is_decoded() {
    let request =
        decode(br#"{"uid":"J9E1gm","type":2,"opts":{"rooms":["room1"],"except":[]},"rooms":["x","y"]}"#).unwrap();
    assert_eq!((request.uid.as_deref(), request.id), (Some("J9E1gm"), None));
    let affected = Affected::Rooms(selection_of(&["room1"], &[]));
    let rooms = names(&["x", "y"]);
    assert_eq!(request.call, Call::Join { affected, rooms });

    let affected = Affected::Rooms(selection_of(&["1"], &["b", "2"]));
    let leave = call(r#"{"type":3,"opts":{"rooms":[1],"except":["b",2]},"rooms":[3]}"#);
    assert_eq!(
        leave,
        Call::Leave {
            affected,
            rooms: names(&["3"])
        }
    );
    let affected = Affected::Rooms(selection_of(&["a"], &[]));
    let disconnect = call(r#"{"type":4,"opts":{"rooms":["a"],"except":[]},"close":true}"#);
    assert_eq!(disconnect, Call::Disconnect { affected, close: true });
    let sockets = call(r#"{"uid":"o","requestId":"q","type":0,"rooms":["a"]}"#);
    assert_eq!(sockets, Call::Sockets { rooms: names(&["a"]) });
    assert_eq!(call(r#"{"uid":"o","requestId":"q","type":1}"#), Call::AllRooms);
    let fetch = call(r#"{"uid":"o","requestId":"q","type":5,"opts":{"rooms":[],"except":["a"]}}"#);
    assert_eq!(fetch, Call::Fetch(selection_of(&[], &["a"])));
    assert_eq!(call(r#"{"type":9,"x":[[]]}"#), Call::Unknown(9));
}

#[test]
fn an_event_for_servers_keeps_its_text() {
    let request = decode(br#"{"uid":"emitter","type":6,"data":["hi", {"n":1.0}]}"#).unwrap();
    assert_eq!((request.uid.as_deref(), request.id), (Some("emitter"), None));
    let args = r#"["hi", {"n":1.0}]"#.to_owned();
    assert_eq!(request.call, Call::ServerSideEmit { args });
    let deep = format!("[\"e\",{}{}]", "[".repeat(100_000), "]".repeat(100_000));
    let expected = Call::ServerSideEmit { args: deep.clone() };
    assert_eq!(call(&format!(r#"{{"type":6,"data":{deep},"x":{deep}}}"#)), expected);
}

#[test]
fn older_forms_name_a_socket_and_want_a_confirmation() {
    let affected = || Affected::Socket("s1".into());
    let request = decode(br#"{"requestId":"q1","type":2,"sid":"s1","room":"z"}"#).unwrap();
    assert_eq!((request.uid, request.id.as_deref()), (None, Some("q1")));
    let rooms = names(&["z"]);
    assert_eq!(
        request.call,
        Call::Join {
            affected: affected(),
            rooms
        }
    );
    let rooms = names(&["5"]);
    assert_eq!(
        call(r#"{"type":3,"sid":"s1","room":5}"#),
        Call::Leave {
            affected: affected(),
            rooms
        }
    );
    let disconnect = call(r#"{"type":4,"sid":"s1"}"#);
    assert_eq!(
        disconnect,
        Call::Disconnect {
            affected: affected(),
            close: false
        }
    );
}

#[test]
fn requests_may_be_message_pack() {
    let pack = |json: &str| {
        let mut out = Vec::new();
        from_json(json, &[], &mut out).unwrap();
        out
    };
    for json in [
        r#"{"uid":"o","requestId":"q","type":5,"opts":{"rooms":[],"except":["a"]}}"#,
        r#"{"uid":"o","type":6,"data":["e",[1,{"a":null}]]}"#,
        r#"{"uid":"o","requestId":"q","type":7,"packet":{"data":["e"]},"opts":{"rooms":["r"],"except":[]}}"#,
    ] {
        assert_eq!(decode(&pack(json)), decode(json.as_bytes()), "{json}");
    }
}

#[test]
fn what_is_no_request_is_an_error() {
    for (payload, expected) in [
        ("", Malformed::Truncated),
        ("[]", Malformed::Trailing),
        ("1", Malformed::Type("a message")),
        ("{", Malformed::Json),
        ("{}", Malformed::Json),
        ("{} {}", Malformed::Json),
        (r#"{"type":"1"}"#, Malformed::Json),
        (r#"{"type":1}"#, Malformed::Missing("requestId")),
        (r#"{"type":1,"requestId":7}"#, Malformed::Json),
        (r#"{"type":2,"rooms":["x"]}"#, Malformed::Missing("room")),
        (r#"{"type":2,"room":"x"}"#, Malformed::Missing("opts")),
        (r#"{"type":2,"opts":{"rooms":[]}}"#, Malformed::Missing("rooms")),
        (r#"{"type":2,"opts":{},"rooms":["x"]}"#, Malformed::Json),
        (r#"{"type":4}"#, Malformed::Missing("opts")),
        (r#"{"type":5,"requestId":"q"}"#, Malformed::Missing("opts")),
        (r#"{"type":6}"#, Malformed::Missing("data")),
        (r#"{"type":6,"data":{}}"#, Malformed::Type("data")),
        (r#"{"type":6,"data":[]}"#, Malformed::Type("the event's name")),
        (
            r#"{"type":7,"requestId":"q","opts":{"rooms":[]}}"#,
            Malformed::Missing("packet"),
        ),
        (
            r#"{"type":7,"requestId":"q","packet":{"data":["e"]}}"#,
            Malformed::Missing("opts"),
        ),
    ] {
        assert_eq!(decode(payload.as_bytes()), Err(expected), "{payload}");
    }
    assert_eq!(decode(b"{\"type\":1,\"requestId\":\"\xff\"}"), Err(Malformed::Utf8));
    // Bytes where only JSON is known.
    assert_eq!(
        decode(b"\x82\xa4type\x06\xa4data\x92\xa1e\xc4\x00"),
        Err(Malformed::TooManyAttachments)
    );
}

#[test]
fn only_a_list_of_arguments_leaves() {
    for args in ["{}", "1", "[1", "", "[] []"] {
        assert_eq!(server_side_emit("u", None, args), Err(Unfit::NotJson), "{args}");
    }
}
