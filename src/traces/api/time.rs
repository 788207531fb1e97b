//! Time parameters (contracts/tempo.md 1.3 to 1.6).

use super::error::ApiError;
use crate::model::TimeRange;
use crate::model::time::{SECOND, format_go_duration, parse_go_duration, parse_prometheus_duration, parse_rfc3339};
use crate::web::Params;

/// What a search without times looks at, nanoseconds.
const SEARCH_DEFAULT: i64 = 15 * 60 * SECOND;

/// The widest range of a search, nanoseconds.
const SEARCH_MAX: i64 = 168 * 3600 * SECOND;

/// Whole seconds since the epoch, below 2^32; absent or empty is `None`.
pub fn seconds(params: &Params, name: &str) -> Result<Option<i64>, ApiError> {
    let Some(text) = params.non_empty(name) else { return Ok(None) };
    let bad = |_| ApiError::bad_request(format!("invalid {name}: cannot parse {text:?} as unix seconds"));
    text.parse::<u32>().map(|s| Some(i64::from(s))).map_err(bad)
}

fn in_order(start: i64, end: i64) -> Result<(), ApiError> {
    if end > start {
        return Ok(());
    }
    Err(ApiError::bad_request(format!("http parameter start must be before end. received start={start} end={end}")))
}

/// A closed range of seconds as a half-open one of nanoseconds.
fn range(start: i64, end: i64) -> TimeRange {
    TimeRange::new(start * SECOND, end * SECOND + 1)
}

/// The blocks to look at for one trace: all, unless both times are given.
pub fn lookup_hint(params: &Params) -> Result<TimeRange, ApiError> {
    match (seconds(params, "start")?, seconds(params, "end")?) {
        (Some(start), Some(end)) => {
            in_order(start, end)?;
            Ok(range(start, end))
        }
        _ => Ok(TimeRange::ALL),
    }
}

/// The range of a search, both ends inclusive; the last 15 minutes if none is given.
pub fn search_range(params: &Params, now: i64) -> Result<TimeRange, ApiError> {
    match (seconds(params, "start")?, seconds(params, "end")?) {
        (None, None) => Ok(TimeRange::new(now.saturating_sub(SEARCH_DEFAULT), now.saturating_add(1))),
        (Some(start), Some(end)) => {
            in_order(start, end)?;
            if (end - start) * SECOND > SEARCH_MAX {
                let max = format_go_duration(SEARCH_MAX);
                let message = format!("range specified by start and end exceeds {max}. received start={start} end={end}");
                return Err(ApiError::bad_request(message));
            }
            Ok(range(start, end))
        }
        _ => Err(ApiError::bad_request("error parsing date range: only one of start and end provided: must provide both or neither")),
    }
}

/// The range of names and values of tags, however wide; that of a search if none is given.
pub fn tags_range(params: &Params, now: i64) -> Result<TimeRange, ApiError> {
    match (seconds(params, "start")?, seconds(params, "end")?) {
        (Some(start), Some(end)) => {
            in_order(start, end)?;
            Ok(range(start, end))
        }
        _ => Ok(TimeRange::new(now.saturating_sub(SEARCH_DEFAULT), now.saturating_add(1))),
    }
}

/// What a metrics query without times looks at, nanoseconds.
const SINCE_DEFAULT: i64 = 3600 * SECOND;

/// Unix seconds of up to ten digits, longer ones nanoseconds; seconds with a fraction; RFC 3339.
fn instant(text: &str) -> Option<i64> {
    if let Some(t) = parse_rfc3339(text) {
        return Some(t);
    }
    match text.parse::<i64>() {
        Ok(seconds) if text.len() <= 10 => seconds.checked_mul(SECOND),
        Ok(nanos) => Some(nanos),
        Err(_) => {
            let seconds = text.parse::<f64>().ok().filter(|s| s.is_finite() && s.abs() < 9e9)?;
            Some((seconds * SECOND as f64).round() as i64)
        }
    }
}

