//! A batch under way: which of its findings are off our hands, and which may go next.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write as _;

use lapwing_telemetry::{Fate, Finding};
use serde_json::json;

use crate::ndjson;
use crate::spool::Batch;

/// A batch read from the spool, until the last of its findings is off our hands.
pub(crate) struct Round {
    pub(crate) batch: Batch,
    /// One for each finding of the batch.
    marks: Vec<Mark>,
    /// How many findings from the start the cursor has passed.
    passed: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Open,
    Taken,
    Buried,
}

/// What goes to the target in one publication.
pub(crate) struct Sent<'a> {
    pub(crate) findings: Cow<'a, [Finding]>,
    /// Where each stands in the batch.
    pub(crate) at: Vec<usize>,
}

/// What goes to the dead-letter file.
#[derive(Default)]
pub(crate) struct Buried {
    pub(crate) lines: String,
    pub(crate) count: u64,
    /// The reason of the first of them.
    pub(crate) reason: String,
    pub(crate) at: Vec<usize>,
}

impl Round {
    pub(crate) fn new(batch: Batch) -> Round {
        let marks = vec![Mark::Open; batch.findings.len()];
        Round { batch, marks, passed: 0 }
    }

    /// The findings that are still open, in order, at most `most`; with `distinct` only the first revision
    /// of each finding, because the target might take a later one and not the earlier.
    pub(crate) fn open(&self, most: usize, distinct: bool) -> Sent<'_> {
        let findings = &self.batch.findings;
        let mut ids = BTreeSet::new();
        let at: Vec<usize> = (0..findings.len())
            .filter(|i| self.marks[*i] == Mark::Open)
            .filter(|i| !distinct || ids.insert(&findings[*i].id))
            .take(most)
            .collect();
        let findings = match (at.first(), at.last()) {
            (Some(first), Some(last)) if last - first + 1 == at.len() => {
                Cow::Borrowed(&findings[*first..=*last])
            }
            _ => Cow::Owned(at.iter().map(|i| findings[*i].clone()).collect()),
        };
        Sent { findings, at }
    }

    /// Takes down what became of the findings at the places `at`.
    pub(crate) fn settle(&mut self, at: &[usize], fates: &[Fate]) -> Buried {
        let mut buried = Buried::default();
        for (i, fate) in at.iter().zip(fates) {
            match fate {
                Fate::Taken => self.marks[*i] = Mark::Taken,
                Fate::Busy | Fate::Refused => {}
                Fate::Rejected(reason) => {
                    self.marks[*i] = Mark::Buried;
                    let finding = ndjson(&self.batch.findings[*i]);
                    writeln!(buried.lines, "{{\"reason\":{},\"finding\":{finding}}}", json!(reason))
                        .expect("writing to a string cannot fail");
                    if buried.count == 0 {
                        buried.reason.clone_from(reason);
                    }
                    buried.count += 1;
                    buried.at.push(*i);
                }
            }
        }
        buried
    }

    /// Takes back a burial for which there was no room.
    pub(crate) fn reopen(&mut self, at: &[usize]) {
        for i in at {
            self.marks[*i] = Mark::Open;
        }
    }

    /// How many findings from the start are off our hands, and how many of those passed just now are
    /// buried; `None` if nothing was added to them.
    pub(crate) fn pass(&mut self) -> Option<(usize, u64)> {
        let done = self.marks.iter().take_while(|mark| **mark != Mark::Open).count();
        if done == self.passed {
            return None;
        }
        let buried = self.marks[self.passed..done].iter().filter(|mark| **mark == Mark::Buried).count();
        self.passed = done;
        Some((done, buried as u64))
    }

    /// Whether there is nothing to keep of it: all is off our hands, or nothing is, and then it is read
    /// anew with what has come since.
    pub(crate) fn is_over(&self) -> bool {
        self.passed == self.marks.len() || self.marks.iter().all(|mark| *mark == Mark::Open)
    }
}
