//! What Linux says of another process (`man 5 proc`).

use std::time::Duration;

use anyhow::{Context, anyhow};

/// A process that is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process {
    pid: u32,
}

/// `utime` and `stime` are in hundredths of a second on every Linux that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;

impl Process {
    pub(crate) fn new(pid: u32) -> Process {
        Process { pid }
    }

    /// CPU time of all its threads, ended ones included, seconds.
    pub(crate) fn cpu_s(self) -> anyhow::Result<f64> {
        cpu_s(&self.file("stat")?).ok_or_else(|| anyhow!("/proc/{}/stat has another form", self.pid))
    }

    /// Whether it has ended and nobody has asked for its exit code yet.
    pub(crate) fn has_ended(self) -> anyhow::Result<bool> {
        Ok(after_name(&self.file("stat")?).is_some_and(|rest| rest.starts_with('Z')))
    }

    /// Resident memory at its highest, MiB.
    pub(crate) fn peak_rss_mib(self) -> anyhow::Result<f64> {
        let status = self.file("status")?;
        let kib = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
        Ok(kib.ok_or_else(|| anyhow!("process {} has ended", self.pid))? / 1_024.0)
    }

    /// Waits until it has hardly computed for a while, as after working through what it was sent; gives up
    /// after 30 s.
    pub(crate) async fn settled(self) -> anyhow::Result<()> {
        let mut calm = 0;
        let mut before = self.cpu_s()?;
        for _ in 0..120 {
            tokio::time::sleep(Duration::from_millis(250)).await;
            let now = self.cpu_s()?;
            calm = if now - before < 0.02 { calm + 1 } else { 0 };
            before = now;
            if calm == 3 {
                break;
            }
        }
        Ok(())
    }

    fn file(self, name: &str) -> anyhow::Result<String> {
        let path = format!("/proc/{}/{name}", self.pid);
        std::fs::read_to_string(&path).with_context(|| format!("read {path}"))
    }
}

/// The fields after the name, which stands in parentheses and may hold anything.
fn after_name(stat: &str) -> Option<&str> {
    Some(stat.rsplit_once(')')?.1.trim_start())
}

fn cpu_s(stat: &str) -> Option<f64> {
    // `state` is field 3, so `utime` and `stime`, fields 14 and 15, are the 12th and 13th from there.
    let mut fields = after_name(stat)?.split_whitespace().skip(11);
    let (user, system) = (fields.next()?.parse::<f64>().ok()?, fields.next()?.parse::<f64>().ok()?);
    Some((user + system) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_behind_a_name_of_any_kind() {
        let stat = "71 (a (b) c) S 1 71 71 0 -1 4194304 900 0 0 0 250 50 7 8 20 0 3 0 100 1 1";
        assert_eq!(cpu_s(stat), Some(3.0));
        assert_eq!(cpu_s("71 (cut) S 1"), None);
    }

    #[test]
    fn this_process_has_memory_and_has_not_ended() {
        let process = Process::new(std::process::id());
        assert!(process.peak_rss_mib().unwrap() > 1.0);
        assert!(!process.has_ended().unwrap());
    }
}
