//! Commands and flags.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use lapwing_telemetry::EventTime;

/// Telemetry anomaly detection for service meshes: OTLP in, redacted, baselined per service pair; findings out.
#[derive(Parser)]
#[command(name = "lapwing", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "Examples:
  lapwing demo                                        watch it work on recorded telemetry
  lapwing run --config pipelines/standalone.yaml      receive OTLP on 127.0.0.1:4317 and 4318
  lapwing replay --input datasets/mesh/raw            judge a recording at CPU speed
Exit codes: 0 done, 1 failed, 2 wrong usage, 75 try again later, 78 wrong configuration")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run the pipeline until SIGTERM or Ctrl-C.
    #[command(
        after_help = "Example:\n  lapwing run --config pipelines/standalone.yaml --set detectors.learning=7d\n\nSIGHUP reads rules and inventory again; SIGTERM drains and exits 0; a second one exits at once."
    )]
    Run(ConfigArgs),
    /// Judge recorded telemetry with the same engines as `run`, at CPU speed.
    #[command(
        after_help = "Example:\n  lapwing replay --input datasets/mesh/stretched --inventory datasets/mesh/inventory.yaml --findings findings.ndjson\n  lapwing replay --series metrics.csv.gz --train-until 2026-03-02T09:00:00Z --findings findings.ndjson\n\nInputs are told apart by content: OTLP frames (plain, zstd per message, one zstd stream), OTLP/JSON lines, or a lapwing Parquet archive."
    )]
    Replay(ReplayArgs),
    /// Fit a multivariate model for the `profile` detector on recorded telemetry.
    #[command(
        after_help = "Example:\n  lapwing train --input datasets/mesh/stretched --inventory datasets/mesh/inventory.yaml --name profile --until 2026-03-09T00:00:00Z --labels datasets/mesh/stretched/labels.json"
    )]
    Train(TrainArgs),
    /// Score the findings on a recording against what was really done to the mesh.
    #[command(
        after_help = "Example:\n  lapwing backtest --input datasets/mesh/stretched --inventory datasets/mesh/inventory.yaml --labels datasets/mesh/stretched/labels.json --plot backtest.svg"
    )]
    Backtest(BacktestArgs),
    /// Show or export what has been learned: usual volume, response times and error rates of every pair.
    #[command(
        after_help = "Examples:\n  lapwing baseline show --config pipelines/standalone.yaml --top 20\n  lapwing baseline show --data-dir ./lapwing-data --source 'shop/*' --format json | jq '.pairs[].errors'\n  lapwing baseline export --data-dir ./lapwing-data --output baselines.md\n\nReads the state file of the running or stopped process and changes nothing."
    )]
    Baseline {
        #[command(subcommand)]
        action: BaselineCommand,
    },
    /// Say why a finding was made: observed and expected, its history, what else changed; and plot it.
    #[command(
        after_help = "Examples:\n  lapwing explain lw-5d0c --data-dir ./lapwing-data\n  lapwing explain lw-5d0c --config pipelines/standalone.yaml --output finding.svg\n  lapwing explain lw-5d0c --findings out.ndjson --input datasets/mesh/stretched --inventory datasets/mesh/inventory.yaml\n\nThe windows come from a replay of the archive up to the finding, so it takes as long as that."
    )]
    Explain(ExplainArgs),
    /// Replay a recording under two configurations and show which findings appear, vanish or change.
    #[command(
        after_help = "Examples:\n  lapwing simulate --input ./lapwing-data/archive --config now.yaml --config planned.yaml\n  lapwing simulate --input datasets/mesh/stretched --inventory datasets/mesh/inventory.yaml --labels datasets/mesh/stretched/labels.json --config pipelines/standalone.yaml --set receivers.otlp.default_cluster=cluster-lon-1 --set-b detectors.budget=3\n\nExit codes: 0 done; with --exit-code 1 if the findings differ"
    )]
    Simulate(SimulateArgs),
    /// Learn from an archive or a recording into a state file that is not there yet, for `run` to start with.
    #[command(
        after_help = "Examples:\n  lapwing warm-start --config pipelines/standalone.yaml\n  lapwing warm-start --input /backup/otlp --inventory inventory.yaml --data-dir ./lapwing-data\n\nWithout --input the archive of the data directory is learned; `run` does that by itself when it finds no state\n(detectors.warm_start). What is found on the way is not published. Stop `run` first."
    )]
    WarmStart(WarmStartArgs),
    /// Mark findings true or false: false ones make the detector more careful on that pair.
    #[command(
        after_help = "Examples:\n  lapwing feedback lw-5d0c --false --reason 'monthly report' --data-dir ./lapwing-data\n  lapwing feedback lw-51335a lw-a89845 --true --by soc --config pipelines/standalone.yaml\n  lapwing feedback --list --data-dir ./lapwing-data\n\nThe running process reads it within seconds; it counts from five minutes later on, for 90 days. The latest mark of a\nfinding counts; nothing is removed from the file."
    )]
    Feedback(FeedbackArgs),
    /// Redact text, explain what rules do with it, or search files for what should not be there.
    #[command(
        args_conflicts_with_subcommands = true,
        after_help = "Examples:\n  echo 'GET /users?email=jo@example.org' | lapwing redact\n  lapwing redact --jsonl --stats < texts.jsonl > redacted.jsonl\n  lapwing redact --explain 'pan 4111 1111 1111 1112, mail jo@example.org'\n  lapwing redact --explain --key user.password --format json < values.txt\n  lapwing redact scan ./lapwing-data/archive"
    )]
    Redact(RedactArgs),
    /// Check configuration files and print every problem at once.
    #[command(
        after_help = "Examples:\n  lapwing validate pipelines/standalone.yaml\n  lapwing validate --rules pipelines/rules/strict.yaml"
    )]
    Validate {
        /// Configuration files, merged in order; the rule files and keys that they name are checked too.
        #[arg(required_unless_present = "rules")]
        files: Vec<PathBuf>,
        /// Rule files to check each by itself, without a configuration.
        #[arg(long, num_args = 1.., value_name = "FILE")]
        rules: Vec<PathBuf>,
    },
    /// Print the JSON Schema of the configuration.
    #[command(after_help = "Example:\n  lapwing schema > pipelines/schema.json")]
    Schema,
    /// Show or enforce how long the archive is kept.
    #[command(
        after_help = "Examples:\n  lapwing retention show --config pipelines/standalone.yaml\n  lapwing retention apply --archive ./lapwing-data/archive --max-age 30d"
    )]
    Retention {
        #[command(subcommand)]
        action: RetentionCommand,
    },
    /// Send recorded Envoy telemetry through a whole pipeline and show what it found.
    #[command(after_help = "Example:\n  lapwing demo --keep ./demo-data")]
    Demo(DemoArgs),
    /// Print the version.
    #[command(after_help = "Example:\n  lapwing version")]
    Version,
}

