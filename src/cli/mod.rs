//! The command line: `serve` (also when no command is given), `check-config`, `health`.

mod health;

use crate::config::{Config, Mistakes, Settings, load_file};
use crate::server;
use clap::{Args, Parser, Subcommand};
use std::io::Write;
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "monocle", version, about, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Knobs,
}

#[derive(Subcommand)]
enum Command {
    /// Take in, keep and answer (the default)
    Serve(Knobs),
    /// Say what is wrong with the configuration, or nothing
    CheckConfig(Knobs),
    /// Exit 0 if the monocle with this data directory is ready
    Health(Knobs),
}

#[derive(Args)]
struct Knobs {
    /// Configuration file [default: ./monocle.toml or /etc/monocle/monocle.toml, if there is one]
    #[arg(long, env = "MONOCLE_CONFIG", value_name = "FILE")]
    config: Option<String>,
    #[command(flatten)]
    settings: Settings,
}

type Action = fn(Config) -> Result<(), String>;

impl Knobs {
    fn resolve(self) -> Result<Config, Mistakes> {
        let file = load_file(self.config.as_deref())?;
        Config::resolve(&self.settings.or(file))
    }
}

/// Runs the program and returns its exit code: 0, 1 for a failure, 2 for a mistake in the configuration.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let (knobs, action): (Knobs, Action) = match cli.command {
        None => (cli.serve, serve),
        Some(Command::Serve(knobs)) => (knobs, serve),
        Some(Command::CheckConfig(knobs)) => (knobs, |_| Ok(())),
        Some(Command::Health(knobs)) => (knobs, health::check),
    };
    let config = match knobs.resolve() {
        Ok(config) => config,
        Err(mistakes) => return complain(&mistakes.to_string(), 2),
    };
    match action(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&error, 1),
    }
}

fn complain(error: &str, code: u8) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "monocle: {error}");
    ExitCode::from(code)
}

fn serve(config: Config) -> Result<(), String> {
    let filter = tracing_subscriber::EnvFilter::try_new(&config.log_filter).map_err(|e| format!("--log: {e}"))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if config.log_json {
        log.json().init();
    } else {
        log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|e| e.to_string())?;
    let served = runtime.block_on(server::serve(config)).map_err(|e| e.to_string());
    // Queries of clients that are cut off may still be at work, and nothing of theirs is needed any more.
    runtime.shutdown_background();
    served
}
