//! Parameters (contracts/prometheus.md 1.2). Times are milliseconds since the epoch, durations nanoseconds.

use super::error::ApiError;
use crate::metrics::promql::{Selector, parse_selector};
use crate::model::time::{MILLI, parse_prometheus_duration};
use crate::web::Params;

const TIME_MIN: &str = "-292273086-05-16T16:47:06Z";
const TIME_MAX: &str = "292277025-08-18T07:12:54.999999999Z";

/// Decimal seconds or RFC 3339.
pub fn parse_time(text: &str) -> Result<i64, String> {
    if let Some(seconds) = text.parse::<f64>().ok().filter(|s| !s.is_nan()) {
        let whole = seconds.trunc();
        let ms = (seconds.fract() * 1000.0).round();
        // Casting saturates, so that times far outside of any data stay outside.
        return Ok((whole as i64).saturating_mul(1000).saturating_add(ms as i64));
    }
    match text {
        TIME_MIN => return Ok(i64::MIN),
        TIME_MAX => return Ok(i64::MAX),
        _ => {}
    }
    let parsed = chrono::DateTime::parse_from_rfc3339(text).map_err(|_| format!("cannot parse {text:?} to a valid timestamp"))?;
    Ok(parsed.timestamp_millis())
}

/// Seconds as a float, or a Prometheus duration.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    let failure = || format!("cannot parse {text:?} to a valid duration");
    if let Some(seconds) = text.parse::<f64>().ok().filter(|s| !s.is_nan()) {
        let nanos = seconds * 1e9;
        if nanos.abs() >= i64::MAX as f64 {
            return Err(format!("{}. It overflows int64", failure()));
        }
        return Ok(nanos as i64);
    }
    parse_prometheus_duration(text).ok_or_else(failure)
}

/// A time that must be given.
pub fn time(params: &Params, name: &str) -> Result<i64, ApiError> {
    parse_time(params.get(name).unwrap_or("")).map_err(|e| ApiError::parameter(name, e))
}

pub fn optional_time(params: &Params, name: &str, default: i64) -> Result<i64, ApiError> {
    match params.non_empty(name) {
        Some(text) => parse_time(text).map_err(|e| ApiError::parameter(name, format!("invalid time value for '{name}': {e}"))),
        None => Ok(default),
    }
}

pub fn optional_duration(params: &Params, name: &str) -> Result<Option<i64>, ApiError> {
    params.non_empty(name).map(parse_duration).transpose().map_err(|e| ApiError::parameter(name, e))
}

/// Milliseconds.
pub fn lookback(params: &Params) -> Result<Option<i64>, ApiError> {
    let parsed = params.non_empty("lookback_delta").map(parse_duration).transpose();
    let parsed = parsed.map_err(|e| ApiError::BadData(format!("error parsing lookback delta duration: {e}")))?;
    Ok(parsed.map(|nanos| nanos / MILLI))
}

/// A whole number; an error says what is wrong with it as Go does.
pub fn integer(text: &str) -> Result<i64, String> {
    text.parse().map_err(|error: std::num::ParseIntError| {
        let out_of_range = matches!(error.kind(), std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow);
        let cause = if out_of_range { "value out of range" } else { "invalid syntax" };
        format!("strconv.Atoi: parsing {text:?}: {cause}")
    })
}

/// A truth value as Go reads it.
pub fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing {text:?}: invalid syntax")),
    }
}

/// 0 is none.
pub fn limit(params: &Params) -> Result<usize, ApiError> {
    let Some(text) = params.non_empty("limit") else { return Ok(0) };
    let limit = integer(text).map_err(|e| ApiError::parameter("limit", e))?;
    usize::try_from(limit).map_err(|_| ApiError::parameter("limit", "limit must be non-negative"))
}

/// The selectors of `match[]`.
pub fn selectors(params: &Params) -> Result<Vec<Selector>, ApiError> {
    let selectors = any_selectors(params)?;
    for selector in &selectors {
        if selector.matchers.iter().all(|m| m.matches_empty()) {
            return Err(ApiError::parameter("match[]", "match[] must contain at least one non-empty matcher"));
        }
    }
    Ok(selectors)
}

/// The selectors of `match[]`, of which one may select everything.
pub fn any_selectors(params: &Params) -> Result<Vec<Selector>, ApiError> {
    let parse = |text: &str| parse_selector(text).map_err(|e| ApiError::parameter("match[]", e.render(text)));
    params.all("match[]").map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(parse_time("1773145500"), Ok(1_773_145_500_000));
        assert_eq!(parse_time("1435781451.7809"), Ok(1_435_781_451_781));
        assert_eq!(parse_time("-0.001"), Ok(-1));
        assert_eq!(parse_time("2026-03-10T12:25:00.5Z"), Ok(1_773_145_500_500));
        assert_eq!(parse_time("1773145500000000"), Ok(1_773_145_500_000_000_000));
        assert_eq!(parse_time("1e300"), Ok(i64::MAX));
        assert_eq!(parse_time(TIME_MAX), Ok(i64::MAX));
        assert_eq!(parse_time("abc"), Err("cannot parse \"abc\" to a valid timestamp".to_owned()));
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration("0.5"), Ok(500 * MILLI));
        assert_eq!(parse_duration("1m30s"), Ok(90_000 * MILLI));
        assert!(parse_duration("1e20").unwrap_err().ends_with("It overflows int64"));
        assert!(parse_duration("x").is_err());
    }
}
