//! The two text formats. OpenMetrics is the stricter one: single blanks, no free comments, times in seconds, `# EOF` at the
//! end; and it has units and exemplars.

use super::cursor::Cursor;
use super::labels::{exemplar_labels, float, is_legacy, is_metric_name_byte, series_text, unescaped};
use super::{Exposed, Item, Malformed, Point, Series};
use crate::metrics::rows::{MetricType, Value};
use std::borrow::Cow;

pub(super) fn read<E: From<Malformed>>(text: &str, open: bool, take: &mut dyn FnMut(Item<'_>) -> Result<(), E>) -> Result<(), E> {
    let mut reader = Reader { cursor: Cursor::new(text), open, kind: MetricType::Unknown };
    while let Some(item) = reader.next()? {
        take(item)?;
    }
    Ok(())
}

struct Reader<'a> {
    cursor: Cursor<'a>,
    open: bool,
    /// Of the latest `# TYPE`.
    kind: MetricType,
}

impl<'a> Reader<'a> {
    /// `None` at the end.
    fn next(&mut self) -> Result<Option<Item<'a>>, Malformed> {
        loop {
            if !self.open {
                self.cursor.blanks();
                if self.cursor.skip(b'\n') {
                    continue;
                }
            }
            if self.cursor.is_at_end() {
                let ended = if self.open { Err(Malformed("data does not end with # EOF".to_owned())) } else { Ok(None) };
                return ended;
            }
            if self.cursor.peek() != Some(b'#') {
                return self.point().map(|point| Some(Item::Point(point)));
            }
            match self.comment()? {
                Comment::Item(item) => return Ok(Some(item)),
                Comment::Nothing => {}
                Comment::End => return Ok(None),
            }
        }
    }

    fn comment(&mut self) -> Result<Comment<'a>, Malformed> {
        let start = self.cursor;
        self.cursor.skip(b'#');
        if self.open {
            if !self.cursor.skip(b' ') {
                return Err(start.malformed("expected # and a blank"));
            }
        } else {
            self.cursor.blanks();
        }
        let word = self.cursor.word();
        if self.open && word == "EOF" {
            self.cursor.skip(b'\n');
            return if self.cursor.is_at_end() { Ok(Comment::End) } else { Err(self.cursor.malformed("expected nothing after # EOF")) };
        }
        let is_known = matches!(word, "TYPE" | "HELP") || self.open && word == "UNIT";
        if !is_known {
            if self.open {
                return Err(start.malformed("expected # TYPE, # HELP, # UNIT or # EOF"));
            }
            self.cursor.line();
            return Ok(Comment::Nothing);
        }
        if !self.gap() {
            return Err(self.cursor.malformed("expected a blank"));
        }
        let family = self.family()?;
        let has_text = self.gap();
        if !has_text && !matches!(self.cursor.peek(), None | Some(b'\n')) {
            return Err(self.cursor.malformed("expected a blank"));
        }
        let place = self.cursor;
        let text = self.cursor.line();
        match word {
            "TYPE" => {
                let kind = kind(text.trim_end_matches([' ', '\t']), self.open);
                self.kind = kind.ok_or_else(|| place.malformed("expected a metric type"))?;
                Ok(Comment::Item(Item::Type(family, self.kind)))
            }
            "HELP" => Ok(Comment::Item(Item::Help(family, unescaped(text, self.open)))),
            _ => {
                let fits = text.is_empty() || family.strip_suffix(text).is_some_and(|bare| bare.ends_with('_'));
                let wrong = || place.malformed(&format!("expected a unit that is a suffix of {family:?}"));
                if fits { Ok(Comment::Item(Item::Unit(family.clone(), text.into()))) } else { Err(wrong()) }
            }
        }
    }

    /// What stands between two parts: one blank in OpenMetrics, any number else.
    fn gap(&mut self) -> bool {
        if self.open { self.cursor.skip(b' ') } else { self.cursor.blanks() > 0 }
    }

    /// A family's name, quoted or not.
    fn family(&mut self) -> Result<Cow<'a, str>, Malformed> {
        if self.cursor.peek() == Some(b'"') {
            return self.cursor.quoted().map(|raw| unescaped(raw, true));
        }
        let place = self.cursor;
        let name = self.cursor.run(is_metric_name_byte);
        if is_legacy(name, false) { Ok(name.into()) } else { Err(place.malformed("expected a metric name")) }
    }

    fn point(&mut self) -> Result<Point<'a>, Malformed> {
        let series = series_text(&mut self.cursor, self.open)?;
        // In 0.0.4, a closing brace needs no blank after it.
        if !self.gap() && (self.open || !series.ends_with('}')) {
            return Err(self.cursor.malformed("expected a blank and a value"));
        }
        let value = self.float("a value")?;
        let mut point =
            Point { series: Series::Text(series, self.kind), ts: None, start: 0, value: Value::Float(value), exemplars: Vec::new() };
        if self.open {
            self.open_tail(&mut point)?
        } else {
            self.tail(&mut point)?
        }
        if !self.cursor.skip(b'\n') && (self.open || !self.cursor.is_at_end()) {
            return Err(self.cursor.malformed("expected the end of the line"));
        }
        Ok(point)
    }

    fn float(&mut self, what: &str) -> Result<f64, Malformed> {
        let place = self.cursor;
        float(self.cursor.word()).ok_or_else(|| place.malformed(&format!("expected {what}")))
    }

    /// Milliseconds.
    fn tail(&mut self, point: &mut Point<'_>) -> Result<(), Malformed> {
        self.cursor.blanks();
        if matches!(self.cursor.peek(), None | Some(b'\n')) {
            return Ok(());
        }
        let place = self.cursor;
        let ts = self.cursor.word().parse().map_err(|_| place.malformed("expected a timestamp in milliseconds"))?;
        point.ts = Some(ts);
        self.cursor.blanks();
        Ok(())
    }

    fn open_tail(&mut self, point: &mut Point<'_>) -> Result<(), Malformed> {
        if self.cursor.peek() == Some(b' ') && !self.cursor.starts_with(" #") {
            self.cursor.skip(b' ');
            point.ts = Some(self.seconds()?);
        }
        if self.cursor.skip_text(" # {") {
            let labels = exemplar_labels(&mut self.cursor)?;
            if !self.cursor.skip(b' ') {
                return Err(self.cursor.malformed("expected a blank and the value of an exemplar"));
            }
            let value = self.float("the value of an exemplar")?;
            let ts = if self.cursor.skip(b' ') { Some(self.seconds()?) } else { None };
            point.exemplars.push(Exposed { labels, value, ts });
        }
        Ok(())
    }

    /// A time in seconds, as milliseconds.
    fn seconds(&mut self) -> Result<i64, Malformed> {
        let place = self.cursor;
        let seconds = self.float("a timestamp in seconds")?;
        if !seconds.is_finite() {
            return Err(place.malformed("expected a timestamp in seconds"));
        }
        Ok((seconds * 1000.0) as i64)
    }
}

enum Comment<'a> {
    Item(Item<'a>),
    /// One that says nothing to us.
    Nothing,
    End,
}

fn kind(word: &str, open: bool) -> Option<MetricType> {
    match (word, open) {
        ("counter", _) => Some(MetricType::Counter),
        ("gauge", _) => Some(MetricType::Gauge),
        ("histogram", _) => Some(MetricType::Histogram),
        ("summary", _) => Some(MetricType::Summary),
        ("untyped", false) | ("unknown", true) => Some(MetricType::Unknown),
        ("gaugehistogram", true) => Some(MetricType::GaugeHistogram),
        ("info", true) => Some(MetricType::Info),
        ("stateset", true) => Some(MetricType::StateSet),
        _ => None,
    }
}
