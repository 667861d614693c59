use super::{
    super::{MAX_DEPTH, from_json, unhex},
    *,
};

fn json_of(bytes: &[u8]) -> Result<(String, Vec<Bytes>), Malformed> {
    let (mut json, mut attachments) = (String::new(), Vec::new());
    let mut reader = Reader::new(bytes);
    reader.read_json(&mut json, &mut attachments, 0)?;
    reader.finish()?;
    Ok((json, attachments))
}

fn json(hex: &str) -> Result<String, Malformed> {
    json_of(&unhex(hex)).map(|(json, _)| json)
}

#[test]
fn scalars_become_json() {
    for (hex, expected) in [
        ("c0", "null"),
        ("c2", "false"),
        ("c3", "true"),
        ("7f", "127"),
        ("e0", "-32"),
        ("ccff", "255"),
        ("cdffff", "65535"),
        ("ceffffffff", "4294967295"),
        ("cfffffffffffffffff", "18446744073709551615"),
        ("d080", "-128"),
        ("d18000", "-32768"),
        ("d280000000", "-2147483648"),
        ("d38000000000000000", "-9223372036854775808"),
        ("ca3fc00000", "1.5"),
        ("cb3ff0000000000000", "1"),
        ("cb8000000000000000", "0"),
        ("cb3fb999999999999a", "0.1"),
        ("cb7e37e43c8800759c", "1e300"),
        ("cb0000000000000001", "5e-324"),
        ("cb7ff0000000000000", "null"),
        ("cbfff0000000000000", "null"),
        ("cb7ff8000000000000", "null"),
        ("a0", "\"\""),
        ("d90161", "\"a\""),
        ("da000161", "\"a\""),
        ("db0000000161", "\"a\""),
        ("d40000", "null"),
        ("90", "[]"),
        ("80", "{}"),
        ("dc000101", "[1]"),
        ("dd0000000101", "[1]"),
        ("de0001a16101", "{\"a\":1}"),
        ("df00000001a16101", "{\"a\":1}"),
    ] {
        assert_eq!(json(hex).as_deref(), Ok(expected), "{hex}");
    }
}

#[test]
fn floats_keep_their_value() {
    for value in [
        0.1,
        -2.5e-7,
        1e15,
        123_456_789.125,
        f64::MAX,
        f64::MIN_POSITIVE,
        9_007_199_254_740_993.0,
        1e-5,
    ] {
        let mut bytes = vec![0xcb];
        bytes.extend(f64::to_be_bytes(value));
        let (json, _) = json_of(&bytes).unwrap();
        assert_eq!(serde_json::from_str::<f64>(&json).unwrap(), value, "{json}");
        assert!(json.len() < 26, "{json}");
    }
}

#[test]
fn dates_become_iso_strings() {
    // As notepack.io 3 writes them, the last two as version 2 did.
    for (hex, expected) in [
        ("d6ff00000000", "\"1970-01-01T00:00:00.000Z\""),
        ("d7ff01ab3f0069449580", "\"2025-12-19T00:00:00.007Z\""),
        ("c70cff3b8b87c0ffffffffffffffff", "\"1969-12-31T23:59:59.999Z\""),
        ("c70cff00000000000007dba8218000", "\"+275760-09-13T00:00:00.000Z\""),
        ("c70cff3b8b87c0fffffff1868b83ff", "\"-000001-12-31T23:59:59.999Z\""),
        ("c70cff0000000000000004a817c800", "\"2603-10-11T11:33:20.000Z\""),
        ("c70cff000000007fffffffffffffff", "null"),
        ("d7000000019b33e7fc07", "\"2025-12-19T00:00:00.007Z\""),
        ("d7008000000000000000", "null"),
    ] {
        assert_eq!(json(hex).as_deref(), Ok(expected), "{hex}");
    }
}

