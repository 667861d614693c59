//! Odd payloads: what `JSON.parse` takes is taken, to a bound, and in steps that follow the bytes.

use super::*;
use crate::wire::json::steps;

fn nested(levels: usize) -> String {
    format!("{}{}", "[".repeat(levels), "]".repeat(levels))
}

async fn enter(stage: &Stage) {
    stage.service.join(&stage.ann.0, &stage.room).unwrap();
    stage.received(&stage.bob.1).await;
}

fn own_event(stage: &Stage, name: &str) {
    stage.ann.0.set_interest(|interest| {
        interest.names.insert(name.into());
    });
}

#[tokio::test]
async fn lone_surrogates_are_data_like_any_other() {
    let stage = Stage::set(config());
    enter(&stage).await;
    let (ack, error) = stage
        .ask("document:edit", r#"{"\ud800":"\udfff","roomId":"ROOM"}"#)
        .await;
    assert_eq!((&ack["ok"], error), (&json!(true), None));
    let received = stage.received(&stage.bob.1).await;
    assert!(received[0].args().contains(r#""\ud800":"\udfff""#), "{received:?}");
    for (event, payload) in [
        ("message", r#"{"roomId":"ROOM","content":"x","\udc00":1}"#),
        ("typing", r#"{"\udc00":1,"roomId":"ROOM","isTyping":true}"#),
    ] {
        assert_eq!(stage.ask(event, payload).await.0["ok"], true, "{event}");
    }
    stage.received(&stage.bob.1).await;
    let message = format!(
        "[\"message\",{{\"roomId\":\"{}\",\"content\":\"\\ud800\"}}]",
        stage.room.info.id
    );
    stage.send(&message, None).unwrap();
    let received = stage.received(&stage.bob.1).await;
    assert!(received[0].args().contains(r#""content":"\ud800""#), "{received:?}");
    stage.received(&stage.ann.1).await;
    // No room has such an id.
    let id = r#"{"roomId":"\ud800"}"#;
    stage.send(&format!("[\"room:join\",{id}]"), Some(3)).unwrap();
    let received = stage.received(&stage.ann.1).await;
    let error = received
        .iter()
        .find(|packet| packet.args().contains("Failed to join"))
        .unwrap();
    assert!(error.args().contains(r#""code":"ERR_NOT_FOUND""#) && error.args().ends_with(r#""roomId":"\ud800"}]"#));
}

#[tokio::test]
async fn events_are_heard_by_their_name_however_it_is_written() {
    let stage = Stage::set(config());
    own_event(&stage, r"\ud800");
    own_event(&stage, "1000");
    for (args, times) in [
        (r#"["\ud800"]"#, 1),
        (r#"["\uD800"]"#, 2),
        ("[\"\u{fffd}\"]", 2),
        (r#"["\udc00"]"#, 2),
        ("[1e3]", 3),
        ("[1000.0]", 4),
        (r#"["1e3"]"#, 4),
    ] {
        stage.send(args, None).unwrap();
        assert_eq!(stage.told.0.lock().len(), times, "{args}");
    }
}

#[tokio::test]
async fn a_payload_is_refused_beyond_the_depth_and_the_bound_is_named() {
    let stage = Stage::set(config());
    enter(&stage).await;
    own_event(&stage, "own");
    stage.send(&format!("[\"own\",{}]", nested(1_000)), Some(1)).unwrap();
    assert_eq!(stage.told.0.lock().len(), 1);
    for event in ["own", "unheard", "document:edit", "message", "room:join"] {
        let (ack, error) = stage.ask(event, &nested(1_001)).await;
        let error = error.unwrap();
        assert_eq!(
            (&ack["ok"], &ack["error"]["code"]),
            (&json!(false), &json!("ERR_INVALID_ARGUMENT"))
        );
        assert_eq!(
            (&error["event"], &error["code"]),
            (&json!(event), &json!("ERR_INVALID_ARGUMENT"))
        );
        for message in [&ack["error"]["message"], &error["message"]] {
            assert!(
                message.as_str().unwrap().contains("1000 levels (limits.maxDepth)"),
                "{message}"
            );
        }
    }
    assert_eq!(stage.told.0.lock().len(), 1);
    assert!(stage.received(&stage.bob.1).await.is_empty());
    // What is no JSON breaks the protocol at any depth.
    assert_eq!(
        stage.send(&format!("[\"own\",{}", nested(100_000)), None),
        Err(DisconnectReason::ParseError)
    );
}

#[tokio::test]
async fn an_acknowledgement_beyond_the_depth_fails() {
    let stage = Stage::set(config());
    stage.ann.0.await_ack(1);
    let args = format!("[{}]", nested(1_001));
    let packet = ClientPacket {
        args: &args,
        attachments: Vec::new(),
        id: Some(1),
    };
    stage.service.client_ack(&stage.ann.0, packet).unwrap();
    let told = std::mem::take(&mut *stage.told.0.lock());
    assert!(
        matches!(&told[..], [ServiceEvent::AckRefused(_, 1, Error::TooDeep(1_000))]),
        "{told:?}"
    );
    let received = stage.received(&stage.ann.1).await;
    assert!(received[0].args().contains("1000 levels"), "{received:?}");
}

#[tokio::test]
async fn bytes_at_any_depth_have_their_placeholder() {
    let stage = Stage::set(config());
    own_event(&stage, "own");
    let event = |args: String| {
        let packet = ClientPacket {
            args: &args,
            attachments: vec![Bytes::from_static(b"x")],
            id: None,
        };
        stage.service.client_event(&stage.ann.0, packet)
    };
    let around = |inner: &str| {
        format!(
            "[\"own\",\"\\ud800\",{}{inner}{}]",
            "[".repeat(1_000),
            "]".repeat(1_000)
        )
    };
    assert_eq!(event(around(r#"{"_placeholder":true,"num":0}"#)), Ok(()));
    assert_eq!(
        event(around(r#"{"_placeholder":true,"num":1}"#)),
        Err(DisconnectReason::ParseError)
    );
    assert_eq!(stage.told.0.lock().len(), 1);
}

#[tokio::test]
async fn a_stranger_is_turned_away_before_anything_is_made_of_its_payload() {
    let stage = Stage::set(config());
    for event in ["document:edit", "message", "typing"] {
        // A member would be told what is wrong.
        let (ack, _) = stage.ask(event, r#"{"roomId":"ROOM","content":1,"isTyping":1}"#).await;
        assert_eq!(ack["error"]["code"], "ERR_NOT_A_MEMBER", "{event}");
    }
    let keys: String = (0..1_000).map(|key| format!("\"\\u006b{key}\":{key},")).collect();
    let args = format!("[\"document:edit\",{{{keys}\"roomId\":\"{}\"}}]", stage.room.info.id);
    let of_stranger = steps::of(|| stage.send(&args, None).unwrap());
    stage.service.join(&stage.ann.0, &stage.room).unwrap();
    let of_member = steps::of(|| stage.send(&args, None).unwrap());
    assert!(of_stranger < of_member, "the packet was built");
}

#[tokio::test]
async fn every_event_takes_steps_that_follow_its_bytes() {
    let stage = Stage::set(config());
    stage.service.join(&stage.ann.0, &stage.room).unwrap();
    own_event(&stage, "own");
    let keys = |count: usize| (0..count).map(|key| format!("\"k{key}\":0,")).collect::<String>();
    let escaped = |count: usize| (0..count).map(|key| format!("\"\\u006b{key}\":0,")).collect::<String>();
    let same = |count: usize| "\"k\":0,".repeat(count);
    for event in ["document:edit", "message", "typing", "room:join", "room:leave", "own"] {
        for (index, members) in [&keys as &dyn Fn(usize) -> String, &escaped, &same]
            .into_iter()
            .enumerate()
        {
            let steps = |count: usize| {
                let room = &stage.room.info.id;
                let (before, after) = (members(count), members(count));
                let args = format!(
                    "[\"{event}\",{{{before}\"roomId\":\"{room}\",{after}\"content\":\"x\",\"isTyping\":true,\"metadata\":{{}}}}{}]",
                    ",1".repeat(count)
                );
                steps::of(|| stage.send(&args, None).unwrap()) as f64 / args.len() as f64
            };
            let (few, many) = (steps(1_000), steps(10_000));
            assert!(many < 1.5 * few && many < 12.0, "{event} {index}: {few} {many}");
        }
    }
}