/// The start and end of a metrics query, nanoseconds: `start` and `end`, or `since` before now.
pub fn metrics_range(params: &Params, now: i64) -> Result<(i64, i64), ApiError> {
    let given = |name: &str| match params.non_empty(name) {
        None => Ok(None),
        Some(text) => {
            let bad = || ApiError::bad_request(format!("could not parse '{name}' parameter: cannot parse {text:?} to a valid timestamp"));
            instant(text).map(Some).ok_or_else(bad)
        }
    };
    let since = match params.non_empty("since") {
        None => SINCE_DEFAULT,
        Some(text) => parse_prometheus_duration(text)
            .ok_or_else(|| ApiError::bad_request(format!("could not parse 'since' parameter: not a valid duration string: {text:?}")))?,
    };
    let end = given("end")?.unwrap_or(now);
    let start = given("start")?.unwrap_or_else(|| end.min(now).saturating_sub(since));
    Ok((start, end))
}

/// The step of a range query, nanoseconds; absent or zero is `None`.
pub fn step(params: &Params) -> Result<Option<i64>, ApiError> {
    let Some(text) = params.non_empty("step") else { return Ok(None) };
    let error = |message: String| ApiError::bad_request(format!("could not parse 'step' parameter: {message}"));
    let parsed = match text.parse::<f64>() {
        Ok(seconds) if seconds.abs() < 9e9 => Some((seconds * SECOND as f64) as i64),
        Ok(_) => None,
        Err(_) => parse_prometheus_duration(text).or_else(|| parse_go_duration(text)),
    };
    match parsed {
        None => Err(error(format!("cannot parse {text:?} to a valid duration"))),
        Some(step) if step < 0 => Err(error(format!("cannot parse {text:?}: step must be positive"))),
        Some(0) => Ok(None),
        Some(step) => Ok(Some(step)),
    }
}

/// About 240 intervals, at round distances.
pub fn default_step(range: i64) -> i64 {
    const MINUTE: i64 = 60 * SECOND;
    let base = range / 240;
    if range < MINUTE {
        let unit = 50 * crate::model::time::MILLI;
        return (base / unit * unit).max(unit);
    }
    let units = [3600 * SECOND, 5 * MINUTE, MINUTE, 15 * SECOND, 5 * SECOND, SECOND];
    units.into_iter().find(|unit| base > *unit).map_or(SECOND, |unit| base / unit * unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_steps_are_those_of_the_contract() {
        let hour = 3600;
        for (range, step) in [
            (59_000, 200),
            (60_000, 1_000),
            (300_000, 1_000),
            (900_000, 3_000),
            (1_800_000, 5_000),
            (hour * 1_000, 15_000),
            (3 * hour * 1_000, 45_000),
            (6 * hour * 1_000, 60_000),
            (12 * hour * 1_000, 180_000),
            (24 * hour * 1_000, 300_000),
            (48 * hour * 1_000, 600_000),
            (7 * 24 * hour * 1_000, 2_400_000),
            (14 * 24 * hour * 1_000, 3_600_000),
            (30 * 24 * hour * 1_000, 3 * 3_600_000),
        ] {
            assert_eq!(default_step(range * 1_000_000), step * 1_000_000, "{range} ms");
        }
    }

    #[test]
    fn instants_have_several_forms() {
        let second = 1_773_144_000 * SECOND;
        for text in ["1773144000", "1773144000000000000", "1773144000.0", "2026-03-10T12:00:00Z"] {
            assert_eq!(instant(text), Some(second), "{text}");
        }
        assert_eq!(instant("x"), None);
        assert_eq!(instant("NaN"), None);
    }

    #[test]
    fn steps_have_several_forms() {
        let of = |text: &str| step(&Params::from_pairs([("step", text)])).map_err(|e| e.message);
        assert_eq!(of("15s"), Ok(Some(15 * SECOND)));
        assert_eq!(of("0.5"), Ok(Some(SECOND / 2)));
        assert_eq!(of("1.5s"), Ok(Some(3 * SECOND / 2)));
        assert_eq!(of("0"), Ok(None));
        assert!(of("-1").unwrap_err().ends_with("step must be positive"));
        assert!(of("x").unwrap_err().ends_with("cannot parse \"x\" to a valid duration"));
    }
}
