//! Times are nanoseconds since the Unix epoch in an `i64`; ranges are half-open. Durations have two textual forms:
//! Prometheus's (`1h30m`, unsigned, whole units) and Go's (`1.5s`, `-1h0m0s`).

/// Nanoseconds in a millisecond, a second and a UTC day.
pub const MILLI: i64 = 1_000_000;
pub const SECOND: i64 = 1_000_000_000;
pub const MINUTE: i64 = 60 * SECOND;
pub const HOUR: i64 = 60 * MINUTE;
pub const DAY: i64 = 24 * HOUR;

/// `[start, end)` in nanoseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimeRange {
    pub start: i64,
    pub end: i64,
}

impl TimeRange {
    pub const ALL: TimeRange = TimeRange { start: i64::MIN, end: i64::MAX };

    pub const fn new(start: i64, end: i64) -> TimeRange {
        TimeRange { start, end }
    }

    pub const fn contains(&self, t: i64) -> bool {
        self.start <= t && t < self.end
    }

    /// Whether some instant of the closed interval `[min, max]` lies in the range: what block statistics are asked.
    pub const fn overlaps(&self, min: i64, max: i64) -> bool {
        min < self.end && max >= self.start
    }
}

/// The UTC day a time lies in, counted from the epoch.
pub const fn day_of(t: i64) -> i64 {
    t.div_euclid(DAY)
}

const PROMETHEUS_UNITS: [(&str, i64); 7] =
    [("y", 365 * DAY), ("w", 7 * DAY), ("d", DAY), ("h", 3600 * SECOND), ("m", 60 * SECOND), ("s", SECOND), ("ms", MILLI)];

/// `1y2w3d4h5m6s7ms`: each unit at most once, in that order; `0` alone is allowed. `None` if malformed or over 2^63 ns.
pub fn parse_prometheus_duration(text: &str) -> Option<i64> {
    if text == "0" {
        return Some(0);
    }
    let mut rest = text;
    let mut units = PROMETHEUS_UNITS.iter();
    let mut total = 0i64;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let letters = rest[digits..].bytes().take_while(u8::is_ascii_lowercase).count();
        let (count, unit) = (&rest[..digits], &rest[digits..digits + letters]);
        let size = units.by_ref().find(|(name, _)| *name == unit)?.1;
        total = total.checked_add(count.parse::<i64>().ok()?.checked_mul(size)?)?;
        rest = &rest[digits + letters..];
    }
    (!text.is_empty()).then_some(total)
}

/// The canonical Prometheus form: the largest units first, weeks and years only when the whole is a multiple of them,
/// as its `model.Duration` prints. Parts below a millisecond are dropped; `0s` for zero.
pub fn format_prometheus_duration(nanos: i64) -> String {
    let mut ms = nanos / MILLI;
    if ms == 0 {
        return "0s".into();
    }
    let mut out = String::new();
    if ms < 0 {
        out.push('-');
        ms = -ms;
    }
    for (unit, size) in PROMETHEUS_UNITS {
        let size = size / MILLI;
        let exact_only = matches!(unit, "y" | "w");
        if ms >= size && (!exact_only || ms % size == 0) {
            out.push_str(&format!("{}{unit}", ms / size));
            ms %= size;
        }
    }
    out
}

