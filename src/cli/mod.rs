//! The command line: `serve` (also when no command is given), `check-config`, `health`, and what looks after stored data:
//! `verify`, `inspect`, `catalog rebuild`; and what describes the command line itself: `knobs`, `completions`.

mod check;
mod health;
mod inspect;
mod progress;
mod reference;
mod verify;

use crate::config::{Config, Mistakes, Settings, load_file};
use crate::{forward, server};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;
use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "monocle", version, about, args_conflicts_with_subcommands = true, after_help = FIRST_STEPS)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Knobs,
}

/// What `--help` ends with.
const FIRST_STEPS: &str = "\
First steps:
  monocle                                   take in, keep and answer; data goes to ./monocle-data
  http://localhost:3000                     a page: what arrives, lines to paste, a button that sends a sample
  export OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf
                                            what an application's OpenTelemetry SDK needs to send here
  Grafana                                   data sources Prometheus, Loki and Tempo at http://localhost:9090, :3100, :3200

  monocle --retention 7d --disk 50GiB       keep a week, in at most 50 GiB
  monocle --listen 0.0.0.0                  be reached from other machines (nobody has to log in: put a proxy in front)
  monocle --s3 s3://BUCKET/PREFIX           keep blocks in a bucket, too
  monocle check-config                      every knob, its value and where that is from
  curl -X POST http://localhost:9090/-/flush, then any Parquet reader on monocle-data/blocks

A knob is a flag (--retention-logs 7d), a variable (MONOCLE_RETENTION_LOGS=7d) or a key of monocle.toml
(retention-logs = \"7d\"); the first of them that is there counts. Exit codes: 1 a failure, 2 a mistake in the configuration.";

#[derive(Subcommand)]
enum Command {
    /// Take in, keep and answer (the default)
    Serve(Knobs),
    /// Say what is wrong with the configuration; if nothing is, show every knob, its value and where that is from
    CheckConfig(Knobs),
    /// Exit 0 if the monocle with this data directory is ready
    Health(Knobs),
    /// Check every checksum of what is stored, and that catalog and files agree; exit 1 if something is wrong
    Verify(Knobs),
    /// Show what is stored
    #[command(subcommand)]
    Inspect(Inspect),
    /// Mend what is stored
    #[command(subcommand)]
    Catalog(CatalogCommand),
    /// Print the reference of all knobs, as Markdown
    Knobs,
    /// Print a script with which a shell completes commands and knobs: monocle completions bash > /etc/bash_completion.d/monocle
    Completions { shell: Shell },
}

#[derive(Subcommand)]
enum Inspect {
    /// A block: its facts, and what each column takes
    Block {
        /// Its id, or its directory
        block: String,
        #[command(flatten)]
        knobs: Knobs,
    },
    /// The write-ahead log, a line a segment
    Wal {
        /// A segment's file, to see its frames
        segment: Option<String>,
        #[command(flatten)]
        knobs: Knobs,
    },
    /// Everything that the catalog lists
    Catalog(Knobs),
}

#[derive(Subcommand)]
enum CatalogCommand {
    /// Make a lost catalog.db anew from the files of blocks, and from the bucket if --s3 is given
    Rebuild(Knobs),
}

#[derive(Args)]
struct Knobs {
    /// Configuration file, TOML [default: ./monocle.toml or /etc/monocle/monocle.toml, if there is one]
    #[arg(long, env = "MONOCLE_CONFIG", help_heading = "Where", value_name = "FILE")]
    config: Option<String>,
    #[command(flatten)]
    settings: Settings,
}

type Action = Box<dyn FnOnce(Config) -> Result<(), String>>;

impl Knobs {
    fn resolve(self) -> Result<Config, Mistakes> {
        let file = load_file(self.config.as_deref())?;
        let mut config = Config::resolve(&Settings { exporter: exporter(), ..self.settings.or(file) })?;
        config.warnings.extend(check::strange_variables());
        Ok(config)
    }
}

/// The variables of OpenTelemetry's exporters. One that is not text is none.
fn exporter() -> BTreeMap<String, String> {
    let all = std::env::vars_os().filter_map(|(name, said)| Some((name.into_string().ok()?, said.into_string().ok()?)));
    all.filter(|(name, _)| name.starts_with(forward::PREFIX)).collect()
}

/// The command line, with help that does not repeat the variable beside each flag: both follow from the name.
fn command() -> clap::Command {
    fn brief(command: clap::Command) -> clap::Command {
        command.mut_args(|arg| arg.hide_env(true)).mut_subcommands(brief)
    }
    brief(Cli::command())
}

/// Runs the program and returns its exit code: 0, 1 for a failure, 2 for a mistake in the configuration.
pub fn run() -> ExitCode {
    let matches = command().get_matches();
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let (knobs, action): (Knobs, Action) = match cli.command {
        None => (cli.serve, Box::new(serve)),
        Some(Command::Serve(knobs)) => (knobs, Box::new(serve)),
        Some(Command::CheckConfig(knobs)) => {
            let said = matches.subcommand_matches("check-config").cloned().unwrap_or_default();
            let file = knobs.config.clone();
            (knobs, Box::new(move |config| print(check::report(&config, &said, file.as_deref()).as_bytes())))
        }
        Some(Command::Health(knobs)) => (knobs, Box::new(health::check)),
        Some(Command::Verify(knobs)) => (knobs, Box::new(verify::check)),
        Some(Command::Catalog(CatalogCommand::Rebuild(knobs))) => (knobs, Box::new(verify::rebuild_catalog)),
        Some(Command::Inspect(Inspect::Block { block, knobs })) => (knobs, Box::new(move |config| show(inspect::block(&config, &block)))),
        Some(Command::Inspect(Inspect::Wal { segment, knobs })) => {
            (knobs, Box::new(move |config| show(inspect::wal(&config, segment.as_deref()))))
        }
        Some(Command::Inspect(Inspect::Catalog(knobs))) => (knobs, Box::new(|config| show(inspect::catalog(&config)))),
        // These two ask nothing of the configuration, which may have mistakes.
        Some(Command::Knobs) => return done(print(reference::knobs().as_bytes())),
        Some(Command::Completions { shell }) => return done(print(&reference::completions(shell))),
    };
    let config = match knobs.resolve() {
        Ok(config) => config,
        Err(mistakes) => return complain(&mistakes.to_string(), 2),
    };
    done(action(config))
}

fn done(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&error, 1),
    }
}

fn show(text: Result<String, String>) -> Result<(), String> {
    print(text?.as_bytes())
}

fn print(text: &[u8]) -> Result<(), String> {
    match std::io::stdout().write_all(text) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|e| e.to_string()),
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
