//! The load generator: sends mesh-like requests, and is the yardstick that a pipeline is measured against.

#![expect(clippy::print_stdout, reason = "what it measured is its output")]

mod compare;
mod grpc;
mod http;
mod process;
mod report;
mod send;
mod sink;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// What the product runs with; the sink gets it too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Sends mesh-like OTLP requests and measures who receives them.
#[derive(Parser)]
#[command(name = "load", arg_required_else_help = true)]
#[command(after_help = "Examples:
  load sink --grpc 127.0.0.1:14317
  load send --grpc 127.0.0.1:4317 --spans 100 --seconds 10 --pid \"$(pgrep -x lapwing)\"
  load compare --lapwing target/release/lapwing")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Send requests, each sender as fast as it is answered.
    Send(SendArgs),
    /// Receive spans over gRPC, decode them with prost and drop them: the yardstick.
    Sink {
        /// `host:port` to listen on.
        #[arg(long, value_name = "ADDRESS")]
        grpc: std::net::SocketAddr,
    },
    /// Measure lapwing and the sink in turns, and print the ratio of spans per CPU-second.
    Compare(CompareArgs),
}

#[derive(Args)]
struct SendArgs {
    /// OTLP/gRPC: `host:port`.
    #[arg(long, value_name = "ADDRESS", required_unless_present = "http", conflicts_with = "http")]
    grpc: Option<String>,
    /// OTLP/HTTP: `http://host:port`.
    #[arg(long, value_name = "URL")]
    http: Option<String>,
    /// Spans of a request.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    spans: u32,
    #[command(flatten)]
    effort: Effort,
    /// Process id of the server: reports its CPU time and memory.
    #[arg(long)]
    pid: Option<u32>,
    /// How to print the report.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Args)]
struct CompareArgs {
    /// Path of the lapwing binary.
    #[arg(long, value_name = "FILE")]
    lapwing: PathBuf,
    /// Spans of a request; may be given several times.
    #[arg(long, default_values_t = [100, 1_000], value_parser = clap::value_parser!(u32).range(1..=10_000))]
    spans: Vec<u32>,
    /// Turns of each server.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    #[command(flatten)]
    effort: Effort,
    /// How to print the report.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// How hard to send.
#[derive(Args, Clone, Copy)]
struct Effort {
    /// How long to send.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    seconds: u32,
    /// Connections; over HTTP/1.1, which carries one request at a time, `connections` times `in-flight` are opened.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    connections: u32,
    /// Requests in flight on each connection.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=100))]
    in_flight: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Send(args) => {
            let target = match (args.grpc, args.http) {
                (Some(address), _) => send::Target::Grpc(address),
                (None, url) => send::Target::Http(url.unwrap_or_default()),
            };
            let server = args.pid.map(process::Process::new);
            let workload = send::workload(args.spans);
            let report = send::measure(&target, &workload, args.effort, server).await?;
            println!("{}", report.print(args.format)?);
            Ok(())
        }
        Command::Sink { grpc } => sink::serve(grpc).await,
        Command::Compare(args) => compare::compare(&args).await,
    }
}
