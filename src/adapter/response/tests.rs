use super::*;
use crate::adapter::msgpack::{hex, unhex};

fn text(payload: Result<Vec<u8>, Unfit>) -> String {
    String::from_utf8(payload.unwrap()).unwrap()
}

fn names(names: &[&str]) -> Vec<Box<str>> {
    names.iter().map(|name| (*name).into()).collect()
}

const SOCKET: LocalSocket<'_> = LocalSocket {
    id: "s1",
    handshake: r#"{"headers":{}}"#,
    rooms: &["s1", "r1"],
    data: r#"{"k":1}"#,
};

#[test]
fn responses_have_the_adapters_text() {
    for (ours, adapters) in [
        (socket_ids("q1", &["s1"]), r#"{"requestId":"q1","sockets":["s1"]}"#),
        (rooms("q1", &["r1", "s1"]), r#"{"requestId":"q1","rooms":["r1","s1"]}"#),
        (confirmation("q1"), r#"{"requestId":"q1"}"#),
        (
            sockets("q1", &[SOCKET]),
            r#"{"requestId":"q1","sockets":[{"id":"s1","handshake":{"headers":{}},"rooms":["s1","r1"],"data":{"k":1}}]}"#,
        ),
        (sockets("q1", &[]), r#"{"requestId":"q1","sockets":[]}"#),
        (
            answer("q1", Some(r#"{"n":1}"#)),
            r#"{"type":6,"requestId":"q1","data":{"n":1}}"#,
        ),
        (answer("q1", None), r#"{"type":6,"requestId":"q1"}"#),
        (client_count("q1", 0), r#"{"type":8,"requestId":"q1","clientCount":0}"#),
    ] {
        assert_eq!(text(ours), adapters);
    }
}

#[test]
fn acknowledgements_have_the_adapters_bytes() {
    let args = r#"[{"ok":true,"b":{"_placeholder":true,"num":0}},"not sent"]"#;
    assert_eq!(
        hex(&ack("abc-_1", args, &[Bytes::from_static(b"hi")]).unwrap()),
        "83a47479706509a9726571756573744964a66162632d5f31a67061636b657482a26f6bc3a162c4026869"
    );
    assert_eq!(
        hex(&ack("abc-_1", "[]", &[]).unwrap()),
        "82a47479706509a9726571756573744964a66162632d5f31"
    );
    for args in ["", "{}", "[", "[x]"] {
        assert_eq!(ack("q", args, &[]), Err(Unfit::NotJson), "{args}");
    }
}

#[test]
fn only_json_leaves() {
    let odd = LocalSocket { data: "{", ..SOCKET };
    assert_eq!(sockets("q", &[odd]), Err(Unfit::NotJson));
    assert_eq!(answer("q", Some("")), Err(Unfit::NotJson));
}

#[test]
fn the_request_is_known_before_the_rest() {
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    let payload = format!(r#"{{"sockets":{deep},"requestId":"q1","type":6}}"#);
    assert_eq!(request_id(payload.as_bytes()).as_deref(), Ok("q1"));
    let ack = ack("abc-_1", "[1]", &[]).unwrap();
    assert_eq!(request_id(&ack).as_deref(), Ok("abc-_1"));
    assert_eq!(request_id(b"{}"), Err(Malformed::Json));
    assert_eq!(request_id(b"\x80"), Err(Malformed::Missing("requestId")));
    assert_eq!(request_id(b""), Err(Malformed::Truncated));
    assert_eq!(request_id(b"\xc0"), Err(Malformed::Type("a message")));
}

#[test]
fn answers_come_back() {
    let back = |payload: Result<Vec<u8>, Unfit>, asked| decode(&payload.unwrap(), asked, 0).unwrap();
    assert_eq!(
        back(rooms("q", &["a", "b"]), Asked::AllRooms),
        Response::Rooms(names(&["a", "b"]))
    );
    let socket = RemoteSocket {
        id: SOCKET.id.into(),
        handshake: SOCKET.handshake.into(),
        rooms: names(SOCKET.rooms),
        data: SOCKET.data.into(),
    };
    assert_eq!(
        back(sockets("q", &[SOCKET]), Asked::Fetch),
        Response::Sockets(vec![socket])
    );
    assert_eq!(
        back(answer("q", Some("null")), Asked::ServerSideEmit),
        Response::Answer(Some("null".to_owned()))
    );
    assert_eq!(back(answer("q", None), Asked::ServerSideEmit), Response::Answer(None));
    assert_eq!(back(client_count("q", 3), Asked::Broadcast), Response::ClientCount(3));
    let attachments = vec![Bytes::from_static(b"hi")];
    let value = r#"{"_placeholder":true,"num":0}"#;
    let acknowledged = back(ack("q", &format!("[{value}]"), &attachments), Asked::Broadcast);
    let value = Some(value.to_owned());
    assert_eq!(acknowledged, Response::Ack { value, attachments });
    for (args, value) in [("[]", None), ("[null]", Some("null".to_owned()))] {
        let expected = Response::Ack {
            value,
            attachments: Vec::new(),
        };
        assert_eq!(back(ack("q", args, &[]), Asked::Broadcast), expected, "{args}");
    }
}

#[test]
fn names_in_answers_may_be_numbers_and_data_may_be_missing() {
    let payload = br#"{"requestId":"q","rooms":[1,"a"]}"#;
    assert_eq!(
        decode(payload, Asked::AllRooms, 0),
        Ok(Response::Rooms(names(&["1", "a"])))
    );
    let payload = br#"{"requestId":"q","sockets":[{"id":"s","handshake":{"a":[1]},"rooms":["s",2]}]}"#;
    let socket = RemoteSocket {
        id: "s".into(),
        handshake: r#"{"a":[1]}"#.into(),
        rooms: names(&["s", "2"]),
        data: "{}".into(),
    };
    assert_eq!(decode(payload, Asked::Fetch, 0), Ok(Response::Sockets(vec![socket])));
}

#[test]
fn what_was_not_asked_for_is_an_error() {
    for (payload, asked, expected) in [
        ("{}", Asked::AllRooms, Malformed::Missing("rooms")),
        ("{}", Asked::Fetch, Malformed::Missing("sockets")),
        (r#"{"sockets":["id"]}"#, Asked::Fetch, Malformed::Json),
        (r#"{"rooms":{}}"#, Asked::AllRooms, Malformed::Json),
        ("{}", Asked::Broadcast, Malformed::Type("the response")),
        (r#"{"type":8}"#, Asked::Broadcast, Malformed::Missing("clientCount")),
        (r#"{"type":8,"clientCount":-1}"#, Asked::Broadcast, Malformed::Json),
        ("", Asked::Broadcast, Malformed::Truncated),
        ("x", Asked::Broadcast, Malformed::Type("a message")),
    ] {
        assert_eq!(decode(payload.as_bytes(), asked, 0), Err(expected), "{payload}");
    }
    let ack = unhex("83a47479706509a9726571756573744964a171a67061636b6574c400");
    assert!(decode(&ack, Asked::Broadcast, 0).is_ok());
    assert_eq!(decode(&ack, Asked::Fetch, 0), Err(Malformed::TooManyAttachments));
}

#[test]
fn placeholders_count_on_from_the_attachments_that_there_are() {
    let payload = ack(
        "q",
        r#"[{"a":{"_placeholder":true,"num":0}}]"#,
        &[Bytes::from_static(b"x")],
    )
    .unwrap();
    let Ok(Response::Ack { value, attachments }) = decode(&payload, Asked::Broadcast, 12) else {
        panic!("no acknowledgement");
    };
    assert_eq!(value.as_deref(), Some(r#"{"a":{"_placeholder":true,"num":12}}"#));
    assert_eq!(attachments, [Bytes::from_static(b"x")]);
}