const GO_UNITS: [(&str, f64); 8] =
    [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("μs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];

/// Go's `time.ParseDuration`: a sign, then decimal numbers with units, `1h15m30.918s`; `0` alone is allowed.
/// Fractions of a nanosecond are truncated. `None` if malformed or over 2^63 ns.
pub fn parse_go_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0i64;
    while !rest.is_empty() {
        let number = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        let letters = rest[number..].bytes().take_while(|b| !b.is_ascii_digit() && *b != b'.').count();
        let (count, unit) = (&rest[..number], &rest[number..number + letters]);
        let size = GO_UNITS.iter().find(|(name, _)| *name == unit)?.1;
        let (whole, fraction) = count.split_once('.').unwrap_or((count, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return None;
        }
        if !whole.is_empty() {
            total = total.checked_add(whole.parse::<i64>().ok()?.checked_mul(size as i64)?)?;
        }
        if !fraction.is_empty() {
            // Its digits are a whole number, as in Go, so that nine of a second are exact; further ones than fit do not count.
            let digits = &fraction[..fraction.len().min(18)];
            let part = digits.parse::<u64>().ok()? as f64 * (size / 10f64.powi(digits.len() as i32));
            total = total.checked_add(part as i64)?;
        }
        rest = &rest[number + letters..];
    }
    Some(if negative { -total } else { total })
}

/// Go's `Duration.String`: `1h0m0s`, `1.5s`, `120ms`, `1.024µs`, `0s`.
pub fn format_go_duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let n = nanos.unsigned_abs();
    let decimal = |n: u64, unit: u64| {
        let digits = unit.ilog10() as usize;
        let fraction = format!("{:0digits$}", n % unit);
        let fraction = fraction.trim_end_matches('0');
        if digits == 0 || fraction.is_empty() { format!("{}", n / unit) } else { format!("{}.{fraction}", n / unit) }
    };
    match n {
        0 => "0s".into(),
        1..1_000 => format!("{sign}{n}ns"),
        1_000..1_000_000 => format!("{sign}{}µs", decimal(n, 1_000)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", decimal(n, 1_000_000)),
        _ => {
            let (minutes, rest) = (n / 60_000_000_000, n % 60_000_000_000);
            let seconds = decimal(rest, 1_000_000_000);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{seconds}s"),
                (0, m) => format!("{sign}{m}m{seconds}s"),
                (h, m) => format!("{sign}{h}h{m}m{seconds}s"),
            }
        }
    }
}

/// RFC 3339 with any fraction, as nanoseconds. `None` if malformed or outside the range of an `i64`.
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    chrono::DateTime::parse_from_rfc3339(text).ok()?.timestamp_nanos_opt()
}

/// RFC 3339 in UTC with nanoseconds when there are any: Go's `RFC3339Nano`.
pub fn format_rfc3339(t: i64) -> String {
    let (second, nanos) = (t.div_euclid(SECOND), t.rem_euclid(SECOND));
    let Some(date) = chrono::DateTime::from_timestamp(second, 0) else { return t.to_string() };
    let whole = date.format("%Y-%m-%dT%H:%M:%S");
    let fraction = format!("{nanos:09}");
    match fraction.trim_end_matches('0') {
        "" => format!("{whole}Z"),
        fraction => format!("{whole}.{fraction}Z"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prometheus_durations() {
        assert_eq!(parse_prometheus_duration("1h30m"), Some(5400 * SECOND));
        assert_eq!(parse_prometheus_duration("1d500ms"), Some(DAY + 500 * MILLI));
        for bad in ["", "1", "m", "1m1h", "1h1h", "1.5h", "-1m", "5minutes", "300000y"] {
            assert_eq!(parse_prometheus_duration(bad), None, "{bad}");
        }
        assert_eq!(format_prometheus_duration(5400 * SECOND), "1h30m");
        assert_eq!(format_prometheus_duration(8 * DAY), "8d");
        assert_eq!(format_prometheus_duration(14 * DAY), "2w");
    }

    #[test]
    fn go_durations() {
        assert_eq!(parse_go_duration("1h15m30.918s"), Some(4_530_918 * MILLI));
        assert_eq!(parse_go_duration("15.514989446s"), Some(15_514_989_446));
        assert_eq!(parse_go_duration("0.1000000000000000000000000001ms"), Some(100_000));
        assert_eq!(parse_go_duration("-1.5h"), Some(-5400 * SECOND));
        assert_eq!(parse_go_duration("100µs"), Some(100_000));
        for bad in ["", "-", "1", "1d", "1h-1m", ".s", "1..5s"] {
            assert_eq!(parse_go_duration(bad), None, "{bad}");
        }
        for (n, text) in [
            (3_600 * SECOND, "1h0m0s"),
            (1_500 * MILLI, "1.5s"),
            (1_024, "1.024µs"),
            (0, "0s"),
            (-5, "-5ns"),
            (134_217_728, "134.217728ms"),
        ] {
            assert_eq!(format_go_duration(n), text);
        }
    }

    #[test]
    fn rfc3339() {
        assert_eq!(parse_rfc3339("2026-03-10T12:00:00.5Z"), Some(1_773_144_000_500_000_000));
        assert_eq!(format_rfc3339(1_773_144_000_500_000_000), "2026-03-10T12:00:00.5Z");
        assert_eq!(format_rfc3339(-SECOND), "1969-12-31T23:59:59Z");
    }

    #[test]
    fn ranges_are_half_open() {
        let r = TimeRange::new(10, 20);
        assert!(r.contains(10) && !r.contains(20) && r.overlaps(0, 10) && !r.overlaps(20, 30) && !r.overlaps(0, 9));
    }
}
