//! Lapwing and the sink in turns, so that whatever else the machine does falls on both.

use std::fmt::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Serialize;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::process::Process;
use crate::report::{Report, milliseconds};
use crate::send::{Target, measure, workload};
use crate::{CompareArgs, Format};

/// Both servers at one size of request.
#[derive(Serialize)]
struct Comparison {
    spans_per_request: u32,
    sink: Side,
    lapwing: Side,
    /// Medians of the rounds: lapwing's spans per CPU-second over the sink's.
    ratio: f64,
    /// The same from start to end, drain and last archive file included.
    ratio_whole_life: f64,
}

/// One server.
#[derive(Serialize)]
struct Side {
    rounds: Vec<Report>,
    spans_per_cpu_s: f64,
    spans_per_cpu_s_whole_life: f64,
    peak_rss_mib: f64,
}

/// Runs the rounds and prints the table.
pub(crate) async fn compare(args: &CompareArgs) -> anyhow::Result<()> {
    let mut comparisons = Vec::new();
    for &spans in &args.spans {
        comparisons.push(at_size(args, spans).await?);
    }
    if args.format == Format::Json {
        println!("{}", serde_json::to_string(&comparisons)?);
    } else {
        println!("{}", table(&comparisons)?);
    }
    Ok(())
}

async fn at_size(args: &CompareArgs, spans: u32) -> anyhow::Result<Comparison> {
    let workload = workload(spans);
    let (sink, lapwing) = (Server::sink().await?, Server::lapwing(&args.lapwing).await?);
    let (mut of_sink, mut of_lapwing) = (Vec::new(), Vec::new());
    for _ in 0..args.rounds {
        for (server, reports) in [(&sink, &mut of_sink), (&lapwing, &mut of_lapwing)] {
            let target = Target::Grpc(server.address.to_string());
            reports.push(measure(&target, &workload, args.effort, Some(server.process)).await?);
        }
    }
    let (sink, lapwing) =
        (Side::new(of_sink, sink.stop().await?), Side::new(of_lapwing, lapwing.stop().await?));
    Ok(Comparison {
        spans_per_request: spans,
        ratio: lapwing.spans_per_cpu_s / sink.spans_per_cpu_s,
        ratio_whole_life: lapwing.spans_per_cpu_s_whole_life / sink.spans_per_cpu_s_whole_life,
        sink,
        lapwing,
    })
}

impl Side {
    fn new(rounds: Vec<Report>, cpu_s: f64) -> Side {
        let accepted: u64 = rounds.iter().map(|r| r.spans_accepted).sum();
        let peak = rounds.iter().filter_map(|r| r.server_peak_rss_mib).fold(0.0, f64::max);
        Side {
            spans_per_cpu_s: median(rounds.iter().filter_map(|r| r.server_spans_per_cpu_s).collect()),
            spans_per_cpu_s_whole_life: accepted as f64 / cpu_s.max(0.01),
            peak_rss_mib: peak,
            rounds,
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

fn table(comparisons: &[Comparison]) -> anyhow::Result<String> {
    let mut out = String::new();
    writeln!(
        out,
        "{:<8} {:>13} {:>14} {:>14} {:>10} {:>9} {:>9} {:>9} {:>9}",
        "server",
        "spans/request",
        "spans/CPU-s",
        "whole life",
        "spans/s",
        "p50 ms",
        "p99 ms",
        "refused",
        "RSS MiB"
    )?;
    for comparison in comparisons {
        for (name, side) in [("sink", &comparison.sink), ("lapwing", &comparison.lapwing)] {
            let of =
                |value: fn(&Report) -> Option<f64>| median(side.rounds.iter().filter_map(value).collect());
            let refused = |r: &Report| r.requests_refused_with_hint + r.requests_refused_without_hint;
            writeln!(
                out,
                "{name:<8} {:>13} {:>14.0} {:>14.0} {:>10.0} {:>9} {:>9} {:>9} {:>9.0}",
                comparison.spans_per_request,
                side.spans_per_cpu_s,
                side.spans_per_cpu_s_whole_life,
                of(|r| Some(r.spans_per_second)),
                milliseconds(Some(of(|r| r.ack_ms_p50))),
                milliseconds(Some(of(|r| r.ack_ms_p99))),
                side.rounds.iter().map(refused).sum::<u64>(),
                side.peak_rss_mib,
            )?;
        }
        writeln!(
            out,
            "{:<8} {:>13} {:>14.2} {:>14.2}",
            "ratio", comparison.spans_per_request, comparison.ratio, comparison.ratio_whole_life
        )?;
    }
    Ok(out.trim_end().to_owned())
}

/// A server that was started here, and is ended here whatever happens.
struct Server {
    child: Child,
    process: Process,
    address: SocketAddr,
    name: &'static str,
    /// CPU time until it was ready, seconds.
    start_cpu_s: f64,
    /// Its data; deleted with it.
    _data: Option<TempDir>,
}

/// How long a server may take to be ready, or to drain.
const PATIENCE: Duration = Duration::from_secs(60);

impl Server {
    async fn sink() -> anyhow::Result<Server> {
        let address = free_address()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["sink", "--grpc", &address.to_string()]);
        Server::start("sink", command, address, None).await
    }

    async fn lapwing(binary: &Path) -> anyhow::Result<Server> {
        let (address, data) = (free_address()?, tempfile::tempdir()?);
        let mut command = Command::new(binary);
        command.arg("run");
        for set in [
            format!("data_dir={}", data.path().display()),
            format!("receivers.otlp.protocols.grpc.endpoint={address}"),
            "receivers.otlp.protocols.http=null".to_owned(),
            "extensions.health_check=null".to_owned(),
            "service.telemetry.metrics=null".to_owned(),
            "service.telemetry.logs.level=warn".to_owned(),
            // Two windows, so that judging is measured and not only learning.
            "detectors.learning=20s".to_owned(),
        ] {
            command.args(["--set", &set]);
        }
        Server::start("lapwing", command, address, Some(data)).await
    }

    async fn start(
        name: &'static str,
        mut command: Command,
        address: SocketAddr,
        data: Option<TempDir>,
    ) -> anyhow::Result<Server> {
        let child = command.spawn().with_context(|| format!("start {name}"))?;
        let process = Process::new(child.id());
        let mut server = Server { child, process, address, name, start_cpu_s: 0.0, _data: data };
        let ready = async {
            while TcpStream::connect(address).await.is_err() {
                if process.has_ended()? {
                    bail!("{name} ended before it was ready");
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Ok(())
        };
        tokio::time::timeout(PATIENCE, ready).await.with_context(|| format!("{name} is not ready"))??;
        server.start_cpu_s = process.cpu_s()?;
        Ok(server)
    }

    /// Asks it to end, and gives the CPU time it took from when it was ready, seconds.
    async fn stop(mut self) -> anyhow::Result<f64> {
        // The standard library can only kill.
        Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        let ended = async {
            while !self.process.has_ended()? {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(PATIENCE, ended)
            .await
            .with_context(|| format!("{} does not end", self.name))??;
        let cpu_s = self.process.cpu_s()? - self.start_cpu_s;
        let status = self.child.wait()?;
        // The sink knows nothing of signals.
        if self.name != "sink" && !status.success() {
            bail!("{} ended with {status}", self.name);
        }
        Ok(cpu_s)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Neither fails in a way that matters: it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// An address on loopback that nobody listens on now.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
