use super::Histogram;
use crate::model::number::{general_float, sample_float};
use std::fmt;
use std::fmt::Write as _;

impl fmt::Display for Histogram {
    /// `{count:3, sum:5, (0.5,1]:2}`: as `count_values` prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{count:{}, sum:{}", general_float(self.count), general_float(self.sum))?;
        for b in self.buckets() {
            let (open, close) = (if b.lower_closed { '[' } else { '(' }, if b.upper_closed { ']' } else { ')' });
            write!(f, ", {open}{},{}{close}:{}", general_float(b.lower), general_float(b.upper), general_float(b.count))?;
        }
        f.write_str("}")
    }
}

impl Histogram {
    /// Appends the JSON form of query results (contracts/prometheus.md 1.4).
    pub fn write_json(&self, out: &mut String) {
        let _ = write!(out, "{{\"count\":\"{}\",\"sum\":\"{}\"", sample_float(self.count), sample_float(self.sum));
        for (i, b) in self.buckets().into_iter().enumerate() {
            let code = match (b.lower_closed, b.upper_closed) {
                (false, true) => 0,
                (true, false) => 1,
                (false, false) => 2,
                (true, true) => 3,
            };
            out.push_str(if i == 0 { ",\"buckets\":[" } else { "," });
            let _ = write!(out, "[{code},\"{}\",\"{}\",\"{}\"]", sample_float(b.lower), sample_float(b.upper), sample_float(b.count));
        }
        out.push_str(if out.ends_with(']') { "]}" } else { "}" });
    }
}
