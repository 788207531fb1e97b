//! What is derived from the definition of the command line: the reference of the knobs, and completions for shells.

use super::Cli;
use clap::CommandFactory;
use clap_complete::Shell;

/// Every knob as a row of Markdown; `docs/knobs.md` is this text.
pub fn knobs() -> String {
    let mut text = "# Knobs\n\nEach is a flag, an environment variable and a key of `monocle.toml` (the flag without its dashes). A flag goes before the \
                    variable, the variable before the file. `monocle check-config` says what is wrong with them. This page is what `monocle knobs` prints.\n\n\
                    | Flag | Variable | |\n|---|---|---|\n"
        .to_owned();
    let command = Cli::command();
    for knob in command.get_arguments() {
        let (Some(flag), Some(variable), Some(help)) = (knob.get_long(), knob.get_env(), knob.get_help()) else { continue };
        let value = knob.get_value_names().and_then(<[_]>::first).map_or_else(String::new, |name| format!(" {name}"));
        let help = help.to_string().replace('|', "\\|").replace('\n', " ");
        text.push_str(&format!("| `--{flag}{value}` | `{}` | {help} |\n", variable.to_string_lossy()));
    }
    text
}

/// A script that completes commands and knobs.
pub fn completions(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "monocle", &mut script);
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_in_the_documentation_is_that_of_the_definition() {
        let page = include_str!("../../docs/knobs.md");
        assert!(page == knobs(), "docs/knobs.md is stale: cargo run -- knobs > docs/knobs.md");
    }

    #[test]
    fn every_shell_gets_a_script_that_knows_the_knobs() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = String::from_utf8(completions(shell)).unwrap();
            assert!(script.contains("retention-logs") && script.contains("check-config"), "{shell}");
        }
    }
}
