use super::*;
use proptest::prelude::*;
use std::fmt::Write as _;

const BOTH: Histograms = Histograms { native: true, always_classic: false };

/// Everything that is read, a line an item.
fn items(form: Form, body: &[u8]) -> Result<Vec<String>, Malformed> {
    let mut lines = Vec::new();
    read(form, body, BOTH, &mut |item| {
        lines.push(match item {
            Item::Type(name, kind) => format!("type {name} {}", kind.as_str()),
            Item::Help(name, text) => format!("help {name} {text}"),
            Item::Unit(name, unit) => format!("unit {name} {unit}"),
            Item::Point(point) => {
                let labels = Labels::from_pairs(point.series.pairs()?);
                let mut line = match &point.value {
                    Value::Float(value) => format!("{labels} {value:?}"),
                    Value::Histogram(h) => format!("{labels} {h}"),
                };
                if let Some(ts) = point.ts {
                    let _ = write!(line, " @{ts}");
                }
                if point.start != 0 {
                    let _ = write!(line, " since {}", point.start);
                }
                for e in &point.exemplars {
                    let _ = write!(line, " # {} {} {:?}", e.labels, e.value, e.ts);
                }
                line
            }
        });
        Ok::<(), Malformed>(())
    })?;
    Ok(lines)
}

fn read_text(text: &str) -> Vec<String> {
    items(Form::Text, text.as_bytes()).unwrap()
}

fn read_open(text: &str) -> Vec<String> {
    items(Form::OpenMetrics, text.as_bytes()).unwrap()
}

#[test]
fn the_text_format() {
    let text = concat!(
        "# HELP http_requests_total The \\\\ total\\nof \\\"requests\\\".\n",
        "# TYPE http_requests_total counter\n",
        "http_requests_total{method=\"post\",code=\"200\"} 1027 1395066363000\n",
        "http_requests_total{method=\"post\",code=\"400\",}    3\n",
        "\n",
        "# Any other comment\n",
        "#\n",
        "msdos_file_access_time_seconds{path=\"C:\\\\DIR\\\\FILE.TXT\",error=\"Cannot\\nfind \\\"FILE\\\" \\d\"} 1.458255915e9\n",
        "metric_without_timestamp_and_labels 12.47\n",
        "something_weird{problem=\"division by zero\"} +Inf -3982045\n",
        "  spaced { a = \"1\" , b=\"2\" }\tNaN \n",
        "# TYPE h histogram\n",
        "h_bucket{le=\"1\"} 2\n",
        "h_bucket{le=\"1e-3\"} 2\n",
        "h_bucket{le=\"+Inf\"} 3\n",
        "# TYPE \"s.x\" summary\n",
        "{\"s.x\",quantile=\"1\",\"a b\"=\"c\"} 4\n",
        "{\"s.x\"}5\n",
        "last 1",
    );
    let want = [
        "help http_requests_total The \\ total\nof \\\"requests\\\".",
        "type http_requests_total counter",
        r#"{__name__="http_requests_total", code="200", method="post"} 1027.0 @1395066363000"#,
        r#"{__name__="http_requests_total", code="400", method="post"} 3.0"#,
        r#"{__name__="msdos_file_access_time_seconds", error="Cannot\nfind \"FILE\" \\d", path="C:\\DIR\\FILE.TXT"} 1458255915.0"#,
        r#"{__name__="metric_without_timestamp_and_labels"} 12.47"#,
        r#"{__name__="something_weird", problem="division by zero"} inf @-3982045"#,
        r#"{__name__="spaced", a="1", b="2"} NaN"#,
        "type h histogram",
        r#"{__name__="h_bucket", le="1.0"} 2.0"#,
        r#"{__name__="h_bucket", le="0.001"} 2.0"#,
        r#"{__name__="h_bucket", le="+Inf"} 3.0"#,
        "type s.x summary",
        r#"{__name__="s.x", "a b"="c", quantile="1.0"} 4.0"#,
        r#"{__name__="s.x"} 5.0"#,
        r#"{__name__="last"} 1.0"#,
    ];
    assert_eq!(read_text(text), want);
    assert_eq!(read_text(""), Vec::<String>::new());
}

