//! Times in Go's layouts, in UTC: `2006-01-02T15:04:05.000Z07:00`.

use super::functions::text_argument;
use super::value::Value;
use crate::model::time::{DAY, MILLI, SECOND};
use chrono::{Datelike, NaiveDate, Timelike};

const MONTHS: [&str; 12] =
    ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// Pieces of a layout; a longer one stands before those that begin like it.
const PIECES: [&str; 29] = [
    "January", "Jan", "Monday", "Mon", "MST", "2006", "Z07:00", "Z0700", "-07:00", "-0700", "-07", "002", "01", "02", "03", "04", "05",
    "06", "_2", "15", "PM", "pm", "1", "2", "3", "4", "5", ".0", ".9",
];

/// The next piece of `layout`, with its whole length, and the text before it.
fn next_piece(layout: &str) -> Option<(&str, &str, &str)> {
    for (at, _) in layout.char_indices() {
        let rest = &layout[at..];
        let Some(piece) = PIECES.iter().find(|p| rest.starts_with(**p)) else { continue };
        let mut length = piece.len();
        if let ".0" | ".9" = *piece {
            let digit = &piece[1..];
            length = 1 + rest[1..].len() - rest[1..].trim_start_matches(digit).len();
            // `.05` is a point and the seconds.
            if rest[length..].starts_with(|c: char| c.is_ascii_digit()) {
                continue;
            }
        }
        return Some((&layout[..at], &rest[..length], &rest[length..]));
    }
    None
}

/// `t` in nanoseconds since the epoch.
pub fn format(layout: &str, t: i64) -> String {
    let Some(date) = chrono::DateTime::from_timestamp(t.div_euclid(SECOND), 0) else { return t.to_string() };
    let nanos = t.rem_euclid(SECOND);
    let mut out = String::new();
    let mut rest = layout;
    while let Some((before, piece, after)) = next_piece(rest) {
        out.push_str(before);
        rest = after;
        let hour12 = match date.hour() % 12 {
            0 => 12,
            hour => hour,
        };
        let text = match piece {
            "January" => MONTHS[date.month0() as usize].to_owned(),
            "Jan" => MONTHS[date.month0() as usize][..3].to_owned(),
            "Monday" => DAYS[date.weekday().num_days_from_sunday() as usize].to_owned(),
            "Mon" => DAYS[date.weekday().num_days_from_sunday() as usize][..3].to_owned(),
            "MST" => "UTC".to_owned(),
            "2006" => format!("{:04}", date.year()),
            "06" => format!("{:02}", date.year().rem_euclid(100)),
            "Z07:00" | "Z0700" => "Z".to_owned(),
            "-07:00" => "+00:00".to_owned(),
            "-0700" => "+0000".to_owned(),
            "-07" => "+00".to_owned(),
            "002" => format!("{:03}", date.ordinal()),
            "01" => format!("{:02}", date.month()),
            "1" => date.month().to_string(),
            "02" => format!("{:02}", date.day()),
            "_2" => format!("{:2}", date.day()),
            "2" => date.day().to_string(),
            "15" => format!("{:02}", date.hour()),
            "03" => format!("{hour12:02}"),
            "3" => hour12.to_string(),
            "04" => format!("{:02}", date.minute()),
            "4" => date.minute().to_string(),
            "05" => format!("{:02}", date.second()),
            "5" => date.second().to_string(),
            "PM" => if date.hour() < 12 { "AM" } else { "PM" }.to_owned(),
            "pm" => if date.hour() < 12 { "am" } else { "pm" }.to_owned(),
            fraction => {
                let digits = &format!("{nanos:09}")[..(fraction.len() - 1).min(9)];
                if fraction.starts_with(".9") {
                    let digits = digits.trim_end_matches('0');
                    if digits.is_empty() { String::new() } else { format!(".{digits}") }
                } else {
                    format!(".{digits}")
                }
            }
        };
        out.push_str(&text);
    }
    out + rest
}

#[derive(Default)]
struct Parts {
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    nanos: i64,
    offset: i64,
    afternoon: Option<bool>,
}

/// Nanoseconds since the epoch. `None` if `text` is not in the layout.
fn parse(layout: &str, text: &str) -> Option<i64> {
    let mut parts = Parts { year: 1, month: 1, day: 1, ..Parts::default() };
    let (mut layout, mut text) = (layout, text);
    while let Some((before, piece, after)) = next_piece(layout) {
        text = text.strip_prefix(before)?;
        text = parts.take(piece, text)?;
        layout = after;
        // A fraction may follow the seconds even if the layout has none.
        if matches!(piece, "05" | "5") && !layout.starts_with('.') {
            text = parts.fraction(text)?;
        }
    }
    if text != layout {
        return None;
    }
    if let Some(afternoon) = parts.afternoon {
        parts.hour = parts.hour % 12 + if afternoon { 12 } else { 0 };
    }
    let date = NaiveDate::from_ymd_opt(i32::try_from(parts.year).ok()?, u32::try_from(parts.month).ok()?, u32::try_from(parts.day).ok()?)?;
    let days = date.signed_duration_since(NaiveDate::from_ymd_opt(1970, 1, 1)?).num_days();
    let seconds = parts.hour * 3600 + parts.minute * 60 + parts.second - parts.offset;
    days.checked_mul(DAY)?.checked_add(seconds.checked_mul(SECOND)?)?.checked_add(parts.nanos)
}

