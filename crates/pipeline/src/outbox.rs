//! Where findings leave: every configured sink, each behind a spool of its own unless it is local.

use std::time::Duration;

use lapwing_siem::{DeliveryError, DeliverySettings, Monitor, SpoolReader, SpooledSink, deliver};
use lapwing_telemetry::{Finding, FindingSink, PublishError};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::StageError;

/// All sinks of the deployment. Remote ones are appended to a spool here and delivered beside; one that is
/// dead delays no other, until its spool is full.
#[derive(Default)]
pub struct Outbox {
    sinks: Vec<Box<dyn FindingSink>>,
    monitors: Vec<Monitor>,
    deliveries: Vec<JoinHandle<Result<(), DeliveryError>>>,
    ended: Option<watch::Sender<bool>>,
}

impl Outbox {
    /// Adds a sink that is durable by itself: a file, standard output.
    pub fn add(&mut self, sink: Box<dyn FindingSink>) {
        self.sinks.push(sink);
    }

    /// Adds a remote sink behind its spool and starts its delivery.
    pub fn add_spooled(
        &mut self,
        spool: SpooledSink,
        reader: SpoolReader,
        target: Box<dyn FindingSink>,
        delivery: DeliverySettings,
    ) {
        self.monitors.push(spool.monitor());
        self.sinks.push(Box::new(spool));
        let mut ended = self.ended.get_or_insert_with(|| watch::Sender::new(false)).subscribe();
        let shutdown = async move {
            drop(ended.wait_for(|ended| *ended).await); // The sender gone means the same as its word.
        };
        self.deliveries.push(tokio::spawn(deliver(reader, target, delivery, shutdown)));
    }

    /// How each spooled sink is doing.
    pub fn monitors(&self) -> Vec<Monitor> {
        self.monitors.clone()
    }

    /// Hands `findings` to every sink; resolves when each has them durably. A sink without room is tried
    /// again, alone, until it has: detection waits meanwhile, and the log keeps what is not yet judged.
    ///
    /// # Errors
    /// [`StageError`] if a sink cannot work any more.
    pub async fn publish(&mut self, findings: &[Finding]) -> Result<(), StageError> {
        for sink in &mut self.sinks {
            let mut rest = findings;
            let mut pause = Duration::from_millis(100);
            while !rest.is_empty() {
                match sink.publish(rest).await {
                    Ok(()) => break,
                    Err(
                        PublishError::Busy { reason, delivered }
                        | PublishError::Refused { reason, delivered },
                    ) => {
                        tracing::error!(
                            sink = sink.name(),
                            reason,
                            "findings wait; detection waits with them"
                        );
                        rest = &rest[delivered.min(rest.len())..];
                        sleep(pause).await;
                        pause = (pause * 2).min(Duration::from_secs(5));
                    }
                    // Neither a spool nor a local file judges what a finding says.
                    Err(
                        error @ (PublishError::Rejected { .. }
                        | PublishError::OneByOne(_)
                        | PublishError::Broken { .. }),
                    ) => return Err(StageError::new("findings", &error)),
                }
            }
        }
        Ok(())
    }

    /// Says that no finding follows and waits until every spool is empty or its target fails once more; what
    /// is left then is delivered after the next start.
    pub async fn finish(mut self) {
        drop(self.ended.take());
        for delivery in self.deliveries {
            match delivery.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "delivery ended; the findings stay in its spool"),
                Err(error) => tracing::error!(%error, "delivery panicked; the findings stay in its spool"),
            }
        }
    }
}
