//! Findings to an HTTP target, request by request.

use std::ops::Range;
use std::time::Duration;

use lapwing_telemetry::{Fate, Fates, Finding, FindingSink, PublishError, Publishing, Tending};
use tokio::time::sleep;

use super::HttpSettings;
use super::auth::Authority;
use super::client::{Answer, Client, Request};
use crate::tls::Failure;

/// What one target makes of findings, and how it answers. Does no I/O.
pub(crate) trait Dialect: Send {
    /// The finding as it stands in the body of a request.
    ///
    /// # Errors
    /// Why the target can never take it.
    fn part(&self, finding: &Finding) -> Result<Vec<u8>, String>;

    /// Whether requests can be made now.
    ///
    /// # Errors
    /// What an operator must put right first.
    fn ready(&self) -> Result<(), String> {
        Ok(())
    }

    /// A request that carries these findings; `parts` are what [`Dialect::part`] made of them.
    fn request(&mut self, findings: &[Finding], parts: &[Vec<u8>]) -> Request;

    /// What an answer that is no error means for the `count` findings of a request.
    fn judge(&mut self, answer: &Answer, count: usize) -> Step;

    /// What an answer with status 4xx or 5xx means, where this target says it better than the status does.
    fn judge_error(&self, _answer: &Answer) -> Option<Verdict> {
        None
    }

    /// Most findings in one request.
    fn most(&self) -> usize {
        usize::MAX
    }

    /// Bytes that a body has beside its parts, for each part.
    fn overhead(&self) -> usize {
        1
    }

    /// Whether an answer has a word for each finding.
    fn answers_one_by_one(&self) -> bool {
        false
    }

    /// A request that the target needs though there is nothing to publish, and when. `None` if never.
    fn next_reminder(&mut self) -> Option<(Duration, Request)> {
        None
    }

    /// The target has taken the latest reminder.
    fn reminded(&mut self) {}
}

/// What became of the findings of a request.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// The target has them.
    Taken,
    /// It says something else of each.
    Each(Vec<Fate>, String),
    /// It takes none of them together: too large, or one of them is wrong. Halves may pass.
    Split(String),
    /// One of them is wrong; the others may be sent again.
    Wrong(usize, String),
    /// Not now.
    Busy(String),
    /// An operator must act.
    Refused(String),
}

/// What an answer means.
pub(crate) enum Step {
    /// It is known what became of the findings.
    Known(Verdict),
    /// It is not known yet: ask with this request after this time.
    Ask(Request, Duration),
}

/// Publishes findings to an HTTP target.
pub struct HttpSink {
    settings: HttpSettings,
    dialect: Box<dyn Dialect>,
    client: Client,
    authority: Authority,
    /// Rejections by the target in a row; `None` before it has taken anything. A target that takes nothing
    /// at all is wrongly set up, and that is not the findings' fault.
    rejected_in_a_row: Option<usize>,
}

/// Rejections in a row after which the target, and not the findings, is taken to be at fault.
const MOST_IN_A_ROW: usize = 16;

impl HttpSink {
    pub(crate) fn with(settings: HttpSettings, dialect: Box<dyn Dialect>) -> HttpSink {
        let (client, authority) = (Client::new(&settings), Authority::new(&settings));
        HttpSink { settings, dialect, client, authority, rejected_in_a_row: None }
    }

    async fn send(&mut self, findings: &[Finding]) -> Result<(), PublishError> {
        if let Err(reason) = self.dialect.ready() {
            return Err(PublishError::OneByOne(Fates {
                each: vec![Fate::Refused; findings.len()],
                reason,
                retry_after: None,
            }));
        }
        let mut fates = Fates::undecided(findings.len());
        let parts = self.parts(findings, &mut fates);
        let own: Vec<bool> = fates.each.iter().map(|fate| matches!(fate, Fate::Rejected(_))).collect();
        // The next one is taken from the end.
        let mut ranges = self.ranges(&parts, &fates);
        ranges.reverse();
        while let Some(range) = ranges.pop() {
            let request = self.dialect.request(&findings[range.clone()], &parts[range.clone()]);
            let (verdict, retry_after) = self.verdict(request, range.len()).await;
            match verdict {
                Verdict::Taken => fates.each[range].fill(Fate::Taken),
                Verdict::Each(each, reason) => {
                    fates.reason = reason;
                    fates.retry_after = fates.retry_after.max(retry_after);
                    for (i, fate) in range.zip(each) {
                        fates.each[i] = fate;
                    }
                }
                Verdict::Split(reason) if range.len() <= 1 => fates.each[range].fill(Fate::Rejected(reason)),
                Verdict::Split(_) => {
                    let middle = range.start + range.len() / 2;
                    ranges.extend([middle..range.end, range.start..middle]);
                }
                Verdict::Wrong(at, reason) => {
                    let at = range.start + at.min(range.len() - 1);
                    fates.each[at] = Fate::Rejected(reason);
                    ranges.extend([at + 1..range.end, range.start..at].into_iter().filter(|r| !r.is_empty()));
                }
                Verdict::Refused(reason) => {
                    ranges.push(range);
                    ranges.into_iter().for_each(|range| fates.each[range].fill(Fate::Refused));
                    fates.reason = reason;
                    break;
                }
                // Nothing behind it is sent, so that the order stays.
                Verdict::Busy(reason) => {
                    (fates.reason, fates.retry_after) = (reason, retry_after);
                    break;
                }
            }
        }
        self.doubt(&mut fates, &own);
        fates.result()
    }

