//! The lapwing command.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command talks to people; logs go through tracing"
)]

mod args;
mod baseline;
mod demo;
mod evidence;
mod explain;
mod feedback;
mod offline;
mod output;
mod plot;
mod redact;
mod retention;
mod run;
mod scan;
mod series;
mod simulate;

use std::process::ExitCode;

use args::{Cli, Command, ConfigArgs, RedactArgs, RedactCommand};
use clap::Parser;
use lapwing_pipeline::config::{Config, Problem};
use lapwing_pipeline::rules::RuleSources;
use lapwing_pipeline::settings::Settings;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Wrong configuration: `EX_CONFIG` of sysexits.h, as Vector and others use it.
const EXIT_CONFIG: u8 = 78;
/// Try again later: `EX_TEMPFAIL` of sysexits.h.
const EXIT_TEMPORARY: u8 = 75;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match command(cli.command) {
        Ok(code) => code,
        Err(Failure::Config(problems)) => {
            for problem in &problems {
                eprintln!("error: {problem}");
            }
            eprintln!("{} in the configuration", output::count(problems.len() as u64, "problem"));
            ExitCode::from(EXIT_CONFIG)
        }
        Err(Failure::Temporary(reason)) => {
            eprintln!("error: {reason}\n  hint: this may pass by itself; try again");
            ExitCode::from(EXIT_TEMPORARY)
        }
        // A reader that closes the pipe has seen enough.
        Err(Failure::Other(error)) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(Failure::Other(error)) => {
            eprintln!("error: {}", output::chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// Why a command failed, by exit code.
enum Failure {
    Config(Vec<Problem>),
    Temporary(String),
    Other(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure::Other(error.into())
    }
}

fn command(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Redact(RedactArgs { action: Some(RedactCommand::Scan(args)), .. }) => {
            return scan::scan(&args);
        }
        Command::Simulate(args) => return simulate::simulate(&args),
        Command::Run(args) => run::run(&args)?,
        Command::Replay(args) => offline::replay(&args)?,
        Command::Train(args) => offline::train(&args)?,
        Command::Backtest(args) => offline::backtest(&args)?,
        Command::Baseline { action } => baseline::baseline(&action)?,
        Command::WarmStart(args) => baseline::warm_start(&args)?,
        Command::Feedback(args) => feedback::feedback(&args)?,
        Command::Explain(args) => evidence::explain(&args)?,
        Command::Redact(args) => redact::redact(&args)?,
        Command::Validate { files, rules } => {
            RuleSources::check(&rules).map_err(Failure::Config)?;
            if files.is_empty() {
                println!(
                    "{} valid",
                    if rules.len() == 1 { "the rule file is" } else { "the rule files are" }
                );
            } else {
                settings(&ConfigArgs { config: files, set: Vec::new() })?;
                println!("the configuration is valid");
            }
        }
        Command::Schema => {
            println!("{}", serde_json::to_string_pretty(&lapwing_pipeline::config::schema())?);
        }
        Command::Retention { action } => retention::retention(&action)?,
        Command::Demo(args) => demo::demo(&args)?,
        Command::Version => {
            println!("lapwing {}", env!("CARGO_PKG_VERSION"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads the configuration; without files it is the defaults.
fn settings(args: &ConfigArgs) -> Result<Settings, Failure> {
    let config = Config::read(&args.config, &args.set).map_err(Failure::Config)?;
    Settings::of(&config).map_err(Failure::Config)
}
