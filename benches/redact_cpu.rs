//! What redaction costs in CPU time, against its bars: `cargo bench -p lapwing-benches --bench redact_cpu`.
//!
//! Rates are the best of many passes of one thread, measured by the thread's own clock, so other work on the machine
//! disturbs them little; the rows of one run are comparable, those of two machines are not. Each pass has a redactor
//! that has seen nothing. `-- NAME` runs the rows whose name begins so; `-- --once NAME` makes one pass over each
//! such row and measures nothing, for `valgrind --tool=callgrind --toggle-collect='*Redactor*redact_text*'`.

#![expect(clippy::print_stdout, reason = "what it measured is its output")]

use std::hint::black_box;
use std::sync::Arc;

use lapwing_benches::texts::{self, Recorded, Texts};
use lapwing_redaction::{Redactor, Rules};
use rustix::time::{ClockId, clock_gettime};

/// What the product runs with.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// CPU time spent on each row.
const SECONDS: f64 = 3.0;

fn main() {
    // Cargo adds `--bench`.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let once = words.iter().any(|word| word == "--once");
    let wanted = words.iter().find(|word| !word.starts_with("--")).cloned().unwrap_or_default();
    let rules = Arc::new(Rules::builtin());
    let (corpus, hostile) = (texts::corpus(), texts::hostile());
    if once {
        for case in corpus.iter().chain(&hostile).filter(|case| case.name.starts_with(&wanted)) {
            pass(&mut Redactor::new(rules.clone()), case);
        }
        return;
    }
    let rate = |case: &Texts| {
        let rate = case.bytes() as f64
            / best(|| Redactor::new(rules.clone()), |mut redactor| pass(&mut redactor, case))
            / 1e6;
        println!("{:22} {rate:7.1} MB/s", case.name);
        rate
    };
    let begins = |case: &&Texts| case.name.starts_with(&wanted);
    let rates: Vec<f64> = corpus.iter().filter(begins).map(rate).collect();
    if let [all, clean, ascii, accented] = rates[..] {
        println!("  every line: bar 80, {}", verdict(all >= 80.0));
        println!("  clean lines: bar 200, {}", verdict(clean >= 200.0));
        let slower = ascii / accented;
        println!("  one letter outside ASCII: {slower:.2} times slower, bar 1.3, {}", verdict(slower <= 1.3));
    }
    if "columns".starts_with(&wanted) {
        let recorded = Recorded::read();
        let bytes = Recorded::text_bytes(&recorded.batches()) as f64;
        let mut redactor = Redactor::new(rules.clone());
        let redact = |batches: Vec<_>| {
            drop(batches.into_iter().map(|(_, raw)| redactor.redact(raw)).collect::<Vec<_>>());
        };
        let rate = bytes / best(|| recorded.batches(), redact) / f64::from(1 << 20);
        println!("{:22} {rate:7.1} MiB/s: bar 400, {}", "columns", verdict(rate >= 400.0));
    }
    let mut rates: Vec<f64> = hostile.iter().filter(begins).map(rate).collect();
    if rates.len() == hostile.len() {
        rates.sort_by(f64::total_cmp);
        let half = rates.len() / 2;
        let median = f64::midpoint(rates[half - 1], rates[half]);
        let slower = median / rates[0];
        println!(
            "  hostile: the slowest is {slower:.1} times slower than the median, bar 3, {}",
            verdict(slower <= 3.0)
        );
    }
}

/// Redacts every text once.
fn pass(redactor: &mut Redactor, case: &Texts) {
    case.texts.iter().for_each(|text| drop(black_box(redactor.redact_text(None, text))));
}

/// The least CPU time of this thread for one `run`, in seconds.
fn best<T>(mut prepare: impl FnMut() -> T, mut run: impl FnMut(T)) -> f64 {
    let (mut least, mut all) = (f64::INFINITY, 0.0);
    while all < SECONDS {
        let input = prepare();
        let before = cpu_seconds();
        run(input);
        let took = cpu_seconds() - before;
        (least, all) = (least.min(took), all + took);
    }
    least
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn verdict(reached: bool) -> &'static str {
    if reached { "reached" } else { "not reached" }
}
