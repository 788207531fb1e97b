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
fn parse(text: &str) -> Result<Settings, toml::de::Error> {
    let mut table: toml::Table = toml::from_str(text)?;
    for (_, value) in &mut table {
        if let toml::Value::Integer(_) | toml::Value::Boolean(_) = value {
            *value = toml::Value::String(value.to_string());
        }
    }
    table.try_into()
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
        let tenants = parse("[tenants.acme]\nseries = 5000\nrate = \"off\"").unwrap().tenants.unwrap();
        assert_eq!((tenants["acme"].series.as_deref(), tenants["acme"].rate.as_deref()), (Some("5000"), Some("off")));
        assert!(parse("[tenants.acme]\nspeed = 1").is_err());
        assert!(parse("retention_logs = \"7d\"").unwrap_err().to_string().contains("unknown field"));
    }
}
