//! How fast findings reach each target, and what an outage of all of them at once does.
//!
//! `sinks rate` delivers one after the other; `sinks outage` fills every spool while no target is there, brings
//! them up, and checks that each got every finding with its revisions in order. The targets are in this
//! process, answer at once and keep nothing but the latest revision of each finding.

#![expect(clippy::print_stdout, reason = "what it measured is its output")]

mod target;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, Subcommand};
use lapwing_siem::http::{HttpSettings, HttpSink, Url};
use lapwing_siem::{
    AlertmanagerSettings, BulkSettings, Context, DeliverySettings, Format, HecSettings, Monitor,
    SentinelSettings, SpoolSettings, SpooledSink, SyslogSettings, SyslogSink, WebhookSettings,
    alertmanager_sink, bulk_sink, deliver, hec_sink, otlp_sink, sentinel_sink, spool, syslog, webhook_sink,
};
use lapwing_telemetry::{Clock, EventTime, Finding, FindingSink};
use target::{Kind, Target};
use tokio::time::{Instant, sleep};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures delivery of findings.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Findings per second to each target, one after the other.
    Rate {
        /// Findings for each.
        #[arg(long, default_value_t = 20_000)]
        findings: u32,
    },
    /// A burst while every target is away.
    Outage {
        /// Findings for each.
        #[arg(long, default_value_t = 100_000)]
        findings: u32,
        /// How long they are away, in seconds.
        #[arg(long, default_value_t = 300)]
        seconds: u64,
    },
}

const SAMPLE: &str = include_str!("../../crates/kafka/tests/finding.json");
/// Revisions of each finding.
const REVISIONS: u32 = 10;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Rate { findings } => rate(findings).await,
        Command::Outage { findings, seconds } => outage(findings, seconds).await,
    }
}

async fn rate(findings: u32) -> anyhow::Result<()> {
    println!("| target | findings/s | CPU µs each | body bytes each |\n|---|---|---|---|");
    for kind in Kind::ALL {
        let folder = tempfile::tempdir()?;
        let target = Target::reserve(kind).await?;
        let running = target.serve().await?;
        let spooled = Spooled::open(folder.path(), &target)?;
        spooled.append(findings).await?;
        let (begin, cpu) = (Instant::now(), cpu_micros()?);
        let monitor = spooled.deliver();
        while monitor.stats().spooled > 0 {
            sleep(Duration::from_millis(5)).await;
        }
        let (seconds, cpu) = (begin.elapsed().as_secs_f64(), cpu_micros()? - cpu);
        let got = running.summary();
        anyhow::ensure!(got.complete(findings), "{}: {got:?}", kind.name());
        let each = f64::from(findings);
        println!(
            "| {} | {:.0} | {:.0} | {:.0} |",
            kind.name(),
            each / seconds,
            cpu as f64 / each,
            got.bytes as f64 / each
        );
    }
    Ok(())
}

async fn outage(findings: u32, seconds: u64) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (mut targets, mut monitors) = (Vec::new(), Vec::new());
    let begin = Instant::now();
    for kind in Kind::ALL {
        let target = Target::reserve(kind).await?;
        let spooled = Spooled::open(&folder.path().join(kind.name()), &target)?;
        let sink = spooled.sink;
        monitors.push(spooled.monitor.clone());
        tokio::spawn(deliver(
            spooled.reader,
            spooled.target,
            DeliverySettings::default(),
            std::future::pending(),
        ));
        let mut made = Burst::new(findings);
        while let Some(batch) = made.next() {
            sink.append(&batch).await?;
        }
        targets.push(target);
    }
    println!(
        "{findings} findings spooled for each of {} targets after {:.1} s",
        targets.len(),
        begin.elapsed().as_secs_f64()
    );
    let mut memory = Vec::new();
    let mut running = Vec::new();
    loop {
        sleep(Duration::from_secs(10)).await;
        memory.push(resident_mib()?);
        if running.is_empty() && begin.elapsed() >= Duration::from_secs(seconds) {
            for target in &targets {
                running.push(target.serve().await?);
            }
            println!("the targets are back after {:.0} s", begin.elapsed().as_secs_f64());
        }
        if monitors.iter().all(|monitor| monitor.stats().spooled == 0) {
            break;
        }
        anyhow::ensure!(begin.elapsed() < Duration::from_secs(seconds + 900), "not delivered in time");
    }
    println!(
        "all delivered after {:.0} s; resident memory every 10 s, MiB: {memory:?}",
        begin.elapsed().as_secs_f64()
    );
    for ((kind, running), monitor) in Kind::ALL.iter().zip(&running).zip(&monitors) {
        let (got, stats) = (running.summary(), monitor.stats());
        println!(
            "{}: {got:?}, retries {}, dead-lettered {}",
            kind.name(),
            stats.retries,
            stats.dead_lettered
        );
        anyhow::ensure!(got.complete(findings), "{} is incomplete", kind.name());
        anyhow::ensure!(stats.produced == stats.delivered, "{}: {stats:?}", kind.name());
    }
    Ok(())
}

