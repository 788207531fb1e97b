//! Numbers as text, in the forms that the three APIs use.

/// Shortest decimal that reads back as `v`, never with an exponent: Go's `FormatFloat(v, 'f', -1, 64)`.
pub fn plain_float(v: f64) -> String {
    if v.is_nan() {
        "NaN".into()
    } else if v.is_infinite() {
        if v > 0.0 { "+Inf".into() } else { "-Inf".into() }
    } else {
        format!("{v}")
    }
}

/// Exponent form with at least two exponent digits: Go's `FormatFloat(v, 'e', -1, 64)` for finite `v`.
fn exponent_float(v: f64) -> String {
    let text = format!("{v:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |d| ('-', d));
    format!("{mantissa}e{sign}{digits:0>2}")
}

/// A sample value in Prometheus's JSON: shortest round trip, exponent form iff |v| < 1e-6 or |v| >= 1e21
/// (contracts/prometheus.md 1.4).
pub fn sample_float(v: f64) -> String {
    let abs = v.abs();
    if v.is_finite() && abs != 0.0 && !(1e-6..1e21).contains(&abs) { exponent_float(v) } else { plain_float(v) }
}

/// A double in the JSON form of proto3 and Go's `encoding/json`: as [`sample_float`], but the exponent of a small
/// number has no leading zero, and `NaN`, `Infinity`, `-Infinity` for what is not finite.
pub fn json_float(v: f64) -> String {
    if v.is_nan() {
        return "NaN".into();
    }
    if v.is_infinite() {
        return if v > 0.0 { "Infinity".into() } else { "-Infinity".into() };
    }
    let text = sample_float(v);
    match text.split_once("e-0") {
        Some((mantissa, digit)) => format!("{mantissa}e-{digit}"),
        None => text,
    }
}

/// Go's `FormatFloat(v, 'g', -1, 64)`, which `%g` and `%v` print, and the text formats of Prometheus and OpenMetrics have:
/// exponent form iff the decimal exponent is < -4 or >= 6.
pub fn general_float(v: f64) -> String {
    let abs = v.abs();
    if v.is_finite() && abs != 0.0 && !(1e-4..1e6).contains(&abs) { exponent_float(v) } else { plain_float(v) }
}

/// Whole bytes, or a whole number of B, KB, MB, GB, TB (powers of 1000) or KiB, MiB, GiB, TiB.
pub fn parse_size(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let count: u64 = text[..digits].parse().ok()?;
    let units = [
        ("", 0, 0),
        ("B", 0, 0),
        ("KB", 1, 1000),
        ("MB", 2, 1000),
        ("GB", 3, 1000),
        ("TB", 4, 1000),
        ("KiB", 1, 1024),
        ("MiB", 2, 1024),
        ("GiB", 3, 1024),
        ("TiB", 4, 1024),
    ];
    let (_, power, base) = units.iter().find(|(unit, ..)| *unit == text[digits..].trim_start())?;
    count.checked_mul(u64::pow(*base, *power))
}

/// For people: whole where it is a whole number of a unit, else with one decimal, as in `1.9GiB`.
pub fn format_size(bytes: u64) -> String {
    let units = [("TiB", 1u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.into_iter().find(|(_, size)| bytes >= *size) {
        Some((unit, size)) if bytes.is_multiple_of(size) => format!("{}{unit}", bytes / size),
        Some((unit, size)) => format!("{:.1}{unit}", bytes as f64 / size as f64),
        None => format!("{bytes}B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        assert_eq!(sample_float(1e-7), "1e-07");
        assert_eq!(sample_float(1.5e21), "1.5e+21");
        assert_eq!(sample_float(0.0), "0");
        assert_eq!(sample_float(-0.0), "-0");
        assert_eq!(sample_float(1e20), "100000000000000000000");
        assert_eq!(sample_float(f64::INFINITY), "+Inf");
        assert_eq!(json_float(1e-7), "1e-7");
        assert_eq!(json_float(f64::NAN), "NaN");
        assert_eq!(plain_float(1e-7), "0.0000001");
        assert_eq!(
            [999_999.5, 1e6, -1_234_567.0, 0.0001, 0.00001].map(general_float),
            ["999999.5", "1e+06", "-1.234567e+06", "0.0001", "1e-05"]
        );
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_size("512MiB"), Some(512 << 20));
        assert_eq!(parse_size("1 GB"), Some(1_000_000_000));
        assert_eq!(parse_size("7"), Some(7));
        for size in ["512MiB", "20GiB", "7B", "3TiB"] {
            assert_eq!(format_size(parse_size(size).unwrap()), size);
        }
        assert_eq!((format_size(1_999_999_999).as_str(), format_size(5_000_000).as_str()), ("1.9GiB", "4.8MiB"));
        for bad in ["", "x", "1.5GiB", "1XB", "99999999999TiB"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }
}
