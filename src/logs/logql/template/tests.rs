use super::*;
use crate::model::Labels;
use proptest::prelude::*;

const TS: i64 = 1_773_144_005_012_000_000;

fn run(template: &str) -> Result<String, String> {
    let stream = Labels::from_pairs([("a", "x y"), ("n", "12"), ("j", r#"{"k":[1,{"z":"deep"}],"f":1.5}"#)]);
    let labels = LabelSet::of_stream(&stream, None);
    Template::parse(template, "line")?.execute(&Input { labels: &labels, line: "the line", ts: TS, now: TS + 1 }, &mut { STEPS_MAX })
}

#[test]
fn actions() {
    for (template, want) in [
        ("{{.a}}-{{.nosuch}}-", "x y--"),
        ("{{ .n | printf \"%5s|%-4s|\" }}{{ printf \"%d %.2f %q %v\" 7 1.5 \"a\" true }}", "   12|%!s(MISSING)|7 1.50 \"a\" true"),
        ("a {{- /* gone */ -}} b {{- .n -}} c", "ab12c"),
        ("{{if eq .n \"12\"}}yes{{else}}no{{end}}{{if .nosuch}}1{{else if .a}}2{{end}}", "yes2"),
        ("{{with .a}}{{.}}{{end}}{{with .nosuch}}{{.}}{{else}}none{{end}}", "x ynone"),
        ("{{$x := .n}}{{$x = add $x 1}}{{$x}} {{$.a}}", "13 x y"),
        ("{{range $i, $e := (fromJson .j).k}}{{$i}}={{$e}};{{end}}", "0=1;1=map[z:deep];"),
        ("{{define \"t\"}}<{{.}}>{{end}}{{template \"t\" .n}}", "<12>"),
        ("{{ (index (fromJson .j).k 1).z }}{{ (fromJson .j).f }}{{ (fromJson .j).none }}", "deep1.5<no value>"),
        ("{{range 3}}{{if eq . 1}}{{continue}}{{end}}{{.}}{{end}}", "02"),
        ("{{ and .a .nosuch }}{{ or .nosuch .n }}{{ not .nosuch }}", "12true"),
    ] {
        assert_eq!(run(template).as_deref(), Ok(want), "{template}");
    }
}

#[test]
fn functions_over_text() {
    for (template, want) in [
        ("{{ __line__ | len }} {{ __timestamp__ | date \"2006-01-02\" }}", "8 2026-03-10"),
        ("{{ default \"none\" .nosuch }} {{ .a | substr 0 1 | title }} {{ .a | contains \"x\" }}", "none X true"),
        ("{{ Replace .a \"x\" \"z\" -1 }}{{ trimAll \"x\" .a }}{{ .a | replace \" \" \"_\" }}", "z y yx_y"),
        ("{{ trunc -1 .a }}{{ trunc 1 .a }}{{ alignRight 2 .a }}{{ alignLeft 5 .a }}|", "yx yx y  |"),
        ("{{ regexReplaceAll \"(.) (.)\" .a \"${2}${1}\" }}{{ count \"x|y\" .a }}", "yx2"),
        ("{{ b64enc .a }}{{ b64dec \"eCB5\" }}{{ urlencode .a }}{{ urldecode \"%41+b\" }}", "eCB5x yx+yA b"),
        ("{{ .n | int | add 1 2 }} {{ div 7 2 }} {{ mod 7 2 }} {{ mulf 1.5 2 }} {{ round 1.255 1 }} {{ max 1 5 3 }}", "15 3 1 3 1.3 5"),
        ("{{ bytes \"3MB\" }} {{ duration \"1m30s\" }} {{ float64 .n }} {{ add .a 1 }}", "3e+06 90 12 1"),
        ("{{ unixEpoch __timestamp__ }} {{ unixToTime \"1773144005\" | unixEpochMillis }}", "1773144005 1773144005000"),
        ("{{ indent 2 .a }}{{ repeat 2 .n }}{{ slice .a 1 2 }}{{ print 1 2.5 }}", "  x y1212 12.5"),
    ] {
        assert_eq!(run(template).as_deref(), Ok(want), "{template}");
    }
}

#[test]
fn mistakes() {
    for (template, part) in [
        ("{{ nosuch }}", "template: line:1: function \"nosuch\" not defined"),
        ("{{", "unclosed action"),
        ("{{ .a", "unclosed action"),
        ("{{if .a}}", "unexpected EOF"),
        ("{{end}}", "unexpected"),
        ("{{ div 1 0 }}", "divide by zero"),
        ("{{ substr 5 6 .a }}", "out of range"),
        ("{{ repeat 100000000 .a }}", "too long"),
        ("{{ eq 1 \"1\" }}", "incompatible types"),
        ("{{define \"t\"}}{{template \"t\" .}}{{end}}{{template \"t\" .}}", "too deeply"),
    ] {
        let error = run(template).unwrap_err();
        assert!(error.contains(part), "{template}: {error}");
    }
    assert!(run(&"{{if .a}}".repeat(5000)).is_err());
    assert!(run(&format!("{{{{ {}1{} }}}}", "(".repeat(5000), ")".repeat(5000))).is_err());
}

#[test]
fn bombs_end_soon_and_small() {
    let doubled = |text: &str| format!("{{{{$x := \"{}\"}}}}{{{{range 64}}}}{text}{{{{end}}}}{{{{len $x}}}}", "ab".repeat(500));
    let call = r#"{{define "t"}}{{template "u" .}}{{template "u" .}}{{end}}"#;
    let chain: String = (0..30).map(|n| call.replace("\"t\"", &format!("\"{n}\"")).replace("\"u\"", &format!("\"{}\"", n + 1))).collect();
    for (template, part) in [
        ("{{range 100000}}{{range 100000}}{{end}}{{end}}".to_owned(), "too many steps"),
        (format!(r#"{chain}{{{{define "30"}}}}{{{{end}}}}{{{{template "0" .}}}}"#), "too many steps"),
        (doubled("{{$x = print $x $x}}"), "too"),
        (doubled("{{$x = printf \"%s%s\" $x $x}}"), "too"),
        (doubled("{{$x = replace \"a\" $x $x}}"), "too long"),
        (doubled("{{$x = Replace $x \"\" $x -1}}"), "too long"),
        (doubled("{{$x = regexReplaceAll \"(.*)\" $x \"$1$1$1\"}}"), "too"),
        (doubled("{{$x = regexReplaceAllLiteral \"a\" $x $x}}"), "too long"),
        (doubled("{{$x = urlencode (html (printf \"%q%x\" $x $x))}}"), "too"),
        ("{{range 20000}}{{count \"(a|b|[^c]){1,200}\" $.a}}{{end}}".to_owned(), "too many steps"),
        (format!("{{{{printf \"{}\"{}}}}}", "%4000s".repeat(2_000), " .a".repeat(2_000)), "too long"),
        ("{{repeat 4194304 \"x\" | indent 4000000}}{{repeat 4194304 \"x\" | indent 4000000}}".to_owned(), "too"),
    ] {
        let error = run(&template).map(|out| out.len()).unwrap_err();
        assert!(error.contains(part), "{}: {error}", &template[..template.len().min(80)]);
    }
    // Far more than people write takes few steps.
    assert_eq!(run("{{range 1000}}{{if eq . 7}}{{.}}{{end}}{{end}}").as_deref(), Ok("7"));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in r#"(\{\{|\}\}|-|if |else|end|range |with |define |template |\.a|\$x|:=|=|\||\(|\)|"x"|1\.5|printf |index |slice |len |substr |trunc |date |é| |[0-9]){0,24}"#) {
        let _ = run(&text);
    }

    #[test]
    fn no_format_makes_it_panic(format in "[%a-z0-9.*+# -]{0,16}") {
        let _ = printf::format(&format, &[value::Value::Int(-3), value::Value::Float(1.5), value::Value::Text("é".into())]);
    }

    #[test]
    fn no_layout_makes_it_panic(layout in "[JanMo2006150405.0Z:é -]{0,16}", text in "[0-9a-zA-Z:.+é -]{0,16}", t in any::<i64>()) {
        let _ = dates::format(&layout, t);
        let arguments = [value::Value::Text(layout), value::Value::Text(text)];
        let _ = dates::call("toDate", &arguments);
    }
}
