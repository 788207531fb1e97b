use super::{Mistakes, Settings};
use crate::runtime::read_text;
use std::path::Path;

/// Where a configuration file is looked for when none is named.
const PLACES: [&str; 2] = ["./monocle.toml", "/etc/monocle/monocle.toml"];

/// The settings of the file `named`, which must exist, or of the first usual place that does, or none.
pub fn load_file(named: Option<&str>) -> Result<Settings, Mistakes> {
    let read = |path: &str| read_text(Path::new(path)).map_err(|e| Mistakes(vec![format!("configuration file: {e}")]));
    let found = match named {
        Some(path) => {
            let text = read(path)?.ok_or_else(|| Mistakes(vec![format!("configuration file {path} does not exist")]))?;
            Some((path, text))
        }
        None => {
            let mut found = None;
            for path in PLACES {
                if let Some(text) = read(path)? {
                    found = Some((path, text));
                    break;
                }
            }
            found
        }
    };
    match found {
        Some((path, text)) => parse(&text).map_err(|e| Mistakes(vec![format!("configuration file {path}: {e}")])),
        None => Ok(Settings::default()),
    }
}

/// Numbers and booleans are taken as their text, so that a port need not be quoted.
fn parse(text: &str) -> Result<Settings, String> {
    let mut table: toml::Table = toml::from_str(text).map_err(|e| e.to_string())?;
    let names = Settings::names();
    let unknown: Vec<String> = table.keys().filter(|key| !names.contains(key)).map(|key| unknown_key(key, text, &names)).collect();
    if !unknown.is_empty() {
        return Err(unknown.join("; "));
    }
    for (key, value) in &mut table {
        match value {
            toml::Value::Integer(_) | toml::Value::Boolean(_) => *value = toml::Value::String(value.to_string()),
            toml::Value::String(_) => {}
            _ if TABLES.contains(&key.as_str()) => {}
            _ => return Err(format!("{}{key} is text in quotes, a whole number, true or false", line_of(key, text))),
        }
    }
    table.try_into().map_err(|e: toml::de::Error| e.to_string().trim_end().to_owned())
}

/// What is said in tables.
const TABLES: [&str; 2] = ["scrape", "tenants"];

/// Where a key of the top level stands, as the beginning of a message.
fn line_of(key: &str, text: &str) -> String {
    let at = text.lines().position(|line| line.trim_start().trim_start_matches(['[', '"', ' ']).starts_with(key));
    at.map(|at| format!("line {}: ", at + 1)).unwrap_or_default()
}

fn unknown_key(key: &str, text: &str, names: &[String]) -> String {
    let line = line_of(key, text);
    let advice = match nearest(key, names) {
        Some(name) => format!("did you mean {name}?"),
        None => "`monocle --help` lists them; here they are without their dashes".to_owned(),
    };
    format!("{line}there is no knob {key:?}: {advice}")
}

/// The name that `word` is most likely a slip of.
pub fn nearest<'a>(word: &str, names: &'a [String]) -> Option<&'a str> {
    const SIMILAR: f64 = 0.85;
    let word = word.replace('_', "-").to_lowercase();
    let ranked = names.iter().map(|name| (strsim::jaro_winkler(&word, name), name.as_str()));
    ranked.filter(|(similar, _)| *similar >= SIMILAR).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn names_are_those_of_the_flags_and_unknown_ones_are_errors() {
        let settings = parse("otlp-http = 4418\nretention-logs = \"7d\"\nadmin = true").unwrap();
        assert_eq!(settings.otlp_http.as_deref(), Some("4418"));
        assert_eq!(settings.retention_logs.as_deref(), Some("7d"));
        assert_eq!(settings.admin.as_deref(), Some("true"));
        let error = parse("otlp-http = 1\n\nretention_logs = \"7d\"\nhost = 1").unwrap_err();
        assert!(error.contains("line 3: there is no knob \"retention_logs\": did you mean retention-logs?"), "{error}");
        assert!(error.contains("line 4: there is no knob \"host\": `monocle --help`"), "{error}");
        assert!(parse("otlp-http = 1\nloki = \"").unwrap_err().contains("line 2"));
        assert!(parse("loki = [1]").unwrap_err().contains("line 1"));
        let tenants = parse("[tenants.acme]\nseries = 5000\nrate = \"off\"").unwrap().tenants.unwrap();
        assert_eq!((tenants["acme"].series.as_deref(), tenants["acme"].rate.as_deref()), (Some("5000"), Some("off")));
        assert!(parse("[tenants.acme]\nspeed = 1").is_err());
    }
}
