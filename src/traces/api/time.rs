//! Time parameters (contracts/tempo.md 1.3 to 1.6).

use super::error::ApiError;
use crate::model::TimeRange;
use crate::model::time::{SECOND, format_go_duration};
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
