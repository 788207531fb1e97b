//! Names of metrics, and units as words (contracts/prometheus.md 3.3).

use super::TranslationStrategy;

/// What decides about the suffixes `total` and `ratio`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    MonotonicSum,
    Gauge,
    Other,
}

const MAIN_UNITS: [(&str, &str); 26] = [
    ("d", "days"),
    ("h", "hours"),
    ("min", "minutes"),
    ("s", "seconds"),
    ("ms", "milliseconds"),
    ("us", "microseconds"),
    ("ns", "nanoseconds"),
    ("By", "bytes"),
    ("KiBy", "kibibytes"),
    ("MiBy", "mebibytes"),
    ("GiBy", "gibibytes"),
    ("TiBy", "tibibytes"),
    ("KBy", "kilobytes"),
    ("MBy", "megabytes"),
    ("GBy", "gigabytes"),
    ("TBy", "terabytes"),
    ("m", "meters"),
    ("V", "volts"),
    ("A", "amperes"),
    ("J", "joules"),
    ("W", "watts"),
    ("g", "grams"),
    ("Cel", "celsius"),
    ("Hz", "hertz"),
    ("1", ""),
    ("%", "percent"),
];

const PER_UNITS: [(&str, &str); 7] =
    [("s", "second"), ("m", "minute"), ("h", "hour"), ("d", "day"), ("w", "week"), ("mo", "month"), ("y", "year")];

fn mapped<'a>(table: &[(&str, &'a str)], unit: &'a str) -> &'a str {
    table.iter().find(|(short, _)| *short == unit).map_or(unit, |(_, word)| word)
}

/// Main unit and `per_X`, in words; empty where there is none.
fn unit_words(unit: &str) -> (String, String) {
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    let part = |text: &str, table: &'static [(&'static str, &'static str)]| {
        let text = text.trim();
        if text.contains(['{', '}']) { String::new() } else { mapped(table, text).to_owned() }
    };
    let per = part(per, &PER_UNITS);
    (part(main, &MAIN_UNITS), if per.is_empty() { per } else { format!("per_{per}") })
}

/// The unit of the metadata: `seconds`, `bytes_per_second`.
pub(super) fn unit_text(unit: &str) -> String {
    let (main, per) = unit_words(unit);
    match (main.is_empty(), per.is_empty()) {
        (false, false) => format!("{main}_{per}"),
        (true, _) => per,
        (_, true) => main,
    }
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == ':'
}

/// Other characters become `_`, runs of them one, and a leading one vanishes.
fn cleaned(unit: &str) -> String {
    let mut out = String::with_capacity(unit.len());
    for c in unit.chars() {
        if is_name_char(c) {
            out.push(c);
        } else if !out.ends_with('_') {
            out.push('_');
        }
    }
    out.strip_prefix('_').map_or_else(|| out.clone(), str::to_owned)
}

/// The name of the series of a metric. The error says why there is none.
pub(super) fn metric_name(name: &str, unit: &str, shape: Shape, strategy: TranslationStrategy) -> Result<String, String> {
    let built = match strategy {
        TranslationStrategy::UnderscoreEscapingWithSuffixes => escaped_with_suffixes(name, unit, shape),
        TranslationStrategy::UnderscoreEscapingWithoutSuffixes => {
            let tokens: Vec<&str> = name.split(|c: char| !is_name_char(c) && c != '_').filter(|t| !t.is_empty()).collect();
            digit_guarded(tokens.join("_"))
        }
        TranslationStrategy::NoUtf8EscapingWithSuffixes => plain_with_suffixes(name, unit, shape),
        TranslationStrategy::NoTranslation => name.to_owned(),
    };
    if built.is_empty() {
        return Err(format!("normalization for metric {name:?} resulted in empty name"));
    }
    if built.bytes().all(|b| b == b'_') {
        return Err(format!("normalization for metric {name:?} resulted in invalid name {built:?}"));
    }
    Ok(built)
}

fn digit_guarded(name: String) -> String {
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name }
}