/// Where the configuration comes from.
#[derive(Args, Default)]
pub(crate) struct ConfigArgs {
    /// Configuration files; later ones win, maps merge, lists replace.
    #[arg(long, num_args = 1.., value_name = "FILE")]
    pub(crate) config: Vec<PathBuf>,
    /// One setting, for example `retention.max_age=7d`; may be given several times.
    #[arg(long, value_name = "KEY.PATH=VALUE")]
    pub(crate) set: Vec<String>,
}

/// What to replay.
#[derive(Args)]
pub(crate) struct InputArgs {
    /// Recording: a folder or files; may be given several times.
    #[arg(long, required = true, num_args = 1.., value_name = "PATH")]
    pub(crate) input: Vec<PathBuf>,
    /// Workload inventory (YAML) or `kubectl get pods -A -o json`.
    #[arg(long, value_name = "FILE")]
    pub(crate) inventory: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

#[derive(Args)]
pub(crate) struct ReplayArgs {
    /// Recording: a folder or files; may be given several times.
    #[arg(long, required_unless_present = "series", num_args = 1.., value_name = "PATH")]
    pub(crate) input: Vec<PathBuf>,
    /// Workload inventory (YAML) or `kubectl get pods -A -o json`.
    #[arg(long, value_name = "FILE", conflicts_with = "series")]
    pub(crate) inventory: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    #[command(flatten)]
    pub(crate) series: SeriesArgs,
    /// Write one finding revision per line to this file; `-` is standard output.
    #[arg(long, value_name = "OUT.ndjson")]
    pub(crate) findings: Option<PathBuf>,
    /// Write the redacted calls as Parquet below this directory.
    #[arg(long, value_name = "DIR", conflicts_with = "series")]
    pub(crate) archive: Option<PathBuf>,
    /// How to print the summary.
    #[arg(long, value_enum, default_value_t = OutputFormat::Table)]
    pub(crate) format: OutputFormat,
}

/// Series of another tool instead of a recording.
#[derive(Args)]
pub(crate) struct SeriesArgs {
    /// Rows of `timestamp,source,destination,metric,value` (CSV, plain or gzip) at a fixed step, instead of a
    /// recording. Timestamps are epoch seconds, milliseconds or RFC 3339.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["input", "config", "set"])]
    pub(crate) series: Option<PathBuf>,
    /// What lies before this time (as in the rows) is known to be usual: it is only learned, and what deviates from
    /// it afterwards never becomes usual.
    #[arg(long, value_name = "TIME", requires = "series")]
    pub(crate) train_until: Option<String>,
    /// What a metric measures where its name does not say: volume, latency, ratio, bytes, resource or other; for
    /// example `answers=ratio`. May be given several times.
    #[arg(long, value_name = "NAME=KIND", requires = "series")]
    pub(crate) metric: Vec<String>,
    /// False findings a day that are acceptable: for all series, if services have several each, or else for each series.
    #[arg(long, value_name = "N", requires = "series", default_value_t = 1.0)]
    pub(crate) budget: f64,
}

#[derive(Args)]
pub(crate) struct TrainArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// Name of the model.
    #[arg(long, default_value = "profile")]
    pub(crate) name: String,
    /// Folder of models; the version is the next free one.
    #[arg(long, default_value = "models", value_name = "DIR")]
    pub(crate) models: PathBuf,
    /// What was really done to the mesh: the model is scored against it for its card.
    #[arg(long, value_name = "FILE")]
    pub(crate) labels: Option<PathBuf>,
    /// Use only windows that begin before this time (RFC 3339), to keep the rest for judging the model.
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
}