#[test]
fn open_metrics() {
    let text = concat!(
        "# TYPE acme_http_router_request_seconds summary\n",
        "# UNIT acme_http_router_request_seconds seconds\n",
        "# HELP acme_http_router_request_seconds Latency \\\"though\\\" all.\n",
        "acme_http_router_request_seconds_sum{path=\"/api/v1\",method=\"GET\"} 9036.32\n",
        "acme_http_router_request_seconds_count{path=\"/api/v1\",method=\"GET\"} 807283.0 1520879607.789\n",
        "# TYPE foo counter\n",
        "foo_total 17.0 1520879607.789 # {trace_id=\"KOO5S4vxi0o\"} 0.67\n",
        "foo_total{a=\"}\"} 17 # {} 1e2 1520879607.123\n",
        "foo_created 1520872607.123\n",
        "# TYPE build info\n",
        "build_info{version=\"1\"} 1\n",
        "# TYPE state stateset\n",
        "state{state=\"on\"} 0\n",
        "# TYPE {odd} gauge\n",
        "# EOF\n",
    );
    let text = text.replace("{odd}", "\"odd name\"");
    let want = [
        "type acme_http_router_request_seconds summary",
        "unit acme_http_router_request_seconds seconds",
        "help acme_http_router_request_seconds Latency \"though\" all.",
        r#"{__name__="acme_http_router_request_seconds_sum", method="GET", path="/api/v1"} 9036.32"#,
        r#"{__name__="acme_http_router_request_seconds_count", method="GET", path="/api/v1"} 807283.0 @1520879607789"#,
        "type foo counter",
        r#"{__name__="foo_total"} 17.0 @1520879607789 # {trace_id="KOO5S4vxi0o"} 0.67 None"#,
        r#"{__name__="foo_total", a="}"} 17.0 # {} 100 Some(1520879607123)"#,
        r#"{__name__="foo_created"} 1520872607.123"#,
        "type build info",
        r#"{__name__="build_info", version="1"} 1.0"#,
        "type state stateset",
        r#"{__name__="state", state="on"} 0.0"#,
        "type odd name gauge",
    ];
    assert_eq!(read_open(&text), want);
    assert_eq!(read_open("# EOF"), Vec::<String>::new());
}

#[test]
fn what_is_wrong_is_told_with_its_line() {
    for (text, want) in [
        ("a", "line 1: expected a blank and a value, got the end of the line"),
        ("ok 1\na{b=\"c\"} x\n", "line 2: expected a value, got \"x\""),
        ("a{b=\"c\" 1\n", "line 1: expected }"),
        ("a{b=\"c} 1\n", "line 1: a quote is not closed"),
        ("a{b='c'} 1\n", "expected a label value in quotes"),
        ("a{1b=\"c\"} 1\n", "expected a label name"),
        ("a{b=\"c\",b=\"d\"} 1\n", "label name \"b\" is not unique"),
        ("a{b=\"c\"d=\"e\"} 1\n", "expected , or }"),
        ("{b=\"c\"} 1\n", "a series has no metric name"),
        ("a{\"b\"} 1\n", "label name \"__name__\" is not unique"),
        ("1a 1\n", "a metric's name begins with a digit"),
        ("a 1 1.5\n", "expected a timestamp in milliseconds"),
        ("a 1 1 1\n", "expected the end of the line"),
        ("a 0x1p3\n", "expected a value"),
        ("a 1_000\n", "expected a value"),
        ("a 1\r\n", "expected a value"),
        ("# TYPE a info\n", "line 1: expected a metric type, got \"info\""),
        ("# TYPE a\n", "expected a metric type"),
        ("# TYPE 1a gauge\n", "expected a metric name"),
        ("ü 1\n", "expected a metric"),
    ] {
        let error = items(Form::Text, text.as_bytes()).unwrap_err().0;
        assert!(error.contains(want), "{text:?}: {error}");
    }
    for (text, want) in [
        ("a 1\n", "data does not end with # EOF"),
        ("a 1\n# EOF\na 1\n", "line 3: expected nothing after # EOF, got \"a 1\""),
        ("\n# EOF\n", "expected a metric"),
        ("# a comment\n# EOF\n", "expected # TYPE, # HELP, # UNIT or # EOF"),
        ("a  1\n# EOF\n", "expected a value"),
        ("a 1", "expected the end of the line"),
        ("a 1 x\n# EOF\n", "expected a timestamp in seconds"),
        ("a 1 Inf\n# EOF\n", "expected a timestamp in seconds"),
        ("a 1 # {b=\"c\"}\n# EOF\n", "the value of an exemplar"),
        ("a 1 # b\n# EOF\n", "expected the end of the line"),
        ("# UNIT a_seconds bytes\n# EOF\n", "expected a unit that is a suffix of \"a_seconds\""),
        ("# UNIT aseconds seconds\n# EOF\n", "expected a unit"),
        ("# TYPE a untyped\n# EOF\n", "expected a metric type"),
    ] {
        let error = items(Form::OpenMetrics, text.as_bytes()).unwrap_err().0;
        assert!(error.contains(want), "{text:?}: {error}");
    }
    assert_eq!(items(Form::Text, b"a{b=\"\xff\"} 1\n").unwrap_err().0, "the exposition is not UTF-8");
    let many: String = (0..1_100).map(|n| format!("l{n}=\"\",")).collect();
    assert!(items(Form::Text, format!("a{{{many}}} 1\n").as_bytes()).unwrap_err().0.contains("more than 1000 labels"));
}

