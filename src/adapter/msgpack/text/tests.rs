use super::{
    super::{Reader, hex},
    *,
};

fn pack(json: &str, attachments: &[Bytes]) -> Result<String, Unfit> {
    let mut out = Vec::new();
    from_json(json, attachments, &mut out).map(|()| hex(&out))
}

#[test]
fn values_are_written_as_notepack_writes_them() {
    let expected = "9e00ff7fcc80d0dfce00010000cf0000000100000000cb3fe0000000000000c3c2c0a8d0bad0bbd18ed18781a161920181\
        a162d92878787878787878787878787878787878787878787878787878787878787878787878787878787878dc0010000000000000\
        00000000000000000000";
    let json = format!(
        r#"[0,-1,127,128,-33,65536,4294967296,0.5,true,false,null,"ключ",{{"a":[1,{{"b":"{}"}}]}},[{}]]"#,
        "x".repeat(40),
        ["0"; 16].join(",")
    );
    assert_eq!(pack(&json, &[]).unwrap(), expected);
}

#[test]
fn white_space_between_tokens_is_no_part_of_them() {
    assert_eq!(pack(" [ 1 ,\t{ \"a\" :\r\n[ ] } ] ", &[]).unwrap(), "920181a16190");
}

#[test]
fn strings_are_unescaped() {
    for (json, expected) in [
        (r#""""#, ""),
        (r#""a\"b\\c\/d\b\f\n\r\t""#, "a\"b\\c/d\u{8}\u{c}\n\r\t"),
        (r#""\u00e9\u20AC\ud83d\ude00""#, "é€😀"),
        (r#""é€😀""#, "é€😀"),
        (r#""\u0000""#, "\0"),
    ] {
        let mut out = Vec::new();
        from_json(json, &[], &mut out).unwrap();
        assert_eq!(Reader::new(&out).str("it"), Ok(expected), "{json}");
    }
}

#[test]
fn what_is_not_json_is_refused_and_leaves_no_trace() {
    for json in [
        "",
        " ",
        "[",
        "]",
        "{",
        "}",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "{1:1}",
        "{\"a\" 1}",
        "{\"a\":1 \"b\":2}",
        "[1}",
        "{\"a\":1]",
        "[]]",
        "[] []",
        "1 2",
        "tru",
        "nul",
        "True",
        "\"",
        "\"a",
        "\"\\\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\\u+123\"",
        "\"\\ué123\"",
        "\"\n\"",
        "01",
        "-",
        "+1",
        "1.",
        ".5",
        "1e",
        "1e+",
        "--1",
        "1-",
        "0x1",
        "NaN",
        "Infinity",
        "\u{feff}1",
        "[\u{a0}1]",
        ":",
        ",",
        "[:]",
        "{,}",
        "é",
    ] {
        let mut out = vec![7];
        assert_eq!(from_json(json, &[], &mut out), Err(Unfit::NotJson), "{json}");
        assert_eq!(out, [7], "{json}");
    }
}

#[test]
fn placeholders_become_their_attachments() {
    let attachments = [Bytes::from_static(b"\x01\x02\x03"), Bytes::from_static(b"\x09")];
    let json = r#"["b",{"_placeholder":true,"num":0},{"x":{"num":1,"_placeholder":true}}]"#;
    assert_eq!(pack(json, &attachments).unwrap(), "93a162c40301020381a178c40109");
    for same in [
        r#"{"_placeholder":true,"num":1}"#,
        r#"{"_\u0070laceholder":true,"num":1.0,"more":[{"a":[]},"x"]}"#,
        r#"{"num":{},"_placeholder":false,"_placeholder":true,"num":1}"#,
    ] {
        assert_eq!(pack(same, &attachments).unwrap(), "c40109", "{same}");
    }
}

#[test]
fn lone_surrogates_come_back_as_they_were() {
    for json in [
        r#""\ud83d""#,
        r#""\udfffx""#,
        r#"["a\ud83d😀",{"\udc00":"\ud800\n"}]"#,
        r#"{"\ud800\ud800":"\ud83dé"}"#,
    ] {
        let mut out = Vec::new();
        from_json(json, &[], &mut out).unwrap();
        let mut back = String::new();
        Reader::new(&out).read_json(&mut back, &mut Vec::new(), 0).unwrap();
        assert_eq!(back, json);
    }
    assert_eq!(pack(r#""\ud83d\ude00""#, &[]), pack("\"😀\"", &[]));
}

#[test]
fn a_placeholder_without_its_attachment_is_null() {
    // What comes here was checked: only what `JSON.parse` drops, or a placeholder hides, is left.
    for num in ["2", "-1", "0.5", "\"0\"", "null", "[0]", "1e999"] {
        let json = format!(r#"{{"a":{{"_placeholder":true,"num":{num}}},"a":1}}"#);
        assert_eq!(
            pack(&json, &[Bytes::new(), Bytes::new()]).unwrap(),
            "82a161c0a16101",
            "{num}"
        );
    }
    let hidden = r#"[{"_placeholder":true,"x":{"_placeholder":true,"num":9},"num":0}]"#;
    assert_eq!(pack(hidden, &[Bytes::new()]).unwrap(), "91c400");
}

#[test]
fn what_only_looks_like_a_placeholder_is_data() {
    let without = pack(r#"{"_placeholder":true,"num":0}"#, &[]).unwrap();
    assert_eq!(without, "82ac5f706c616365686f6c646572c3a36e756d00");
    for json in [
        r#"{"_placeholder":"true","num":0}"#,
        r#"{"_placeholder":[true],"num":0}"#,
        r#"{"_placeholder":true,"_placeholder":1}"#,
    ] {
        assert!(pack(json, &[Bytes::new()]).unwrap().starts_with("82ac5f"), "{json}");
    }
}

#[test]
fn repeated_keys_are_counted_as_often_as_they_are_written() {
    assert_eq!(pack(r#"{"a":1,"a":2}"#, &[]).unwrap(), "82a16101a16102");
}

#[test]
fn lengths_are_told_before_contents() {
    let list = pack(&format!("[[{}]]", vec!["1"; 70_000].join(",")), &[]).unwrap();
    assert!(list.starts_with("91dd00011170") && list.len() == 2 * (6 + 70_000));
    let members: Vec<_> = (0..16).map(|key| format!("\"{key}\":[]")).collect();
    let map = pack(&format!("{{{}}}", members.join(",")), &[]).unwrap();
    assert!(map.starts_with("de0010a13090a13190"));
}

#[test]
fn values_too_deep_for_a_recursive_decoder_are_refused() {
    let nested = |depth: usize, open: &str, close: &str| format!("{}1{}", open.repeat(depth), close.repeat(depth));
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        assert!(pack(&nested(MAX_DEPTH, open, close), &[]).is_ok());
        assert_eq!(pack(&nested(MAX_DEPTH + 1, open, close), &[]), Err(Unfit::TooDeep));
        assert_eq!(pack(&nested(1_000_000, open, close), &[]), Err(Unfit::TooDeep));
    }
}
