//! `lapwing run`: until told to stop.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use lapwing_pipeline::config::{LogEncoding, Telemetry};
use lapwing_pipeline::run::Pipeline;
use lapwing_telemetry::{Clock, EventTime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::args::ConfigArgs;
use crate::{Failure, settings};

pub(crate) fn run(args: &ConfigArgs) -> Result<(), Failure> {
    let settings = settings(args)?;
    start_logs(&settings.telemetry)?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let shutdown_timeout = settings.shutdown_timeout;
        let mut pipeline = Pipeline::start(settings, system_clock(), true).await.map_err(|e| {
            if e.temporary { Failure::Temporary(e.reason) } else { Failure::Other(anyhow::anyhow!(e.reason)) }
        })?;
        tracing::info!(grpc = ?pipeline.grpc_address(), http = ?pipeline.http_address(), "receiving OTLP");
        let mut signals = Signals::new()?;
        let mut reload = false;
        let failed = loop {
            if std::mem::take(&mut reload) {
                pipeline.reload();
            }
            tokio::select! {
                error = pipeline.watch() => break Some(error),
                told = signals.next() => match told {
                    Told::Reload => reload = true,
                    Told::Stop => break None,
                },
            }
        };
        if let Some(error) = &failed {
            tracing::error!(%error, "a loop ended; draining");
        } else {
            tracing::info!(deadline_s = shutdown_timeout.as_secs(), "draining");
        }
        let drained = tokio::select! {
            drained = pipeline.drain() => drained,
            () = signals.stop() => {
                tracing::warn!("told twice to stop: stopping at once; what is acknowledged is in the log");
                std::process::exit(130);
            }
        };
        match failed.map_or(drained, Err) {
            Ok(()) => {
                tracing::info!("drained");
                Ok(())
            }
            Err(error) => Err(Failure::Other(error.into())),
        }
    })
}

/// The machine's clock. Time goes into the pipeline here and nowhere else.
#[expect(clippy::disallowed_methods, reason = "the one place where the present comes from")]
pub(crate) fn system_clock() -> Clock {
    Arc::new(|| {
        let since = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        EventTime(since.as_micros() as i64)
    })
}

/// lapwing's own logs, on standard error.
pub(crate) fn start_logs(telemetry: &Telemetry) -> Result<(), Failure> {
    // librdkafka tells every broker error several times; the sink tells it once.
    let filter = format!("{},librdkafka=off,rdkafka=off", telemetry.logs.level);
    let filter =
        EnvFilter::try_new(filter).map_err(|e| anyhow::anyhow!("service.telemetry.logs.level: {e}"))?;
    let text = match telemetry.logs.encoding {
        LogEncoding::Auto => io::stderr().is_terminal(),
        LogEncoding::Console => true,
        LogEncoding::Json => false,
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let started = if text {
        builder.with_ansi(io::stderr().is_terminal()).try_init()
    } else {
        builder.json().flatten_event(true).try_init()
    };
    started.map_err(|e| anyhow::anyhow!("logs: {e}"))?;
    Ok(())
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::Stop,
            _ = self.interrupt.recv() => Told::Stop,
            _ = self.hangup.recv() => Told::Reload,
        }
    }

    async fn stop(&mut self) {
        while self.next().await != Told::Stop {}
    }
}

#[derive(PartialEq, Eq)]
enum Told {
    Stop,
    Reload,
}