#[test]
fn bytes_become_placeholders() {
    let (json, attachments) = json_of(&unhex("95a162c40301020381a178c40109c50001ffc600000000")).unwrap();
    assert_eq!(
        json,
        r#"["b",{"_placeholder":true,"num":0},{"x":{"_placeholder":true,"num":1}},{"_placeholder":true,"num":2},{"_placeholder":true,"num":3}]"#
    );
    let expected: [&[u8]; 4] = [&[1, 2, 3], &[9], &[255], &[]];
    assert_eq!(attachments, expected);
    // ArrayBuffer of notepack.io 2.
    for old in ["c70200aabb", "c8000200aabb", "c90000000200aabb"] {
        assert_eq!(json_of(&unhex(old)).unwrap().1, [&[0xaa, 0xbb][..]], "{old}");
    }
}

#[test]
fn only_so_many_attachments_are_taken() {
    let list = |count: u8| [vec![0x90 | count], [0xc4, 0].repeat(count.into())].concat();
    assert_eq!(json_of(&list(10)).unwrap().1.len(), MAX_ATTACHMENTS);
    assert_eq!(json_of(&list(11)), Err(Malformed::TooManyAttachments));
}

#[test]
fn undefined_is_null_in_arrays_and_left_out_of_maps() {
    assert_eq!(json("93d4000001d40000").as_deref(), Ok("[null,1,null]"));
    assert_eq!(json("83a161d40000a16201a163d40000").as_deref(), Ok("{\"b\":1}"));
    assert_eq!(json("81a161d40000").as_deref(), Ok("{}"));
    assert_eq!(json("9281a161d4000081a161c0").as_deref(), Ok("[{},{\"a\":null}]"));
}