#[derive(Args)]
pub(crate) struct BacktestArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// What was really done to the mesh, and when.
    #[arg(long, value_name = "FILE")]
    pub(crate) labels: PathBuf,
    /// Draw what was done and what was found over time to this file.
    #[arg(long, value_name = "FILE.svg")]
    pub(crate) plot: Option<PathBuf>,
    /// How to print the scores.
    #[arg(long, value_enum, default_value_t = OutputFormat::Table)]
    pub(crate) format: OutputFormat,
}

#[derive(Args)]
pub(crate) struct SimulateArgs {
    /// Recording or archive: a folder or files; may be given several times.
    #[arg(long, required = true, num_args = 1.., value_name = "PATH")]
    pub(crate) input: Vec<PathBuf>,
    /// The configuration files: first A, then B. One alone is both, with `--set-b` for B.
    #[arg(long, required = true, value_name = "FILE")]
    pub(crate) config: Vec<PathBuf>,
    /// One setting of both.
    #[arg(long, value_name = "KEY.PATH=VALUE")]
    pub(crate) set: Vec<String>,
    /// One setting of B alone.
    #[arg(long, value_name = "KEY.PATH=VALUE")]
    pub(crate) set_b: Vec<String>,
    /// Workload inventory (YAML) or `kubectl get pods -A -o json`, for both.
    #[arg(long, value_name = "FILE")]
    pub(crate) inventory: Option<PathBuf>,
    /// What was really done to the mesh: scores both.
    #[arg(long, value_name = "FILE")]
    pub(crate) labels: Option<PathBuf>,
    /// How to print it; `json` has every finding.
    #[arg(long, value_enum, default_value_t = OutputFormat::Table)]
    pub(crate) format: OutputFormat,
    /// Exit with 1 if the findings differ.
    #[arg(long)]
    pub(crate) exit_code: bool,
}