#[test]
fn content_is_negotiated_as_prometheus_does() {
    assert_eq!(
        accept(&Protocol::ALL[1..], "allow-utf-8"),
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,\
         text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
    );
    assert!(accept(&Protocol::ALL, "underscores").starts_with(
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,application/openmetrics-text;"
    ));
    for (content_type, want) in [
        ("text/plain", Some(Form::Text)),
        ("text/plain; version=0.0.4; charset=utf-8", Some(Form::Text)),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", Some(Form::OpenMetrics)),
        ("application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited", Some(Form::Protobuf)),
        ("application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=text", None),
        ("text/html", None),
        ("", None),
    ] {
        assert_eq!(form(Some(content_type), None).ok(), want, "{content_type}");
        assert_eq!(form(Some(content_type), Some(Protocol::Text0)).unwrap(), want.unwrap_or(Form::Text), "{content_type}");
    }
    assert!(form(None, None).unwrap_err().contains("blank Content-Type"));
}

/// Writes messages of protobuf.
#[derive(Default, Clone)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn raw(mut self, mut number: u64) -> Bytes {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
        self
    }

    fn varint(self, field: u64, number: u64) -> Bytes {
        self.raw(field << 3).raw(number)
    }

    fn double(mut self, field: u8, number: f64) -> Bytes {
        self.0.push(field << 3 | 1);
        self.0.extend(number.to_bits().to_le_bytes());
        self
    }

    fn message(self, field: u64, inner: &Bytes) -> Bytes {
        let mut out = self.raw(field << 3 | 2).raw(inner.0.len() as u64);
        out.0.extend(&inner.0);
        out
    }

    fn text(self, field: u64, text: &str) -> Bytes {
        self.message(field, &Bytes(text.into()))
    }

    fn label(self, name: &str, value: &str) -> Bytes {
        self.message(1, &Bytes::default().text(1, name).text(2, value))
    }

    /// After its length, as a family stands in a body.
    fn delimited(self) -> Vec<u8> {
        let mut out = Bytes::default().raw(self.0.len() as u64).0;
        out.extend(self.0);
        out
    }
}

fn zigzag(n: i64) -> u64 {
    (n << 1 ^ n >> 63).cast_unsigned()
}

