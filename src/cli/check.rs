//! What `monocle check-config` shows.

use super::Cli;
use crate::config::{Config, Settings, load_file, nearest};
use crate::runtime::World;
use crate::server;
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory};
use std::fmt::Write;

/// Every knob, its value and where that is from, then what is probably not meant.
pub(super) fn report(config: &Config, said: &ArgMatches, file: Option<&str>) -> String {
    // It was read before, without mistakes.
    let file = load_file(file).unwrap_or_default();
    let mut text = String::new();
    let command = Cli::command();
    for knob in command.get_arguments() {
        let (Some(flag), Some(variable)) = (knob.get_long(), knob.get_env()) else { continue };
        let Some((_, value)) = config.effective.iter().find(|(of, _)| *of == flag) else { continue };
        let own = origin(knob.get_id().as_str(), &variable.to_string_lossy(), flag, said, &file);
        let all = || flag.starts_with("retention-").then(|| origin("retention", "MONOCLE_RETENTION", "retention", said, &file)).flatten();
        let origin = own.or_else(all).unwrap_or_else(|| "default".to_owned());
        let value = if value.is_empty() { "none" } else { value };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{flag:<22} {value:<28} {origin}");
    }
    for target in &config.forward.targets {
        let _ = writeln!(text, "forwards {:<13} {:<28} environment", target.signal.as_str(), target.place());
    }
    for warning in server::warnings(config, &World::real()) {
        let _ = writeln!(text, "warning: {warning}");
    }
    text
}

fn origin(id: &str, variable: &str, flag: &str, said: &ArgMatches, file: &Settings) -> Option<String> {
    match said.try_contains_id(id).ok().and_then(|_| said.value_source(id)) {
        Some(ValueSource::CommandLine) => Some(format!("--{flag}")),
        Some(ValueSource::EnvVariable) => Some(variable.to_owned()),
        _ => file.says(flag).then(|| "configuration file".to_owned()),
    }
}

/// Variables that were meant for a knob, most likely: nothing reads them. Others that begin like ours may be anybody's
/// (Kubernetes makes some for a service called monocle).
pub(super) fn strange_variables() -> Vec<String> {
    let command = Cli::command();
    let known: Vec<String> = command.get_arguments().filter_map(|a| a.get_env()).map(|v| v.to_string_lossy().into_owned()).collect();
    let slips: Vec<String> = known.iter().map(|name| slip(name)).collect();
    let set = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).filter(|name| name.starts_with("MONOCLE_"));
    set.filter(|name| !known.contains(name))
        .filter_map(|name| {
            let meant = nearest(&slip(&name), &slips)?;
            let meant = known.iter().find(|known| slip(known) == meant)?;
            Some(format!("nothing reads {name}: did you mean {meant}?"))
        })
        .collect()
}

/// As knobs are compared.
fn slip(variable: &str) -> String {
    variable.trim_start_matches("MONOCLE_").replace('_', "-").to_lowercase()
}
