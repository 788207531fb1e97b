//! `detected_level`, which every entry gets at the door (contracts/loki.md 2.4).

use super::json::{Flow, JsonError, Kind, Scalar, Scanner};
use super::logfmt::Logfmt;
use super::schema::SEVERITY_NUMBER;
use crate::model::Labels;

/// Names under which a level is looked for, in this order.
pub const LEVEL_NAMES: [&str; 14] = [
    "level",
    "LEVEL",
    "Level",
    "log.level",
    "severity",
    "SEVERITY",
    "Severity",
    "SeverityText",
    "lvl",
    "LVL",
    "Lvl",
    "severity_text",
    "Severity_Text",
    "SEVERITY_TEXT",
];

pub const DETECTED_LEVEL: &str = "detected_level";
const UNKNOWN: &str = "unknown";

/// One of the seven levels, for the spellings in use.
pub fn known(value: &str) -> Option<&'static str> {
    const SPELLINGS: [(&str, &str); 14] = [
        ("trace", "trace"),
        ("trc", "trace"),
        ("debug", "debug"),
        ("dbg", "debug"),
        ("info", "info"),
        ("inf", "info"),
        ("information", "info"),
        ("warn", "warn"),
        ("wrn", "warn"),
        ("warning", "warn"),
        ("error", "error"),
        ("err", "error"),
        ("critical", "critical"),
        ("fatal", "fatal"),
    ];
    SPELLINGS.iter().find(|(spelling, _)| spelling.eq_ignore_ascii_case(value)).map(|(_, level)| *level)
}

/// Of the names that say a level, how far behind the others one stands.
pub fn rank(name: &str) -> Option<u8> {
    let ranked = LEVEL_NAMES.iter().position(|n| *n == name);
    ranked.or((name == SEVERITY_NUMBER).then_some(LEVEL_NAMES.len())).map(|rank| rank as u8)
}

/// The level that the value of a name of this rank says.
pub fn of_pair(rank: u8, value: &str) -> &str {
    if usize::from(rank) < LEVEL_NAMES.len() {
        return known(value).unwrap_or(value);
    }
    match value.parse::<i64>() {
        Ok(1..=4) => "trace",
        Ok(5..=8) => "debug",
        Ok(9..=12) => "info",
        Ok(13..=16) => "warn",
        Ok(17..=20) => "error",
        Ok(21..=24) => "fatal",
        Ok(_) => UNKNOWN,
        Err(_) => "info",
    }
}

pub fn of_labels(labels: &Labels) -> Option<String> {
    let value = LEVEL_NAMES.iter().find_map(|n| labels.get(n))?;
    Some(known(value).unwrap_or(value).to_owned())
}

/// What the line itself says.
pub fn of_line(line: &str) -> &'static str {
    let trimmed = line.trim_matches([' ', '\t', '\n', '\r']);
    let named = if trimmed.starts_with('{') && trimmed.ends_with('}') {
        json_level(trimmed)
    } else if line.contains('=') {
        logfmt_level(line)
    } else {
        None
    };
    named.or_else(|| scan_words(line)).unwrap_or(UNKNOWN)
}

/// The first string under a level name, at most two objects deep.
fn json_level(line: &str) -> Option<&'static str> {
    fn look(s: &mut Scanner<'_>, depth: usize, found: &mut Option<String>) -> Result<Flow, JsonError> {
        s.object(&mut |s, key| match s.kind()? {
            Kind::Object if depth < 2 => look(s, depth + 1, found),
            Kind::Scalar => match s.scalar()? {
                Scalar::String(value) if LEVEL_NAMES.contains(&key) => {
                    *found = Some(value.into_owned());
                    Ok(Flow::Stop)
                }
                _ => Ok(Flow::Go),
            },
            _ => s.raw().map(|_| Flow::Go),
        })
    }
    let mut found = None;
    // A malformed line has no level of its own; what was found before the mistake counts.
    let _ = look(&mut Scanner::new(line), 1, &mut found);
    known(&found?)
}