#[test]
fn protobuf() {
    let time = |seconds| Bytes::default().varint(1, seconds);
    let exemplar = Bytes::default().label("trace_id", "x").double(2, 0.5).message(3, &time(9));
    let counter = Bytes::default().double(1, 3.0).message(2, &exemplar).message(3, &time(5));
    let counters = Bytes::default()
        .text(1, "c_total")
        .text(2, "help")
        .message(4, &Bytes::default().label("a", "b").message(3, &counter).varint(6, 7_000));
    let summary = Bytes::default().varint(1, 4).double(2, 2.5).message(3, &Bytes::default().double(1, 0.5).double(2, 1.5));
    let summaries = Bytes::default().text(1, "s").varint(3, 2).message(4, &Bytes::default().message(4, &summary));
    let bucket = |bound, count| Bytes::default().varint(1, count).double(2, bound);
    let classic = Bytes::default().varint(1, 5).double(2, 6.5).message(3, &bucket(1.0, 2)).message(3, &bucket(2.5, 4));
    let span = Bytes::default().varint(1, zigzag(1)).varint(2, 2);
    let native = classic
        .clone()
        .varint(5, zigzag(0))
        .double(6, 0.001)
        .varint(7, 1)
        .message(12, &span)
        .varint(13, zigzag(3))
        .varint(13, zigzag(-2))
        .message(16, &exemplar)
        .message(15, &time(2));
    let of = |h: &Bytes| Bytes::default().text(1, "h").varint(3, 4).text(5, "s").message(4, &Bytes::default().message(7, h));
    let body = [counters.delimited(), summaries.delimited(), of(&classic).delimited(), of(&native).delimited()].concat();
    let want = [
        "type c_total counter",
        "help c_total help",
        r#"{__name__="c_total", a="b"} 3.0 @7000 since 5000 # {trace_id="x"} 0.5 Some(9000)"#,
        "type s summary",
        "help s ",
        r#"{__name__="s_count"} 4.0"#,
        r#"{__name__="s_sum"} 2.5"#,
        r#"{__name__="s", quantile="0.5"} 1.5"#,
        "type h histogram",
        "help h ",
        "unit h s",
        r#"{__name__="h_count"} 5.0"#,
        r#"{__name__="h_sum"} 6.5"#,
        r#"{__name__="h_bucket", le="1.0"} 2.0"#,
        r#"{__name__="h_bucket", le="2.5"} 4.0"#,
        r#"{__name__="h_bucket", le="+Inf"} 5.0"#,
        "type h histogram",
        "help h ",
        "unit h s",
        r#"{__name__="h"} {count:5, sum:6.5, [-0.001,0.001]:1, (1,2]:3, (2,4]:1} since 2000 # {trace_id="x"} 0.5 Some(9000)"#,
    ];
    assert_eq!(items(Form::Protobuf, &body).unwrap(), want);
    let bad = Bytes::default().text(1, "h").varint(3, 4).message(4, &Bytes::default().message(7, &native.clone().varint(1, 9)));
    assert!(items(Form::Protobuf, &bad.delimited()).is_ok(), "the first count stands");
    assert!(items(Form::Protobuf, &Bytes::default().varint(3, 1).delimited()).unwrap_err().0.contains("no name"));
    assert!(items(Form::Protobuf, &[9, 1]).unwrap_err().0.contains("it ends within a field"));
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

proptest! {
    #[test]
    fn no_body_makes_a_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        for form in [Form::Text, Form::OpenMetrics, Form::Protobuf] {
            let _ = items(form, &body);
        }
    }

    #[test]
    fn no_text_makes_a_panic(text in "([a-c1:_ü]|[ {}=,\"#\\\\\n\t]|NaN|1e9|# TYPE |# HELP |# UNIT |# EOF\n| # \\{){0,40}") {
        for form in [Form::Text, Form::OpenMetrics] {
            let _ = items(form, text.as_bytes());
        }
    }

    #[test]
    fn what_is_written_is_read(
        name in "[a-z_:][a-z0-9_:]{0,8}|[ -~ü\n]{1,8}",
        labels in proptest::collection::btree_map("[a-z][a-z0-9_]{0,5}|[a-z][ -~ü\n]{0,5}", "[ -~ü\n\\\\\"]{1,8}", 0..5),
        value in any::<f64>(),
        ts in proptest::option::of(-1_000_000_000_000i64..4_000_000_000_000),
        open in any::<bool>(),
    ) {
        let mut series = format!("{{\"{}\"", escaped(&name));
        for (name, value) in &labels {
            let _ = write!(series, ",\"{}\"=\"{}\"", escaped(name), escaped(value));
        }
        series.push('}');
        let mut text = format!("{series} {value}");
        if let Some(ts) = ts {
            let whole = ts.div_euclid(1000) * 1000;
            let _ = if open { write!(text, " {}", whole / 1000) } else { write!(text, " {ts}") };
        }
        text.push('\n');
        if open {
            text.push_str("# EOF\n");
        }
        let want = Labels::from_pairs(labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).chain([("__name__", name.as_str())]));
        let mut seen = 0;
        let form = if open { Form::OpenMetrics } else { Form::Text };
        read(form, text.as_bytes(), BOTH, &mut |item| {
            let Item::Point(point) = item else { return Err(Malformed("no point".to_owned())) };
            assert_eq!(Labels::from_pairs(point.series.pairs()?), want);
            let Value::Float(read) = point.value else { return Err(Malformed("no float".to_owned())) };
            assert!(read.to_bits() == value.to_bits() || read.is_nan() && value.is_nan());
            assert_eq!(point.ts, ts.map(|ts| if open { ts.div_euclid(1000) * 1000 } else { ts }));
            seen += 1;
            Ok(())
        })?;
        prop_assert_eq!(seen, 1);
    }
}