impl Parts {
    fn take<'a>(&mut self, piece: &str, text: &'a str) -> Option<&'a str> {
        let number = |max: usize| {
            let end = text.bytes().take(max).take_while(u8::is_ascii_digit).count();
            Some((text.get(..end)?.parse::<i64>().ok()?, &text[end..]))
        };
        let name = |names: &[&str], length: usize| {
            let at = names.iter().position(|n| {
                let name = &n[..length.min(n.len())];
                text.get(..name.len()).is_some_and(|t| t.eq_ignore_ascii_case(name))
            })?;
            Some((at as i64 + 1, &text[names[at].len().min(length)..]))
        };
        let (value, rest) = match piece {
            "January" => name(&MONTHS, usize::MAX)?,
            "Jan" => name(&MONTHS, 3)?,
            "Monday" => name(&DAYS, usize::MAX)?,
            "Mon" => name(&DAYS, 3)?,
            "2006" => number(4)?,
            "MST" => (0, &text[text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len())..]),
            "PM" | "pm" => (i64::from(text.get(..2)?.eq_ignore_ascii_case("pm")), &text[2..]),
            "Z07:00" | "Z0700" if text.starts_with('Z') => (0, &text[1..]),
            "Z07:00" | "Z0700" | "-07:00" | "-0700" | "-07" => offset(text)?,
            "_2" => {
                let trimmed = text.trim_start_matches(' ');
                let end = trimmed.bytes().take(2).take_while(u8::is_ascii_digit).count();
                (trimmed.get(..end)?.parse().ok()?, &trimmed[end..])
            }
            "002" => number(3)?,
            piece if piece.starts_with('.') => return self.fraction(text),
            _ => number(2)?,
        };
        match piece {
            "2006" => self.year = value,
            "06" => self.year = if value >= 69 { 1900 + value } else { 2000 + value },
            "January" | "Jan" | "01" | "1" => self.month = value,
            "02" | "_2" | "2" => self.day = value,
            "15" | "03" | "3" => self.hour = value,
            "04" | "4" => self.minute = value,
            "05" | "5" => self.second = value,
            "PM" | "pm" => self.afternoon = Some(value == 1),
            "Z07:00" | "Z0700" | "-07:00" | "-0700" | "-07" => self.offset = value,
            _ => {}
        }
        Some(rest)
    }

    fn fraction<'a>(&mut self, text: &'a str) -> Option<&'a str> {
        let Some(digits) = text.strip_prefix('.') else { return Some(text) };
        let end = digits.bytes().take_while(u8::is_ascii_digit).count();
        self.nanos = format!("{:0<9}", &digits[..end.min(9)]).parse().ok()?;
        Some(&digits[end..])
    }
}

/// `+02:00`, `+0200` or `+02`, in seconds.
fn offset(text: &str) -> Option<(i64, &str)> {
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let hours: i64 = text.get(1..3)?.parse().ok()?;
    let rest = &text[3..];
    let minutes = rest.strip_prefix(':').unwrap_or(rest);
    match minutes.get(..2).and_then(|m| m.parse::<i64>().ok()) {
        Some(m) => Some((sign * (hours * 3600 + m * 60), &minutes[2..])),
        None => Some((sign * hours * 3600, rest)),
    }
}

/// The time before everything, which Go's functions give for what they cannot read.
const ZERO: i64 = i64::MIN;

pub fn call(name: &str, arguments: &[Value]) -> Result<Value, String> {
    let time = |at: usize| match arguments.get(at) {
        Some(Value::Time(t)) => Ok(*t),
        Some(other) => Err(format!("wrong type for value; expected time.Time; got {}", other.kind())),
        None => Err("wrong number of args".to_owned()),
    };
    match name {
        "date" => Ok(Value::Text(format(&text_argument(arguments, 0)?, time(1)?))),
        "toDate" => Ok(Value::Time(parse(&text_argument(arguments, 0)?, &text_argument(arguments, 1)?).unwrap_or(ZERO))),
        "toDateInZone" => Ok(Value::Time(parse(&text_argument(arguments, 0)?, &text_argument(arguments, 2)?).unwrap_or(ZERO))),
        "unixEpoch" => Ok(Value::Text(time(0)?.div_euclid(SECOND).to_string())),
        "unixEpochMillis" => Ok(Value::Text(time(0)?.div_euclid(MILLI).to_string())),
        "unixEpochNanos" => Ok(Value::Text(time(0)?.to_string())),
        _ => {
            let text = text_argument(arguments, 0)?;
            let number: i64 = text.parse().map_err(|_| format!("unable to parse time '{text}'"))?;
            let scale = match text.len() {
                5 => DAY,
                10 => SECOND,
                13 => MILLI,
                16 => 1_000,
                19 => 1,
                _ => return Err(format!("unable to parse time '{text}'")),
            };
            number.checked_mul(scale).map(Value::Time).ok_or_else(|| format!("unable to parse time '{text}'"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: i64 = 1_773_144_005_012_000_000;

    #[test]
    fn layouts_are_written_and_read() {
        for (layout, want) in [
            ("2006-01-02T15:04:05.000Z07:00", "2026-03-10T12:00:05.012Z"),
            ("Jan _2 3:04PM 06 -0700 MST", "Mar 10 12:00PM 26 +0000 UTC"),
            ("Monday January 2 2006 .999999999", "Tuesday March 10 2026 .012"),
            ("15h04", "12h00"),
        ] {
            assert_eq!(format(layout, T), want, "{layout}");
        }
        assert_eq!(parse("2006-01-02T15:04:05Z07:00", "2026-03-10T14:00:05.012+02:00"), Some(T));
        assert_eq!(parse("Jan 2 2006 3:04:05 PM", "Mar 10 2026 1:00:05 pm"), Some(T - 12_000_000 + 3600 * SECOND));
        assert_eq!(parse("2006-01-02", "2026-13-01"), None);
        assert_eq!(parse("2006", "é"), None);
    }
}
