use super::*;
use proptest::prelude::*;
use prost::Message as _;

fn json(body: &str) -> Translated {
    translate_json(body.as_bytes(), &Config::default())
}

#[test]
fn a_stream_gets_its_service_name_and_every_entry_a_level() {
    let body =
        r#"{"streams":[{"stream":{"app":"x","empty":""},"values":[["5","level=warn a",{"trace.id":"ab","n":""}],["6","b"]]}],"extra":1}"#;
    let (rows, refusals) = json(body).unwrap();
    assert!(refusals.is_empty());
    let (labels, entries) = rows.shown().remove(0);
    assert_eq!(labels, r#"{app="x", service_name="x"}"#);
    assert_eq!(entries[0].3, ["trace_id=ab", "n=", "detected_level=warn"]);
    assert_eq!((entries[1].0, entries[1].1), (1, 6));
}

#[test]
fn a_body_with_wrong_types_is_refused_whole() {
    for bad in [
        r#"{"streams":[{"stream":{"a":"b"},"values":[[5,"x"]]}]}"#,
        r#"{"streams":[{"stream":{"a":"b"},"values":[["5","x",{"k":1}]]}]}"#,
        r#"{"streams":[{"stream":{"a":1},"values":[]}]}"#,
        r#"{"streams":[{"stream":{"a":"b"},"values":[["5"]]}]}"#,
        r#"{"streams":[{"stream":{"a":"b"},"values":[["x","y"]]}]}"#,
        "[",
    ] {
        assert!(json(bad).is_err(), "{bad}");
    }
    assert_eq!(json(r#"{"streams":[]}"#).unwrap_err().message, NO_STREAMS);
    assert!(json(r#"{"streams":[{"stream":{"a":"b"},"values":null}]}"#).unwrap().0.streams().is_empty());
}

#[test]
fn bad_streams_do_not_spoil_good_ones() {
    let body = r#"{"streams":[{"stream":{},"values":[["1","x"],["2","y"]]},{"stream":{"a-b":"c"},"values":[["1","x"]]},
        {"stream":{"a":"b"},"values":[["1","x",{"__":"v"}],["2","ok"]]}]}"#;
    let (rows, refusals) = json(body).unwrap();
    assert_eq!(refusals.indexes(), [0, 1, 2, 3]);
    assert!(refusals.message().starts_with("error at least one label pair is required per stream"));
    let shown = rows.shown();
    assert_eq!((shown.len(), shown[0].1[0].0), (1, 4));
}

#[test]
fn protobuf_says_the_same_as_json() {
    let request = reference::PushRequest {
        streams: vec![reference::Stream {
            labels: r#"{app="x", b="q\"q"}"#.into(),
            entries: vec![reference::PushedEntry {
                timestamp: Some(reference::Timestamp { seconds: 1, nanos: 5 }),
                line: "hello".into(),
                structured_metadata: vec![reference::LabelPair { name: "k.1".into(), value: "v".into() }],
            }],
        }],
    };
    let body = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap();
    let from_protobuf = translate_protobuf(&body, 1 << 20, &Config::default(), &KnownGroups::default()).unwrap();
    let from_json = json(r#"{"streams":[{"stream":{"app":"x","b":"q\"q"},"values":[["1000000005","hello",{"k.1":"v"}]]}]}"#).unwrap();
    assert_eq!(from_protobuf.0.shown(), from_json.0.shown());
    assert_eq!(
        translate_protobuf(&body, 8, &Config::default(), &KnownGroups::default()).unwrap_err().kind,
        crate::model::FailureKind::TooLarge
    );
}

#[test]
fn label_strings() {
    assert_eq!(parse_labels(r#"{a="1",b=`x`, }"#).unwrap(), [("a".into(), "1".into()), ("b".into(), "x".into())]);
    assert_eq!(parse_labels("{}").unwrap(), []);
    for bad in ["", "{", "{a}", r#"{a="1" b="2"}"#, r#"{a="1",a="2"}"#, r#"{a="1"#, r#"{a="1"} x"#] {
        assert!(parse_labels(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_body_of_very_many_streams_is_refused() {
    let streams = |count: usize| format!(r#"{{"streams":[{}{{}}]}}"#, "{},".repeat(count - 1));
    let error = translate_json(streams(1_000_001).as_bytes(), &Config::default()).unwrap_err();
    assert!(error.message.contains("more than 1000000 streams in one request"), "{}", error.message);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..256)) {
        let _ = translate_json(&body, &Config::default());
        let _ = translate_protobuf(&body, 1 << 16, &Config::default(), &KnownGroups::default());
    }

    #[test]
    fn no_json_makes_it_panic(body in r#"(\{"streams":\[\{"stream":\{"[a-z._]{0,3}":"[a-z]{0,3}"\},"values":\[\["[0-9]{0,20}","[ -!#-\[\]-~]{0,30}"\]\]\}\]\})"#) {
        let _ = json(&body);
    }

    #[test]
    fn no_label_string_makes_it_panic(text in "[{}a=\",\\\\` é]{0,24}") {
        let _ = parse_labels(&text);
    }
}
