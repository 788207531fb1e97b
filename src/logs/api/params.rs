//! Parameters of Loki's endpoints (contracts/loki.md 1.3).

use super::invalid;
use crate::logs::logql::eval::Direction;
use crate::model::time::{self, MILLI, SECOND};
use crate::query::QueryError;
use crate::web::Params;

/// Nanoseconds: a float in seconds, an integer in seconds (up to ten digits) or nanoseconds, or RFC 3339.
pub fn parse_time(text: &str) -> Option<i64> {
    if text.contains('.')
        && let Ok(seconds) = text.parse::<f64>()
    {
        let ms = (seconds * 1000.0).round();
        return (ms.abs() < 9e12).then_some(ms as i64 * MILLI);
    }
    if let Ok(number) = text.parse::<i64>() {
        return if text.len() <= 10 { number.checked_mul(SECOND) } else { Some(number) };
    }
    time::parse_rfc3339(text)
}

/// `None` if the parameter is absent or empty.
pub fn time_of(params: &Params, name: &str) -> Result<Option<i64>, QueryError> {
    let Some(text) = params.non_empty(name) else { return Ok(None) };
    parse_time(text).map(Some).ok_or_else(|| invalid(format!("could not parse '{name}' parameter: {text:?} is not a time")))
}

/// `start` and `end`, by default the last hour.
pub fn bounds(params: &Params, now: i64) -> Result<(i64, i64), QueryError> {
    let end = time_of(params, "end")?;
    let since = match params.non_empty("since") {
        Some(text) => time::parse_prometheus_duration(text)
            .ok_or_else(|| invalid(format!("could not parse 'since' parameter: not a valid duration string: {text:?}")))?,
        None => 3600 * SECOND,
    };
    let end = end.unwrap_or(now);
    let start = time_of(params, "start")?.unwrap_or_else(|| end.min(now).saturating_sub(since));
    if end < start {
        return Err(invalid("end timestamp must not be before or equal to start time"));
    }
    Ok((start, end))
}

/// Seconds as a float, or a Prometheus duration; nanoseconds at the precision of milliseconds.
fn span(text: &str) -> Result<i64, QueryError> {
    let error = || invalid(format!("cannot parse {text:?} to a valid duration"));
    if let Ok(seconds) = text.parse::<f64>() {
        let ms = seconds * 1000.0;
        return if ms.is_finite() && ms.abs() < 9e12 { Ok(ms as i64 * MILLI) } else { Err(error()) };
    }
    time::parse_prometheus_duration(text).map(|n| n / MILLI * MILLI).ok_or_else(error)
}

/// Points of one series at most.
const POINTS_MAX: i64 = 11_000;

pub fn step(params: &Params, start: i64, end: i64) -> Result<i64, QueryError> {
    let step = match params.non_empty("step") {
        Some(text) => span(text)?,
        None => (end.saturating_sub(start) / SECOND / 250).max(1).saturating_mul(SECOND),
    };
    if step <= 0 {
        return Err(invalid("zero or negative query resolution step widths are not accepted. Try a positive integer"));
    }
    if end.saturating_sub(start) / step > POINTS_MAX {
        return Err(invalid(
            "exceeded maximum resolution of 11,000 points per time series. Try increasing the value of the step parameter",
        ));
    }
    Ok(step)
}

pub fn interval(params: &Params) -> Result<i64, QueryError> {
    let interval = params.non_empty("interval").map_or(Ok(0), span)?;
    if interval < 0 { Err(invalid("interval must be >= 0")) } else { Ok(interval) }
}

pub fn direction(params: &Params) -> Result<Direction, QueryError> {
    match params.non_empty("direction").unwrap_or("backward").to_ascii_lowercase().as_str() {
        "forward" => Ok(Direction::Forward),
        "backward" => Ok(Direction::Backward),
        _ => Err(invalid(format!("invalid direction '{}'", params.get("direction").unwrap_or("")))),
    }
}

/// A positive number, `default` when absent.
pub fn count(params: &Params, name: &str, default: usize) -> Result<usize, QueryError> {
    let Some(text) = params.non_empty(name) else { return Ok(default) };
    match text.parse::<i64>() {
        Ok(n) if n > 0 => Ok(usize::try_from(n).unwrap_or(usize::MAX)),
        Ok(_) => Err(invalid(format!("{name} must be a positive value"))),
        Err(_) => Err(invalid(format!("could not parse '{name}' parameter: {text:?} is not an integer"))),
    }
}

/// The encoding flags, if labels are to be shown by category.
pub fn encoding_flags(params: &Params) -> Option<Vec<String>> {
    let header = params.headers.get("x-loki-response-encoding-flags")?.to_str().ok()?;
    let flags: Vec<String> = header.split(',').map(|f| f.trim().to_owned()).filter(|f| !f.is_empty()).collect();
    flags.iter().any(|f| f == "categorize-labels").then_some(flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_four_forms() {
        assert_eq!(parse_time("4000000000"), Some(4_000_000_000 * SECOND));
        assert_eq!(parse_time("1700000000000"), Some(1_700_000_000_000));
        assert_eq!(parse_time("1700000000.1234"), Some(1_700_000_000_123_000_000));
        assert_eq!(parse_time("1970-01-01T00:00:01.5Z"), Some(1_500_000_000));
        assert_eq!(parse_time("yesterday"), None);
    }

    #[test]
    fn bounds_default_to_the_last_hour() {
        let none = Params::default();
        assert_eq!(bounds(&none, 7200 * SECOND).unwrap(), (3600 * SECOND, 7200 * SECOND));
        let swapped = Params::from_pairs([("start", "20"), ("end", "10")]);
        assert!(bounds(&swapped, 0).is_err());
        let since = Params::from_pairs([("end", "100"), ("since", "1m")]);
        assert_eq!(bounds(&since, 50 * SECOND).unwrap(), (-10 * SECOND, 100 * SECOND));
    }

    #[test]
    fn steps_and_counts() {
        let p = |pairs: &[(&str, &str)]| Params::from_pairs(pairs.iter().copied());
        assert_eq!(step(&p(&[]), 0, 500 * SECOND).unwrap(), 2 * SECOND);
        assert_eq!(step(&p(&[("step", "0.5")]), 0, SECOND).unwrap(), 500 * MILLI);
        assert_eq!(step(&p(&[("step", "1m30s")]), 0, SECOND).unwrap(), 90 * SECOND);
        for bad in ["0", "-1", "x", "1ms"] {
            assert!(step(&p(&[("step", bad)]), 0, 12 * SECOND).is_err(), "{bad}");
        }
        assert!(count(&p(&[("limit", "0")]), "limit", 5).is_err() && count(&p(&[("limit", "x")]), "limit", 5).is_err());
        assert_eq!(direction(&p(&[("direction", "FORWARD")])).unwrap(), Direction::Forward);
        assert!(direction(&p(&[("direction", "up")])).is_err());
    }
}