    /// Takes rejections for a refusal where the target has taken nothing else; `own` are those that were
    /// not the target's.
    fn doubt(&mut self, fates: &mut Fates, own: &[bool]) {
        if fates.each.contains(&Fate::Taken) {
            self.rejected_in_a_row = Some(0);
            return;
        }
        let rejected: Vec<&mut Fate> = fates
            .each
            .iter_mut()
            .zip(own)
            .filter(|(fate, own)| matches!(fate, Fate::Rejected(_)) && !**own)
            .map(|(fate, _)| fate)
            .collect();
        if rejected.is_empty() {
            return;
        }
        match self.rejected_in_a_row.map(|before| before + rejected.len()) {
            Some(now) if now <= MOST_IN_A_ROW => self.rejected_in_a_row = Some(now),
            _ => {
                for fate in rejected {
                    if let Fate::Rejected(reason) = std::mem::replace(fate, Fate::Refused) {
                        let url = &self.settings.url;
                        fates.reason =
                            format!("{url} takes no finding at all: {reason}; check how it is set up");
                    }
                }
            }
        }
    }

    fn parts(&self, findings: &[Finding], fates: &mut Fates) -> Vec<Vec<u8>> {
        let limit = self.settings.max_request_bytes;
        let made = findings.iter().zip(&mut fates.each).map(|(finding, fate)| {
            let part = self.dialect.part(finding).and_then(|part| {
                let bytes = part.len();
                (bytes + self.dialect.overhead() <= limit)
                    .then_some(part)
                    .ok_or_else(|| format!("{bytes} bytes by itself, and a request has at most {limit}"))
            });
            part.unwrap_or_else(|reason| {
                *fate = Fate::Rejected(reason);
                Vec::new()
            })
        });
        made.collect()
    }

    /// What goes into one request each: neighbours that are not rejected, up to the limits.
    fn ranges(&self, parts: &[Vec<u8>], fates: &Fates) -> Vec<Range<usize>> {
        let (limit, most, overhead) =
            (self.settings.max_request_bytes, self.dialect.most(), self.dialect.overhead());
        let mut ranges: Vec<Range<usize>> = Vec::new();
        let mut bytes = 0;
        for (i, part) in parts.iter().enumerate() {
            if fates.each[i] != Fate::Busy {
                continue;
            }
            bytes += part.len() + overhead;
            match ranges.last_mut() {
                Some(last) if last.end == i && last.len() < most && bytes <= limit => last.end = i + 1,
                _ => {
                    bytes = part.len() + overhead;
                    ranges.push(i..i + 1);
                }
            }
        }
        ranges
    }

    /// Sends a request and asks on until it is known what became of it.
    async fn verdict(&mut self, request: Request, count: usize) -> (Verdict, Option<Duration>) {
        let mut request = request;
        loop {
            let answer = match self.call(&request).await {
                Ok(answer) => answer,
                Err(Failure { reason, refused: true }) => return (Verdict::Refused(reason), None),
                Err(Failure { reason, refused: false }) => return (Verdict::Busy(reason), None),
            };
            let step = match answer.status {
                200..=299 => self.dialect.judge(&answer, count),
                status => Step::Known(self.dialect.judge_error(&answer).unwrap_or_else(|| by_status(status))),
            };
            match step {
                Step::Known(verdict) => return (self.placed(verdict), answer.retry_after),
                Step::Ask(next, after) => {
                    request = next;
                    sleep(after).await;
                }
            }
        }
    }

    /// Puts the target's address in front of a reason.
    fn placed(&self, verdict: Verdict) -> Verdict {
        let url = &self.settings.url;
        match verdict {
            Verdict::Busy(reason) => Verdict::Busy(format!("{url}: {reason}")),
            Verdict::Refused(reason) => Verdict::Refused(format!("{url}: {reason}")),
            Verdict::Each(each, reason) => Verdict::Each(each, format!("{url}: {reason}")),
            other => other,
        }
    }

    async fn call(&mut self, request: &Request) -> Result<Answer, Failure> {
        let authorization = self.authority.header().await?;
        let answer = self.client.call(request, authorization).await?;
        if answer.status == 401 && self.authority.forget() {
            let authorization = self.authority.header().await?;
            return self.client.call(request, authorization).await;
        }
        Ok(answer)
    }

    async fn remind(&mut self) -> PublishError {
        loop {
            let Some((after, request)) = self.dialect.next_reminder() else {
                return std::future::pending().await;
            };
            sleep(after).await;
            let busy = |reason| PublishError::Busy { reason, delivered: 0 };
            match self.call(&request).await {
                Ok(answer) if answer.status < 300 => self.dialect.reminded(),
                Ok(answer) => return busy(format!("{}: status {}", self.settings.url, answer.status)),
                Err(failure) => return busy(failure.reason),
            }
        }
    }
}

impl FindingSink for HttpSink {
    fn name(&self) -> &str {
        &self.settings.name
    }

    fn publish<'a>(&'a mut self, findings: &'a [Finding]) -> Publishing<'a> {
        Box::pin(self.send(findings))
    }

    fn answers_one_by_one(&self) -> bool {
        self.dialect.answers_one_by_one()
    }

    fn tend(&mut self) -> Tending<'_> {
        Box::pin(self.remind())
    }
}

/// What a status means where the target has no words of its own (RFC 9110 section 15).
fn by_status(status: u16) -> Verdict {
    match status {
        401 | 403 | 407 => {
            Verdict::Refused(format!("status {status}; check the credentials and what they permit"))
        }
        404 | 405 | 410 | 415 => Verdict::Refused(format!("status {status}; check the address")),
        300..=399 => Verdict::Refused(format!("status {status}; give the address that it redirects to")),
        413 => Verdict::Split("too large for the target (status 413)".to_owned()),
        408 | 409 | 425 | 429 => Verdict::Busy(format!("status {status}")),
        400..=499 => Verdict::Split(format!("the target takes no such finding (status {status})")),
        _ => Verdict::Busy(format!("status {status}")),
    }
}