#[derive(Args)]
pub(crate) struct WarmStartArgs {
    /// Recording or archive of another log: a folder or files; may be given several times.
    #[arg(long, num_args = 1.., value_name = "PATH")]
    pub(crate) input: Vec<PathBuf>,
    /// Workload inventory (YAML) or `kubectl get pods -A -o json`.
    #[arg(long, value_name = "FILE")]
    pub(crate) inventory: Option<PathBuf>,
    /// The data directory, instead of the configuration's.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

#[derive(Args)]
#[group(id = "verdict", required = true, multiple = false, args = ["is_true", "is_false", "list"])]
pub(crate) struct FeedbackArgs {
    /// Ids of findings, or as much of each as no other has.
    #[arg(required_unless_present = "list")]
    pub(crate) id: Vec<String>,
    /// Something was the matter.
    #[arg(long = "true")]
    pub(crate) is_true: bool,
    /// Nothing was the matter.
    #[arg(long = "false")]
    pub(crate) is_false: bool,
    /// Print what has been marked.
    #[arg(long, conflicts_with = "id")]
    pub(crate) list: bool,
    /// Why; it is redacted before it is written.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Who says so; the user's name if not given.
    #[arg(long, value_name = "NAME")]
    pub(crate) by: Option<String>,
    /// From when on it counts (RFC 3339), for replays of recordings; five minutes from now if not given.
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// The findings file (native format), instead of the configuration's.
    #[arg(long, value_name = "FILE")]
    pub(crate) findings: Option<PathBuf>,
    /// The data directory, instead of the configuration's.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

#[derive(Args)]
pub(crate) struct ExplainArgs {
    /// The finding's id, or as much of its beginning as no other has.
    pub(crate) id: String,
    /// The findings file (native format), instead of the configuration's.
    #[arg(long, value_name = "FILE")]
    pub(crate) findings: Option<PathBuf>,
    /// Recording to replay, instead of the archive.
    #[arg(long, num_args = 1.., value_name = "PATH")]
    pub(crate) input: Vec<PathBuf>,
    /// Workload inventory of the recording.
    #[arg(long, value_name = "FILE")]
    pub(crate) inventory: Option<PathBuf>,
    /// Days before the finding to show; the baseline rests on all there is.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=90))]
    pub(crate) days: u32,
    /// Draw the plot to this file, too.
    #[arg(long, value_name = "FILE.svg")]
    pub(crate) output: Option<PathBuf>,
    /// The data directory, instead of the configuration's.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// How to print it; `json` has every window.
    #[arg(long, value_enum, default_value_t = OutputFormat::Table)]
    pub(crate) format: OutputFormat,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

#[derive(Subcommand)]
pub(crate) enum BaselineCommand {
    /// Print it.
    #[command(after_help = "Example:\n  lapwing baseline show --source shop/cart --destination data/orders")]
    Show(BaselineShowArgs),
    /// Write all of it to a file, for an audit: with the hash of the state and the time.
    #[command(
        after_help = "Example:\n  lapwing baseline export --data-dir ./lapwing-data --output baselines.json"
    )]
    Export(BaselineExportArgs),
}

/// Which state, and which pairs of it.
#[derive(Args)]
pub(crate) struct StateArgs {
    /// The state file, instead of the configuration's.
    #[arg(long, value_name = "FILE", conflicts_with = "data_dir")]
    pub(crate) state: Option<PathBuf>,
    /// The data directory, instead of the configuration's.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Only pairs with this calling service: a name, or a pattern with one `*`.
    #[arg(long, value_name = "NAME", default_value = "*", hide_default_value = true)]
    pub(crate) source: String,
    /// Only pairs with this called service, in the same way.
    #[arg(long, value_name = "NAME", default_value = "*", hide_default_value = true)]
    pub(crate) destination: String,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

#[derive(Args)]
pub(crate) struct BaselineShowArgs {
    #[command(flatten)]
    pub(crate) from: StateArgs,
    /// Only so many pairs, those with the most calls first.
    #[arg(long, value_name = "N")]
    pub(crate) top: Option<usize>,
    /// How to print it; a single pair is shown in full.
    #[arg(long, value_enum, default_value_t = ReportFormat::Table)]
    pub(crate) format: ReportFormat,
}

#[derive(Args)]
pub(crate) struct BaselineExportArgs {
    #[command(flatten)]
    pub(crate) from: StateArgs,
    /// The file; `.json` or `.md` says in which format.
    #[arg(long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

#[derive(Args)]
pub(crate) struct RedactArgs {
    #[command(subcommand)]
    pub(crate) action: Option<RedactCommand>,
    /// Texts to redact or explain; lines of standard input if none is given.
    pub(crate) text: Vec<String>,
    /// Say for each text which rule claims what and why, and what nearly was claimed. Values are never printed:
    /// their place, length and form are (`aaaa9@aa.aaa`).
    #[arg(long, conflicts_with_all = ["jsonl", "stats"])]
    pub(crate) explain: bool,
    /// The attribute that the texts belong to, for example `user.email`.
    #[arg(long, value_name = "NAME", conflicts_with = "jsonl")]
    pub(crate) key: Option<String>,
    /// How to print explanations; `json` is one object per text.
    #[arg(long, value_enum, default_value_t = OutputFormat::Table, requires = "explain")]
    pub(crate) format: OutputFormat,
    /// Read `{"id","text"}` lines, optionally with `"key"` (the attribute the text belongs to), and write the same.
    #[arg(long, conflicts_with = "text")]
    pub(crate) jsonl: bool,
    /// Print hits per rule to standard error.
    #[arg(long)]
    pub(crate) stats: bool,
    /// When the texts arrived, which decides whose key makes pseudonyms: `2026-11-24T12:00:00Z`; now if not given.
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "explain")]
    pub(crate) at: Option<EventTime>,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

fn time(text: &str) -> Result<EventTime, &'static str> {
    EventTime::parse_rfc3339(text).ok_or("not a time with a zone such as `2026-11-24T12:00:00Z`")
}

#[derive(Subcommand)]
pub(crate) enum RedactCommand {
    /// Search files for what redaction would not have left there: archives, other Parquet, journals, logs, NDJSON.
    #[command(
        after_help = "Examples:\n  lapwing redact scan ./lapwing-data/archive\n  lapwing redact scan --format json access.log.gz exports/ | jq .by_rule\n\nFolders are searched to the bottom but for hidden entries. Places and forms are printed, never values.\nExit codes: 0 nothing found and every file read, 1 something found or a file not readable, 78 wrong configuration"
    )]
    Scan(ScanArgs),
}

