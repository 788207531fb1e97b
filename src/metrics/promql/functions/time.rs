//! Parts of a date, in UTC; the value is seconds since the epoch, truncated.

use chrono::{DateTime, Datelike, Timelike, Utc};

/// `None` if `name` is not one of these functions.
pub fn date_part(name: &str) -> Option<fn(f64) -> f64> {
    Some(match name {
        "minute" => |v| part(v, |d| d.minute()),
        "hour" => |v| part(v, |d| d.hour()),
        "day_of_week" => |v| part(v, |d| d.weekday().num_days_from_sunday()),
        "day_of_month" => |v| part(v, |d| d.day()),
        "day_of_year" => |v| part(v, |d| d.ordinal()),
        "days_in_month" => |v| part(v, |d| u32::from(d.num_days_in_month())),
        "month" => |v| part(v, |d| d.month()),
        "year" => |v| date(v).map_or(f64::NAN, |d| f64::from(d.year())),
        _ => return None,
    })
}

fn date(seconds: f64) -> Option<DateTime<Utc>> {
    if seconds.is_nan() { None } else { DateTime::from_timestamp(seconds as i64, 0) }
}

fn part(seconds: f64, take: impl Fn(DateTime<Utc>) -> u32) -> f64 {
    date(seconds).map_or(f64::NAN, |d| f64::from(take(d)))
}