fn escaped_with_suffixes(name: &str, unit: &str, shape: Shape) -> String {
    let mut tokens: Vec<String> = name.split(|c| !is_name_char(c)).filter(|t| !t.is_empty()).map(str::to_owned).collect();
    let (main, per) = unit_words(unit);
    let mut main = cleaned(&main);
    let mut per = cleaned(&per);
    if !per.is_empty() {
        per.truncate(per.strip_suffix('_').unwrap_or(&per).len());
        if per == "per" {
            per.clear();
        }
        main.truncate(main.strip_suffix('_').unwrap_or(&main).len());
    }
    for suffix in [main, per] {
        if !suffix.is_empty() && !tokens.contains(&suffix) {
            tokens.push(suffix);
        }
    }
    let mut last = |word: &str| {
        tokens.retain(|t| t != word);
        tokens.push(word.to_owned());
    };
    match shape {
        Shape::MonotonicSum => last("total"),
        Shape::Gauge if unit == "1" => last("ratio"),
        Shape::Gauge | Shape::Other => {}
    }
    digit_guarded(tokens.join("_"))
}

fn plain_with_suffixes(name: &str, unit: &str, shape: Shape) -> String {
    let (main, per) = unit_words(unit);
    let ratio = shape == Shape::Gauge && unit == "1";
    let total = shape == Shape::MonotonicSum;
    let mut out = name.to_owned();
    let mut trim = |wanted: bool, suffix: &str| {
        if wanted && !suffix.is_empty() && out.ends_with(suffix) {
            let mut shorter = out[..out.len() - suffix.len()].to_owned();
            shorter.pop();
            out = shorter;
        }
    };
    trim(ratio, "ratio");
    trim(total, "total");
    trim(true, &per);
    if !main.is_empty() && !out.ends_with(&main) {
        out = format!("{out}_{main}");
    }
    for (wanted, suffix) in [(!per.is_empty(), per.as_str()), (total, "total"), (ratio, "ratio")] {
        if wanted {
            out = format!("{out}_{suffix}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_suffixes() {
        let name = |name, unit, shape| escaped_with_suffixes(name, unit, shape);
        for (metric, unit, shape, want) in [
            ("http.server.duration", "ms", Shape::Other, "http_server_duration_milliseconds"),
            ("system.cpu.utilization", "1", Shape::Gauge, "system_cpu_utilization_ratio"),
            ("a.total.b", "By/s", Shape::MonotonicSum, "a_b_bytes_per_second_total"),
            ("requests", "{request}", Shape::MonotonicSum, "requests_total"),
            ("requests", "{request}/s", Shape::Other, "requests_per_second"),
            ("9.things%", "%", Shape::Gauge, "_9_things_percent"),
            ("__x__y__", "", Shape::Other, "x_y"),
            ("uptime.seconds", "s", Shape::Other, "uptime_seconds"),
            ("revenue", "EUR", Shape::MonotonicSum, "revenue_EUR_total"),
            ("speed", "m/s", Shape::Gauge, "speed_meters_per_second"),
            ("rule:agg", "", Shape::Other, "rule:agg"),
        ] {
            assert_eq!(name(metric, unit, shape), want);
        }
    }

    #[test]
    fn names_of_the_other_strategies() {
        use TranslationStrategy::*;
        let name = |n, u, shape, strategy| metric_name(n, u, shape, strategy).unwrap();
        assert_eq!(name("a.b__c!", "s", Shape::MonotonicSum, UnderscoreEscapingWithoutSuffixes), "a_b__c");
        assert_eq!(name("a.b", "By/s", Shape::MonotonicSum, NoUtf8EscapingWithSuffixes), "a.b_bytes_per_second_total");
        assert_eq!(name("a.b_total", "", Shape::MonotonicSum, NoUtf8EscapingWithSuffixes), "a.b_total");
        assert_eq!(name("a.b", "s", Shape::MonotonicSum, NoTranslation), "a.b");
        assert!(metric_name("...", "", Shape::Other, UnderscoreEscapingWithSuffixes).is_err());
        assert!(metric_name("__", "", Shape::Other, NoTranslation).is_err());
    }

    #[test]
    fn units_as_words() {
        for (unit, want) in
            [("s", "seconds"), ("By/s", "bytes_per_second"), ("1", ""), ("{x}", ""), ("/min", "per_min"), ("kBy", "kBy"), ("foo", "foo")]
        {
            assert_eq!(unit_text(unit), want, "{unit}");
        }
    }
}
