use std::fmt::Write as _;

/// An exposition of our own in OpenMetrics as Prometheus's text format 0.0.4, which has counters under the names of their
/// series, no units and no exemplars.
pub(super) fn plain(open_metrics: &str) -> String {
    let mut out = String::with_capacity(open_metrics.len());
    // The help of a family comes before its type, which decides about its name.
    let mut help = None;
    for line in open_metrics.lines() {
        let described = |word| line.strip_prefix(word).and_then(|rest: &str| rest.split_once(' '));
        if let Some(text) = described("# HELP ") {
            help = Some(text);
        } else if let Some((family, kind)) = described("# TYPE ") {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                kind => ("", kind),
            };
            if let Some((_, text)) = help.take().filter(|(of, _)| *of == family) {
                let _ = writeln!(out, "# HELP {family}{suffix} {}", text.replace("\\\"", "\""));
            }
            let _ = writeln!(out, "# TYPE {family}{suffix} {kind}");
        } else if !line.starts_with('#') {
            let _ = writeln!(out, "{}", line.split(" # {").next().unwrap_or(line));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn families_are_named_as_their_series_are() {
        let given = "# HELP a_b A \\\"b\\\".\n# TYPE a_b counter\n# UNIT a_b bytes\na_b_total{x=\"y\"} 1 # {t=\"1\"} 2\n# TYPE h histogram\nh_count 0\n\
                     # HELP i I.\n# TYPE i info\ni_info{v=\"1\"} 1\n# TYPE u unknown\nu 2.5\n# EOF\n";
        let want = "# HELP a_b_total A \"b\".\n# TYPE a_b_total counter\na_b_total{x=\"y\"} 1\n# TYPE h histogram\nh_count 0\n\
                    # HELP i_info I.\n# TYPE i_info gauge\ni_info{v=\"1\"} 1\n# TYPE u untyped\nu 2.5\n";
        assert_eq!(plain(given), want);
    }

    #[test]
    fn every_counter_of_ours_has_its_help() {
        let text = crate::telemetry::Telemetry::default().expose_plain();
        for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let (name, kind) = line.split_once(' ').unwrap();
            assert!(text.contains(&format!("# HELP {name} ")) && (kind == "counter") == name.ends_with("_total"), "{line}");
        }
        assert!(!text.contains("# EOF"));
    }
}
