use super::*;
use proptest::prelude::*;

/// Labels, time, line and metadata.
type One = (String, i64, String, Vec<String>);

fn json(body: &str) -> Result<(LogRows, Refusals), Failure> {
    translate_json(body.as_bytes(), 77, &Config::default(), &KnownGroups::default())
}

fn one(body: &str) -> One {
    let (rows, refusals) = json(body).unwrap();
    assert!(refusals.is_empty());
    let (labels, mut entries) = rows.shown().remove(0);
    let (_, ts, line, metadata) = entries.remove(0);
    (labels, ts, line, metadata)
}

fn wrap(resource: &str, scope: &str, record: &str) -> String {
    format!(
        r#"{{"resourceLogs":[{{"resource":{{"attributes":[{resource}]}},"scopeLogs":[{{"scope":{{{scope}}},"logRecords":[{{{record}}}]}}]}}]}}"#
    )
}

#[test]
fn a_record_becomes_an_entry_with_metadata_in_loki_order() {
    let body = wrap(
        r#"{"key":"service.name","value":{"stringValue":"s"}},{"key":"k8s.pod.name","value":{"stringValue":"p"}},{"key":"host.name","value":{"stringValue":"h"}}"#,
        r#""name":"lib","version":"1","attributes":[{"key":"sc","value":{"boolValue":true}}]"#,
        r#""timeUnixNano":"5","observedTimeUnixNano":6,"severityNumber":17,"severityText":"ERROR","flags":1,"eventName":"ev",
           "traceId":"BA944992eeddcd8a02bcf5b1a4441acb","spanId":"36c3b864eebc7757","body":{"stringValue":"hello"},
           "attributes":[{"key":"http","value":{"kvlistValue":{"values":[{"key":"status","value":{"intValue":"200"}}]}}},{"key":"event_name","value":{"stringValue":"no"}}]"#,
    );
    let (labels, ts, line, metadata) = one(&body);
    assert_eq!(labels, r#"{k8s_pod_name="p", service_name="s"}"#);
    assert_eq!((ts, line.as_str()), (5, "hello"));
    assert_eq!(
        metadata,
        [
            "http_status=200",
            "observed_timestamp=6",
            "severity_number=17",
            "severity_text=ERROR",
            "flags=1",
            "trace_id=ba944992eeddcd8a02bcf5b1a4441acb",
            "span_id=36c3b864eebc7757",
            "event_name=ev",
            "detected_level=error",
            "host_name=h",
            "sc=true",
            "scope_name=lib",
            "scope_version=1"
        ]
    );
}

#[test]
fn times_fall_back_to_observed_and_receipt_and_names_to_unknown() {
    let (labels, ts, line, metadata) = one(&wrap("", "", r#""observedTimeUnixNano":"9""#));
    assert_eq!((ts, line.as_str(), metadata), (9, "", vec!["detected_level=unknown".to_owned()]));
    assert_eq!(labels, r#"{service_name="unknown_service"}"#);
    let container = r#"{"key":"container.name","value":{"stringValue":"c"}}"#;
    let (labels, ts, ..) = one(&wrap(container, "", ""));
    assert_eq!((labels.as_str(), ts), (r#"{container_name="c", service_name="c"}"#, 77));
}

#[test]
fn bodies_are_rendered_as_text() {
    for (body, line) in [
        (r#"{"intValue":"-3"}"#, "-3"),
        (r#"{"doubleValue":1e-7}"#, "1e-7"),
        (r#"{"bytesValue":"AQI="}"#, "AQI="),
        (r#"{"arrayValue":{"values":[{"stringValue":"<a>"},{"intValue":1}]}}"#, r#"["<a>",1]"#),
        (
            r#"{"kvlistValue":{"values":[{"key":"b","value":{"intValue":1}},{"key":"a","value":{"stringValue":"x"}}]}}"#,
            r#"{"a":"x","b":1}"#,
        ),
        ("{}", ""),
    ] {
        assert_eq!(one(&wrap("", "", &format!(r#""body":{body}"#))).2, line);
    }
}

#[test]
fn json_and_protobuf_agree() {
    let body = wrap(
        r#"{"key":"service.name","value":{"stringValue":"s"}}"#,
        r#""name":"lib""#,
        r#""timeUnixNano":"5","body":{"stringValue":"hello"},"attributes":[{"key":"d","value":{"doubleValue":"NaN"}}]"#,
    );
    let bytes = otlp_json_to_protobuf(Signal::Logs, body.as_bytes()).unwrap();
    let from_bytes = translate_protobuf(&bytes, 77, &Config::default(), &KnownGroups::default()).unwrap().0;
    assert_eq!(from_bytes.shown(), json(&body).unwrap().0.shown());
}

#[test]
fn wrong_types_are_refused() {
    for bad in ["[]", r#"{"resourceLogs":1}"#, r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"traceId":"zz"}]}]}]}"#, "{"] {
        assert!(json(bad).is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..256)) {
        let _ = translate_protobuf(&body, 0, &Config::default(), &KnownGroups::default());
        let _ = translate_json(&body, 0, &Config::default(), &KnownGroups::default());
    }
}

#[test]
fn a_flood_of_attributes_refuses_its_record_only_and_quickly() {
    let members: Vec<String> = (0..5_000).map(|i| format!(r#"{{"key":"m{i}","value":{{"intValue":"1"}}}}"#)).collect();
    let flood = format!(r#"{{"key":"{}","value":{{"kvlistValue":{{"values":[{}]}}}}}}"#, "k".repeat(200_000), members.join(","));
    let many: Vec<String> = (0..2_000).map(|i| format!(r#"{{"key":"a{i}","value":{{"intValue":"1"}}}}"#)).collect();
    let record = |attributes: &str| format!(r#"{{"timeUnixNano":"5","attributes":[{attributes}]}}"#);
    let records = [record(&flood), record(&many.join(",")), record("")].join(",");
    let body = format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{records}]}}]}}]}}"#);
    let (rows, refusals) = json(&body).unwrap();
    assert_eq!(refusals.indexes(), [0, 1]);
    assert_eq!(rows.shown()[0].1.iter().map(|entry| entry.0).collect::<Vec<_>>(), [2]);
}