fn logfmt_level(line: &str) -> Option<&'static str> {
    let mut best: Option<(usize, String)> = None;
    for pair in Logfmt::new(line).flatten() {
        let Some(rank) = LEVEL_NAMES.iter().position(|n| n.eq_ignore_ascii_case(pair.key)) else { continue };
        let Some(value) = pair.value else { continue };
        if !value.is_empty() && best.as_ref().is_none_or(|(r, _)| rank < *r) {
            best = Some((rank, value.into_owned()));
        }
    }
    known(&best?.1)
}

/// The earliest word that names a level and stands alone.
fn scan_words(line: &str) -> Option<&'static str> {
    const WORDS: [&str; 9] = ["trace", "debug", "fatal", "critical", "error", "err", "warning", "warn", "info"];
    let bytes = line.as_bytes();
    let left = |at: usize| at == 0 || matches!(bytes[at - 1], b' ' | b'\t' | b'\n' | b'[' | b'(' | b'{' | b'"' | b'\'' | b'=' | b'|');
    let right = |at: usize| {
        let stops = |b: &u8| b" \t\n[](){}:,!\"'=|".contains(b);
        bytes.get(at).is_none_or(stops)
    };
    (0..bytes.len()).find_map(|at| {
        if !matches!(bytes[at] | 0x20, b't' | b'd' | b'f' | b'c' | b'e' | b'w' | b'i') || !left(at) {
            return None;
        }
        let word = |w: &&&str| bytes.get(at..at + w.len()).is_some_and(|b| b.eq_ignore_ascii_case(w.as_bytes())) && right(at + w.len());
        WORDS.iter().find(word).and_then(|w| known(w))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::rows::{Group, Metadata, RowsBuilder};
    use std::sync::Arc;

    fn level(labels: &[(&str, &str)], metadata: &[(&str, &str)], line: &str) -> String {
        let mut rows = RowsBuilder::new(0);
        rows.begin(&Arc::new(Group::new(Labels::from_pairs(labels.iter().copied()), Metadata::default())));
        for (name, value) in metadata {
            let name = rows.name(name);
            rows.set(name, value);
        }
        rows.entry(0, 0, line).unwrap();
        let rows = rows.finish();
        rows.lines().metadata(0).find(|(n, _)| *n == DETECTED_LEVEL).unwrap().1.to_owned()
    }

    #[test]
    fn labels_and_metadata_win_over_the_line() {
        assert_eq!(level(&[], &[("detected_level", "WRN")], "error"), "warn");
        assert_eq!(level(&[("level", "notice")], &[("severity_text", "ERROR")], ""), "notice");
        assert_eq!(level(&[], &[("severity_text", "Information"), ("severity_number", "17")], ""), "info");
        assert_eq!(level(&[], &[("severity_number", "17")], "info"), "error");
        assert_eq!(level(&[], &[("severity_number", "30")], "info"), "unknown");
        assert_eq!(level(&[], &[("severity_number", "x")], "error"), "info");
    }

    #[test]
    fn the_line_is_read_as_json_logfmt_or_words() {
        assert_eq!(level(&[], &[], r#"{"msg":"error","a":{"level":"WARN"}}"#), "warn");
        assert_eq!(level(&[], &[], r#"{"a":{"b":{"level":"warned"}},"x":"[error]"}"#), "error");
        assert_eq!(level(&[], &[], r#"{"level":5}"#), "unknown");
        assert_eq!(level(&[], &[], "severity=debug Level=ERROR"), "error");
        assert_eq!(level(&[], &[], "lvl=notice something (fatal)"), "fatal");
        assert_eq!(level(&[], &[], "2026 Warning: disk"), "warn");
        assert_eq!(level(&[], &[], "erroring informal"), "unknown");
        assert_eq!(level(&[], &[], "an-error error,"), "error");
        assert_eq!(level(&[], &[], ""), "unknown");
    }
}