/// A target behind its spool.
struct Spooled {
    sink: SpooledSink,
    reader: lapwing_siem::SpoolReader,
    target: Box<dyn FindingSink>,
    monitor: Monitor,
}

impl Spooled {
    fn open(folder: &Path, target: &Target) -> anyhow::Result<Spooled> {
        let clock: Clock = Arc::new(|| EventTime(1_793_614_500_000_000));
        let (sink, reader) = spool::open(target.kind.name(), &SpoolSettings::new(folder), clock.clone())?;
        let monitor = sink.monitor();
        Ok(Spooled { sink, reader, target: exporter(target, clock)?, monitor })
    }

    async fn append(&self, findings: u32) -> anyhow::Result<()> {
        let mut made = Burst::new(findings);
        while let Some(batch) = made.next() {
            self.sink.append(&batch).await?;
        }
        Ok(())
    }

    fn deliver(self) -> Monitor {
        tokio::spawn(deliver(self.reader, self.target, DeliverySettings::default(), std::future::pending()));
        self.monitor
    }
}

/// Findings in batches of 1 000: every finding's first revision, then every finding's second, and so on.
struct Burst {
    sample: Finding,
    next: u32,
    end: u32,
}

impl Burst {
    fn new(end: u32) -> Burst {
        let sample = serde_json::from_str(SAMPLE).expect("the sample of the tests is a finding");
        Burst { sample, next: 0, end }
    }

    fn next(&mut self) -> Option<Vec<Finding>> {
        let ids = (self.end / REVISIONS).max(1);
        let range = self.next..self.end.min(self.next + 1_000);
        self.next = range.end;
        let made = range.map(|i| Finding {
            id: format!("lw-{:032}", i % ids),
            revision: i / ids + 1,
            ..self.sample.clone()
        });
        Some(made.collect::<Vec<_>>()).filter(|made| !made.is_empty())
    }
}

fn exporter(target: &Target, clock: Clock) -> anyhow::Result<Box<dyn FindingSink>> {
    let context = Context {
        product_version: "0.1.0".to_owned(),
        hostname: "bench".to_owned(),
        process_id: 1,
        runbook_url: None,
    };
    let url = Url::parse(&format!("http://{}", target.address)).map_err(anyhow::Error::msg)?;
    let http = HttpSettings::new(target.kind.name(), url);
    let sink: HttpSink = match target.kind {
        Kind::Bulk => bulk_sink(http, BulkSettings { index: "lapwing".to_owned(), pipeline: None }, context),
        Kind::Hec => {
            let (index, sourcetype, ack) = (None, None, None);
            let source = "lapwing".to_owned();
            hec_sink(http, HecSettings { index, source, sourcetype, format: Format::Ocsf, ack }, context)
        }
        Kind::Otlp => otlp_sink(http, context),
        Kind::Sentinel => {
            let settings = SentinelSettings { rule_id: "dcr".to_owned(), stream: "s".to_owned() };
            sentinel_sink(http, &settings, context)
        }
        Kind::Webhook => {
            let settings = WebhookSettings { format: Format::Ocsf, signing_key: None, template: None };
            webhook_sink(http, settings, context, clock)
        }
        Kind::Alertmanager => {
            let (hold, resend_interval) = (Duration::from_secs(3_600), Duration::from_secs(3_600));
            let settings = AlertmanagerSettings { hold, resend_interval, max_open: 10_000 };
            alertmanager_sink(http, settings, context, clock)
        }
        Kind::Syslog => {
            let settings = SyslogSettings {
                format: Format::Cef,
                facility: syslog::FACILITY_LOG_AUDIT,
                ..SyslogSettings::new("syslog", target.address.to_string())
            };
            return Ok(Box::new(SyslogSink::new(settings, context)));
        }
    };
    Ok(Box::new(sink))
}

fn resident_mib() -> anyhow::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 = line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0);
    Ok(kib / 1024)
}

/// User and system time of this process, target and all.
fn cpu_micros() -> anyhow::Result<u64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let ticks: u64 = after.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<u64>().ok()).sum();
    Ok(ticks * 10_000)
}