#[derive(Args)]
pub(crate) struct ScanArgs {
    /// Files, or folders with all that lies below them.
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// How to print what was found.
    #[arg(long, value_enum, default_value_t = OutputFormat::Table)]
    pub(crate) format: OutputFormat,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

#[derive(Args)]
pub(crate) struct DemoArgs {
    /// Recording to send; the data set of the repository if not given.
    #[arg(long, value_name = "DIR")]
    pub(crate) dataset: Option<PathBuf>,
    /// Keep journal, findings and archive in this directory.
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,
}

#[derive(Subcommand)]
pub(crate) enum RetentionCommand {
    /// Print what would be deleted now.
    Show(RetentionArgs),
    /// Delete what is no longer kept, now.
    Apply(RetentionArgs),
}

#[derive(Args)]
pub(crate) struct RetentionArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// The archive's directory, instead of the configuration's.
    #[arg(long, value_name = "DIR")]
    pub(crate) archive: Option<PathBuf>,
    /// Age beyond which hours are deleted, instead of the configuration's.
    #[arg(long, value_name = "AGE")]
    pub(crate) max_age: Option<String>,
    /// How to print the report.
    #[arg(long, value_enum, default_value_t = OutputFormat::Table)]
    pub(crate) format: OutputFormat,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// For people.
    Table,
    /// For programs: one JSON object.
    Json,
}

/// How reports are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    /// For people at a terminal.
    Table,
    /// For programs: one JSON object.
    Json,
    /// For people who keep it: the auditor.
    Markdown,
}
