//! MessagePack, and the messages of `@socket.io/redis-adapter`.

use bytes::Bytes;
use serde_json::Value;

use crate::{
    adapter::{
        broadcast::{self, Decoded, Flags, Mark, Outgoing},
        msgpack::{Malformed, Reader, Unfit, from_json},
        request, response,
    },
    wire::json::{is_json, placeholders_fit},
};

const PLACEHOLDER: &str = "placeholder";

/// MessagePack becomes JSON text that is some bytes longer at most, and passing over it reads as much; JSON text comes back
/// from MessagePack with the same value.
pub fn msgpack(data: &[u8]) {
    if let Ok((json, attachments, mut after)) = read(data) {
        assert!(is_json(&json), "no JSON: {json}");
        assert!(
            json.len() <= 7 * data.len() + 512,
            "{} bytes of {}",
            json.len(),
            data.len()
        );
        let mut skipped = Reader::new(data);
        skipped.skip().unwrap();
        assert_eq!(skipped.finish(), after.finish());
        let _ = after.token();
        // Names of placeholders that were not made by the reader would be taken for such.
        if !data
            .windows(PLACEHOLDER.len())
            .any(|window| window == PLACEHOLDER.as_bytes())
        {
            written(&json, &attachments);
        }
    }
    let Ok(json) = std::str::from_utf8(data) else { return };
    written(json, &[]);
    let mut out = vec![1];
    match from_json(json, &[Bytes::from_static(b"a")], &mut out) {
        Ok(()) => assert!(is_json(json)),
        Err(error) => assert!(out == [1] && (error == Unfit::TooDeep) <= (json.len() > 1_000)),
    }
}

fn read(data: &[u8]) -> Result<(String, Vec<Bytes>, Reader<'_>), Malformed> {
    let (mut json, mut attachments) = (String::new(), Vec::new());
    let mut reader = Reader::new(data);
    reader.read_json(&mut json, &mut attachments, 0)?;
    Ok((json, attachments, reader))
}

/// Text that is written is read again.
fn written(json: &str, attachments: &[Bytes]) {
    let mut out = Vec::new();
    match from_json(json, attachments, &mut out) {
        Err(Unfit::NotJson) => assert!(!is_json(json), "not written: {json}"),
        Err(_) => {}
        Ok(()) => {
            let (again, bytes, rest) = read(&out).expect("what is written is read");
            assert_eq!((rest.finish(), &*bytes), (Ok(()), attachments));
            if let (Ok(one), Ok(other)) = (serde_json::from_str(json), serde_json::from_str(&again)) {
                assert!(equal(&one, &other), "{json} became {again}");
            }
            let mut out = Vec::new();
            from_json(&again, attachments, &mut out).unwrap();
            assert_eq!(read(&out).unwrap().0, again);
        }
    }
}

/// Whether two values are the same to JavaScript.
fn equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        // serde_json may be wrong in the last digit of what is written with an exponent.
        (Value::Number(one), Value::Number(other)) => {
            let (one, other) = (one.as_f64().unwrap_or(f64::NAN), other.as_f64().unwrap_or(f64::NAN));
            one == other || (one - other).abs() <= one.abs() * 1e-15
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| equal(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .all(|(key, value)| other.get(key).is_some_and(|other| equal(value, other)))
        }
        _ => one == other,
    }
}

/// What is read of any message holds only events that clients may get, and JSON; a broadcast comes back from what is written
/// of it.
pub fn adapter(data: &[u8]) {
    let peeked = broadcast::peek(data);
    if let Ok(Decoded::Ours(read)) = broadcast::decode(data) {
        assert!(peeked.is_some() && is_json(&read.args));
        rewritten(&read);
    }
    if let Ok(request) = request::decode(data) {
        use request::Call;
        if let Call::ServerSideEmit { args } | Call::Broadcast { args, .. } = &request.call {
            assert!(is_json(args), "no JSON: {args}");
        }
    }
    let _ = response::request_id(data);
    use response::{Asked, Response};
    for asked in [Asked::AllRooms, Asked::Fetch, Asked::ServerSideEmit, Asked::Broadcast] {
        match response::decode(data, asked, 3) {
            Ok(Response::Sockets(sockets)) => {
                assert!(
                    sockets
                        .iter()
                        .all(|socket| is_json(&socket.handshake) && is_json(&socket.data))
                );
            }
            Ok(Response::Answer(Some(json)) | Response::Ack { value: Some(json), .. }) => {
                assert!(is_json(&json), "no JSON: {json}");
            }
            _ => {}
        }
    }
}

fn rewritten(read: &broadcast::Broadcast) {
    if !read.attachments.is_empty() && !placeholders_fit(&read.args, read.attachments.len()) {
        return;
    }
    let rooms: Vec<_> = read.rooms.iter().map(|room| &**room).collect();
    let except: Vec<_> = read.except.iter().map(|room| &**room).collect();
    let outgoing = Outgoing {
        uid: "abc123",
        args: &read.args,
        attachments: &read.attachments,
        rooms: &rooms,
        except: &except,
        flags: Flags {
            volatile: read.volatile,
            timeout: None,
        },
    };
    let mark = Mark {
        kind: 1,
        seq: 7,
        time: 9,
    };
    let Ok(bytes) = outgoing.encode(Some(mark)) else { return };
    assert_eq!(broadcast::peek(&bytes), Some(("abc123", Some(mark))));
    let Ok(Decoded::Ours(again)) = broadcast::decode(&bytes) else {
        // The same bytes may be meant more than once, and then are too many.
        assert!(!read.attachments.is_empty());
        return;
    };
    assert_eq!(
        (again.rooms, again.except, again.volatile),
        (read.rooms.clone(), read.except.clone(), read.volatile)
    );
    if let (Ok(one), Ok(other)) = (serde_json::from_str(&read.args), serde_json::from_str(&again.args))
        && read.attachments.is_empty()
    {
        assert!(equal(&one, &other), "{} became {}", read.args, again.args);
    }
}
