//! Values of labels as numbers, durations and sizes, with Go's error texts, which end in `__error_details__`.

use crate::model::time;

/// Go's `strconv.ParseFloat`: decimal and hex forms, `Inf`, `Infinity`, `NaN` in any case.
pub fn parse_float(text: &str) -> Result<f64, String> {
    let invalid = || format!("strconv.ParseFloat: parsing {}: invalid syntax", crate::model::quote::quote(text));
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if let Some(hex) = unsigned.strip_prefix("0x").or_else(|| unsigned.strip_prefix("0X")) {
        let value = parse_hex_float(hex).ok_or_else(invalid)?;
        return Ok(if text.starts_with('-') { -value } else { value });
    }
    text.parse().map_err(|_| invalid())
}

/// `1.8p3`, without the `0x`: the exponent is required.
fn parse_hex_float(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once(['p', 'P'])?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut value = 0f64;
    for c in whole.chars() {
        value = value * 16.0 + f64::from(c.to_digit(16)?);
    }
    let mut scale = 1.0 / 16.0;
    for c in fraction.chars() {
        value += f64::from(c.to_digit(16)?) * scale;
        scale /= 16.0;
    }
    let exponent: i32 = exponent.parse().ok()?;
    Some(value * 2f64.powi(exponent))
}

/// Go's `time.ParseDuration`, in nanoseconds.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    time::parse_go_duration(text).ok_or_else(|| {
        let quoted = crate::model::quote::quote(text);
        let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
        while !rest.is_empty() {
            let number = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
            let unit = rest[number..].find(|c: char| c.is_ascii_digit() || c == '.').map_or(rest.len(), |e| number + e);
            let (count, unit_text) = (&rest[..number], &rest[number..unit]);
            if !count.bytes().any(|b| b.is_ascii_digit()) || count.matches('.').count() > 1 {
                break;
            }
            if unit_text.is_empty() {
                return format!("time: missing unit in duration {quoted}");
            }
            if !matches!(unit_text, "ns" | "us" | "µs" | "μs" | "ms" | "s" | "m" | "h") {
                return format!("time: unknown unit {} in duration {quoted}", crate::model::quote::quote(unit_text));
            }
            rest = &rest[unit..];
        }
        format!("time: invalid duration {quoted}")
    })
}

/// Sizes as people write them: `1.5 MB`, `20KiB`, `1,024`; units in any case, none means bytes, fractions of a byte
/// are dropped.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ',')).unwrap_or(text.len());
    let number = text[..end].replace(',', "");
    let number: f64 = parse_float(&number)?;
    let unit = text[end..].trim().to_ascii_lowercase();
    const POWERS: [&str; 7] = ["", "k", "m", "g", "t", "p", "e"];
    let bare = unit.strip_suffix('b').unwrap_or(&unit);
    let (prefix, base) = bare.strip_suffix('i').map_or((bare, 1000f64), |p| (p, 1024f64));
    let power = POWERS.iter().position(|p| *p == prefix).filter(|p| *p > 0 || !bare.ends_with('i'));
    let Some(power) = power else { return Err(format!("unhandled size name: {unit}")) };
    let size = number * base.powi(power as i32);
    if size >= u64::MAX as f64 { Err(format!("too large: {text}")) } else { Ok(size as u64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_durations_and_sizes() {
        assert_eq!(parse_float("0x1p4"), Ok(16.0));
        assert_eq!(parse_float("1e3"), Ok(1000.0));
        assert!(parse_float("+Inf").unwrap().is_infinite());
        assert_eq!(parse_float("oops").unwrap_err(), r#"strconv.ParseFloat: parsing "oops": invalid syntax"#);
        assert!(parse_float("0x10").is_err() && parse_float("").is_err());
        assert_eq!(parse_duration("1.5s"), Ok(1_500_000_000));
        for (text, why) in [
            ("90", r#"time: missing unit in duration "90""#),
            ("x", r#"time: invalid duration "x""#),
            ("1d", r#"time: unknown unit "d" in duration "1d""#),
            ("", r#"time: invalid duration """#),
        ] {
            assert_eq!(parse_duration(text).unwrap_err(), why);
        }
        for (text, want) in
            [("1KB", 1000), ("1 kib", 1024), ("20.5KB", 20_500), ("1,024", 1024), ("5", 5), ("1.9B", 1), ("5K", 5000), ("2MiB", 2 << 20)]
        {
            assert_eq!(parse_bytes(text), Ok(want), "{text}");
        }
        assert!(parse_bytes("x").is_err() && parse_bytes("1Q").is_err() && parse_bytes("1i").is_err() && parse_bytes("").is_err());
    }
}