#[test]
fn keys_are_strings() {
    assert_eq!(
        json("830101ff02a30a2261c3").as_deref(),
        Ok(r#"{"1":1,"-1":2,"\n\"a":true}"#)
    );
    for key in [
        "c0",
        "c3",
        "90",
        "80",
        "cb3ff0000000000000",
        "c40161",
        "d40000",
        "d6ff00000000",
    ] {
        assert_eq!(json(&format!("81{key}01")), Err(Malformed::Type("a key")), "{key}");
    }
}

#[test]
fn strings_are_escaped() {
    let text = "a\"b\\c\n\r\t\u{1}\u{7f}é😀/";
    let mut quoted = String::new();
    push_quoted(&mut quoted, text);
    assert_eq!(quoted, "\"a\\\"b\\\\c\\n\\r\\t\\u0001\u{7f}é😀/\"");
    assert_eq!(serde_json::from_str::<String>(&quoted).unwrap(), text);
}

#[test]
fn bytes_that_are_no_text_are_read_as_node_reads_them() {
    for (hex, expected) in [
        ("a2ff41", "\"\u{fffd}A\""),
        ("a4edb080af", "\"\\udc00\u{fffd}\""),
        ("81a2eda001", "{\"\u{fffd}\u{fffd}\":1}"),
    ] {
        assert_eq!(json(hex).as_deref(), Ok(expected), "{hex}");
    }
}

#[test]
fn what_does_not_decode_is_an_error() {
    for (hex, expected) in [
        ("", Malformed::Truncated),
        ("c1", Malformed::Unknown),
        ("a261", Malformed::Truncated),
        ("92", Malformed::Truncated),
        ("9201", Malformed::Truncated),
        ("81a161", Malformed::Truncated),
        ("cf00000000000000", Malformed::Truncated),
        ("c402aa", Malformed::Truncated),
        ("ddffffffff", Malformed::Truncated),
        ("dfffffffff", Malformed::Truncated),
        ("dbffffffff61", Malformed::Truncated),
        ("c6ffffffff61", Malformed::Truncated),
        ("c9ffffffff0061", Malformed::Truncated),
        ("d40100", Malformed::Unknown),
        ("d5000000", Malformed::Unknown),
        ("d60000000000", Malformed::Unknown),
        ("d7010000000000000000", Malformed::Unknown),
        ("d8ff00000000000000000000000000000000", Malformed::Unknown),
        ("c70101aa", Malformed::Unknown),
        ("c704ff00000000", Malformed::Unknown),
        ("c0c0", Malformed::Trailing),
    ] {
        assert_eq!(json(hex), Err(expected), "{hex}");
    }
}

#[test]
fn deep_nesting_is_refused_and_skipped_without_recursion() {
    for open in [vec![0x91], vec![0x81, 0xa1, b'a']] {
        let nested = |depth: usize| [open.repeat(depth), vec![0xc0]].concat();
        assert!(json_of(&nested(MAX_READ_DEPTH)).is_ok());
        assert_eq!(json_of(&nested(MAX_READ_DEPTH + 1)), Err(Malformed::TooDeep));
        let deep = nested(1_000_000);
        assert_eq!(json_of(&deep), Err(Malformed::TooDeep));
        let mut reader = Reader::new(&deep);
        assert_eq!(reader.skip(), Ok(()));
        assert_eq!(reader.finish(), Ok(()));
    }
}

#[test]
fn a_value_is_skipped_as_a_whole() {
    let bytes = unhex("9293c082a16190a162c40101d7ff01ab3f0069449580a17a");
    let mut reader = Reader::new(&bytes);
    assert_eq!(reader.array("it"), Ok(2));
    reader.skip().unwrap();
    assert_eq!(reader.str("it"), Ok("z"));
    reader.finish().unwrap();
    assert_eq!(Reader::new(&unhex("93c0c0")).skip(), Err(Malformed::Truncated));
    assert_eq!(Reader::new(&unhex("91c1")).skip(), Err(Malformed::Unknown));
    assert_eq!(Reader::new(&unhex("ddffffffff90")).skip(), Err(Malformed::Truncated));
}

#[test]
fn values_are_read_by_their_type() {
    assert_eq!(Reader::new(&[0x05]).uint("it"), Ok(5));
    assert_eq!(Reader::new(&unhex("d105dc")).uint("it"), Ok(1500));
    assert_eq!(Reader::new(&unhex("cb408f400000000000")).uint("it"), Ok(1000));
    for other in [
        "ff",
        "cb3fe0000000000000",
        "cbbff0000000000000",
        "cb7ff8000000000000",
        "a131",
        "c0",
    ] {
        assert_eq!(
            Reader::new(&unhex(other)).uint("it"),
            Err(Malformed::Type("it")),
            "{other}"
        );
    }
    assert_eq!(Reader::new(&[0xc0]).str("it"), Err(Malformed::Type("it")));
    assert_eq!(Reader::new(&[0xc0]).array("it"), Err(Malformed::Type("it")));
    assert_eq!(Reader::new(&[0x90]).map("it"), Err(Malformed::Type("it")));
}

#[test]
fn json_comes_back_as_it_was() {
    let attachments = [Bytes::from_static(b"0"), Bytes::from_static(b"1")];
    let there_and_back = |json: &str| {
        let mut out = Vec::new();
        from_json(json, &attachments, &mut out).unwrap();
        json_of(&out).unwrap()
    };
    let plain = r#"["hello",{"a":[1,-2,0.25,"é\"\n",null,true,{"b":{}}],"":[]},[[[]]],9007199254740992]"#;
    assert_eq!(there_and_back(plain), (plain.to_owned(), Vec::new()));
    // Attachments are numbered anew, in the order of the text.
    let binary = r#"[{"_placeholder":true,"num":1},{"_placeholder":true,"num":0},{"_placeholder":false}]"#;
    let renumbered = r#"[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1},{"_placeholder":false}]"#;
    let [first, second] = attachments.clone();
    assert_eq!(there_and_back(binary), (renumbered.to_owned(), vec![second, first]));
}

#[test]
fn the_deepest_value_that_leaves_can_be_read_within_its_message() {
    let json = format!("{}{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
    let mut out = vec![0x91, 0x81, 0xa1, b'p', 0x81, 0xa1, b'd'];
    from_json(&json, &[], &mut out).unwrap();
    assert!(json_of(&out).is_ok());
}

#[test]
fn a_container_is_no_key_even_of_what_is_left_out() {
    let bytes = unhex("829ad400d9428101e390");
    let read = Reader::new(&bytes).read_json(&mut String::new(), &mut Vec::new(), 0);
    assert_eq!(read, Err(Malformed::Type("a key")));
}
