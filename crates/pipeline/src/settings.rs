//! The configuration, ready to use: addresses parsed, rules compiled, files read.

use std::fs;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lapwing_detection::{Model, Sensitivity, Zone};
use lapwing_otlp::door::{DoorSettings, TlsSettings};
use lapwing_otlp::{DecodeSettings, Inventory};
use lapwing_redaction::{Redactor, Rules};
use lapwing_storage::retention::RetentionPolicy;
use lapwing_storage::{ArchiveSettings, JournalSettings};
use lapwing_telemetry::{CANARY_CLUSTER, FindingKind};

use crate::canary::{CanarySettings, KINDS};
use crate::config::{Config, ConfigFile, Endpoint, Problem, Role, Telemetry, WarmStart};
use crate::exporters::{self, Target};
use crate::rules::RuleSources;

/// Everything a pipeline is told.
#[derive(Clone)]
pub struct Settings {
    /// Which loops run.
    pub roles: Vec<Role>,
    /// Where journal, state and spools live.
    pub data_dir: PathBuf,
    /// The door.
    pub door: DoorSettings,
    /// The road in.
    pub intake: IntakeSettings,
    /// Where names come from, and how often the file is looked at.
    pub inventory: (Option<PathBuf>, Duration),
    /// The files of redaction rules and pseudonym keys, and how often they are looked at.
    pub rules: (RuleSources, Duration),
    /// Canaries, if any are sent.
    pub canary: Option<CanarySettings>,
    /// The journal.
    pub journal: JournalSettings,
    /// Requests are gathered this long, and up to this many bytes.
    pub gather: (Duration, usize),
    /// Detection.
    pub detection: Arc<lapwing_detection::Settings>,
    /// The fitted model, if one is configured.
    pub model: Option<Arc<Model>>,
    /// The file of feedback, if it does not lie below `data_dir`.
    pub feedback: Option<PathBuf>,
    /// Whether to learn from the archive when there is no saved state.
    pub warm_start: bool,
    /// Time between two saves of the learned state.
    pub save_interval: Duration,
    /// Where findings go.
    pub targets: Vec<Target>,
    /// The archive, if one is kept.
    pub archive: Option<ArchiveSettings>,
    /// Time after which an archive file is closed.
    pub roll_interval: Duration,
    /// What of the archive is kept.
    pub retention: RetentionPolicy,
    /// Time between two checks of that.
    pub retention_interval: Duration,
    /// Where health is served.
    pub health: Option<SocketAddr>,
    /// Where metrics are served.
    pub metrics: Option<SocketAddr>,
    /// lapwing's own logs.
    pub telemetry: Telemetry,
    /// How long draining may take.
    pub shutdown_timeout: Duration,
}

/// What the road in is told.
#[derive(Clone)]
pub struct IntakeSettings {
    /// How to decode.
    pub decode: DecodeSettings,
    /// What to redact.
    pub rules: Arc<Rules>,
    /// Partitions of the log.
    pub partitions: u16,
}

impl Settings {
    /// Makes settings of a configuration.
    ///
    /// # Errors
    /// Every problem there is, each with its place.
    pub fn of(config: &Config) -> Result<Settings, Vec<Problem>> {
        let mut problems = Vec::new();
        let settings = Builder { file: &config.file, problems: &mut problems }.settings();
        if problems.is_empty() { Ok(settings) } else { Err(config.located(problems)) }
    }

    /// Reads the inventory anew; the empty one if none is configured.
    ///
    /// # Errors
    /// Says in words what is wrong with the file.
    pub fn read_inventory(&self) -> Result<Inventory, String> {
        self.inventory.0.as_deref().map_or(Ok(Inventory::default()), read_inventory)
    }

    /// Makes a redactor with these rules, for text outside the pipeline.
    pub fn redactor(&self) -> Redactor {
        Redactor::new(self.intake.rules.clone())
    }

    /// The archive's settings, for another directory.
    pub fn archive_at(&self, dir: PathBuf) -> ArchiveSettings {
        let defaults = || ArchiveSettings {
            dir: PathBuf::new(),
            buffer_bytes: 96 << 20,
            row_group_rows: 65_536,
            zstd_level: 1,
        };
        ArchiveSettings { dir, ..self.archive.clone().unwrap_or_else(defaults) }
    }

    /// Where the learned state lies.
    pub fn state_file(&self) -> PathBuf {
        self.data_dir.join("state").join("detect.state")
    }

    /// The same for another data directory. An archive and a findings file that the configuration puts elsewhere stay.
    #[must_use]
    pub fn with_data_dir(mut self, dir: PathBuf) -> Settings {
        if let Some(archive) = &mut self.archive
            && archive.dir == self.data_dir.join("archive")
        {
            archive.dir = dir.join("archive");
        }
        self.journal.dir = dir.join("journal");
        self.data_dir = dir;
        self
    }

    /// Where the file of findings lies, whether or not one is written.
    pub fn findings_file(&self) -> PathBuf {
        let path = self.targets.iter().find(|target| target.name == "file").and_then(Target::file);
        path.map_or_else(|| self.data_dir.join("findings.ndjson"), Path::to_path_buf)
    }

    /// Where people's feedback on findings lies, whether or not there is any.
    pub fn feedback_file(&self) -> PathBuf {
        self.feedback.clone().unwrap_or_else(|| self.data_dir.join("feedback.ndjson"))
    }

    /// Where the archive lies, whether or not one is being kept.
    pub fn archive_dir(&self) -> PathBuf {
        self.archive.as_ref().map_or_else(|| self.data_dir.join("archive"), |a| a.dir.clone())
    }
}

struct Builder<'a> {
    file: &'a ConfigFile,
    problems: &'a mut Vec<Problem>,
}

impl Builder<'_> {
    fn settings(mut self) -> Settings {
        let file = self.file;
        let data_dir = PathBuf::from(&file.data_dir);
        let files = file.redaction.rules.iter().map(PathBuf::from).collect();
        let sources = RuleSources { files, keys: file.redaction.pseudonym_keys.clone() };
        let rules = sources.read().unwrap_or_else(|problems| {
            self.problems.extend(problems);
            Arc::new(Rules::builtin())
        });
        let inventory = file.inventory.file.as_ref().map(PathBuf::from);
        if let Some(Err(reason)) = inventory.as_deref().map(read_inventory) {
            self.problem("inventory.file", reason, "see the documentation of the inventory for its form");
        }
        let model = file.detectors.model.as_ref().and_then(|path| self.model(Path::new(path)));
        let archive_dir =
            file.archive.directory.as_ref().map_or_else(|| data_dir.join("archive"), PathBuf::from);
        self.check_ranges();
        Settings {
            roles: self.roles(),
            door: self.door(),
            intake: IntakeSettings { decode: self.decode(), rules, partitions: file.log.partitions },
            inventory: (inventory, file.inventory.reload_interval.0),
            rules: (sources, file.redaction.reload_interval.0),
            canary: self.canary(),
            journal: JournalSettings {
                dir: data_dir.join("journal"),
                disk_budget_bytes: file.log.disk_budget.0,
                segment_bytes: file.log.segment_size.0,
                consumers: self.consumers(),
            },
            gather: (file.log.gather.0, file.log.gather_size.0 as usize),
            detection: Arc::new(self.detection()),
            model,
            feedback: file.detectors.feedback.as_ref().map(PathBuf::from),
            warm_start: file.detectors.warm_start == WarmStart::Archive,
            save_interval: file.detectors.save_interval.0,
            targets: exporters::targets(&file.exporters, &data_dir, self.problems),
            archive: file.archive.enabled.then_some(ArchiveSettings {
                dir: archive_dir,
                buffer_bytes: file.archive.buffer_size.0,
                row_group_rows: 65_536,
                zstd_level: file.archive.compression_level,
            }),
            roll_interval: file.archive.roll_interval.0,
            retention: RetentionPolicy {
                max_age: Some(file.retention.max_age.0),
                max_bytes: file.retention.max_size.map(|s| s.0),
            },
            retention_interval: file.retention.check_interval.0,
            health: file
                .extensions
                .health_check
                .as_ref()
                .and_then(|a| self.address("extensions.health_check.endpoint", &a.endpoint)),
            metrics: file
                .service
                .telemetry
                .metrics
                .as_ref()
                .and_then(|m| self.address("service.telemetry.metrics.address", &m.address)),
            telemetry: file.service.telemetry.clone(),
            shutdown_timeout: file.service.shutdown_timeout.0,
            data_dir,
        }
    }

    /// The journal lies on one machine, so all loops that use it must run in one process.
    fn roles(&mut self) -> Vec<Role> {
        let mut roles = self.file.service.roles.clone();
        roles.sort_unstable();
        roles.dedup();
        let mut wanted = vec![Role::Receive, Role::Detect];
        if self.file.archive.enabled {
            wanted.push(Role::Archive);
        }
        if let Some(missing) = wanted.iter().find(|role| !roles.contains(role)) {
            self.problem(
                "service.roles",
                format!("the journal cannot be shared between processes, and role {missing:?} is missing")
                    .to_lowercase(),
                "list receive, detect and archive (archive may go when archive.enabled is false)",
            );
        }
        if !self.file.archive.enabled {
            roles.retain(|role| *role != Role::Archive);
        }
        roles
    }

    fn canary(&mut self) -> Option<CanarySettings> {
        let canary = &self.file.redaction.canary;
        for kind in canary.except.iter().filter(|kind| !KINDS.contains(&kind.as_str())) {
            let known = KINDS.join(", ");
            self.problem(
                "redaction.canary.except",
                format!("`{kind}` is not a kind of value that canaries hold"),
                &format!("choose from {known}"),
            );
        }
        (!canary.interval.0.is_zero()).then(|| CanarySettings {
            interval: canary.interval.0,
            deadline: canary.deadline.0,
            except: canary.except.clone(),
            seed: canary.seed,
        })
    }

    fn consumers(&self) -> Vec<String> {
        let archive = self.file.archive.enabled.then(|| "archive".to_owned());
        std::iter::once("detect".to_owned()).chain(archive).collect()
    }

    fn door(&mut self) -> DoorSettings {
        let otlp = &self.file.receivers.otlp;
        let limits = &otlp.limits;
        let (grpc, http) = (otlp.protocols.grpc.as_ref(), otlp.protocols.http.as_ref());
        DoorSettings {
            grpc: grpc.and_then(|e| self.address("receivers.otlp.protocols.grpc.endpoint", &e.endpoint)),
            http: http.and_then(|e| self.address("receivers.otlp.protocols.http.endpoint", &e.endpoint)),
            max_request_bytes: limits.max_request_size.0 as usize,
            max_in_flight_bytes: limits.max_in_flight_size.0 as usize,
            max_in_flight_requests: limits.max_in_flight_requests as usize,
            max_queued_requests: limits.max_in_flight_requests as usize,
            max_connections: limits.max_connections as usize,
            request_timeout: limits.request_timeout.0,
            retry_after: limits.retry_after.0,
            tls: self.tls(grpc, http),
            ..DoorSettings::default()
        }
    }

    /// Both protocols share one certificate, as they share one name.
    fn tls(&mut self, grpc: Option<&Endpoint>, http: Option<&Endpoint>) -> Option<TlsSettings> {
        let (grpc_tls, http_tls) = (grpc.and_then(|e| e.tls.as_ref()), http.and_then(|e| e.tls.as_ref()));
        let tls = grpc_tls.or(http_tls)?;
        let alike = grpc.is_none()
            || http.is_none()
            || serde_json::to_value(grpc_tls).ok() == serde_json::to_value(http_tls).ok();
        if !alike {
            self.problem(
                "receivers.otlp.protocols",
                "grpc and http have different tls blocks".into(),
                "give both the same tls block, or set one protocol to null",
            );
        }
        Some(TlsSettings {
            cert_file: PathBuf::from(&tls.cert_file),
            key_file: PathBuf::from(&tls.key_file),
            client_ca_file: tls.client_ca_file.as_ref().map(PathBuf::from),
            reload_interval: tls.reload_interval.0,
        })
    }

    fn decode(&self) -> DecodeSettings {
        let otlp = &self.file.receivers.otlp;
        let limits = lapwing_otlp::Limits {
            max_attributes_per_record: otlp.limits.max_attributes as usize,
            max_value_bytes: otlp.limits.max_value_size.0 as usize,
            max_nesting: otlp.limits.max_nesting as usize,
            ..lapwing_otlp::Limits::default()
        };
        DecodeSettings {
            limits,
            default_cluster: otlp.default_cluster.clone(),
            max_ahead: otlp.limits.max_ahead.0,
            max_age: otlp.limits.max_age.0,
            ..DecodeSettings::default()
        }
    }

    fn detection(&mut self) -> lapwing_detection::Settings {
        let file = self.file;
        let detectors = &file.detectors;
        let time_zone = Zone::parse(&detectors.time_zone).unwrap_or_else(|| {
            self.problem(
                "detectors.time_zone",
                "there is no such time zone".into(),
                "write a name of the IANA database such as `Europe/London`, or an offset such as `+01:00`",
            );
            Zone::utc()
        });
        lapwing_detection::Settings {
            window: detectors.window.0,
            lateness: detectors.lateness.0,
            learning: detectors.learning.0,
            max_pairs: detectors.max_pairs as usize,
            time_zone,
            budget: detectors.budget,
            sensitivity: self.sensitivity(),
            ..lapwing_detection::Settings::default()
        }
    }

    fn sensitivity(&mut self) -> Vec<Sensitivity> {
        let mut rules = Vec::new();
        for (i, rule) in self.file.detectors.sensitivity.iter().enumerate() {
            let kinds: Vec<FindingKind> = rule.kinds.iter().filter_map(|k| FindingKind::parse(k)).collect();
            if kinds.len() < rule.kinds.len() {
                let known: Vec<&str> = FindingKind::ALL.iter().map(|kind| kind.as_str()).collect();
                self.problem(
                    &format!("detectors.sensitivity[{i}].kinds"),
                    "there is no such kind of finding".into(),
                    &format!("choose of {}", known.join(", ")),
                );
            }
            if !(0.0..=1e6).contains(&rule.factor) {
                self.problem(
                    &format!("detectors.sensitivity[{i}].factor"),
                    "the value is out of range".into(),
                    "choose 0 to 1000000; 1 changes nothing",
                );
            }
            rules.push(Sensitivity {
                source: rule.source.clone(),
                destination: rule.destination.clone(),
                kinds,
                factor: rule.factor,
            });
        }
        rules
    }

    fn model(&mut self, path: &Path) -> Option<Arc<Model>> {
        let read = fs::read_to_string(path).map_err(|e| e.to_string());
        match read.and_then(|text| Model::parse(&text).map_err(|e| e.to_string())) {
            Ok(model) => Some(Arc::new(model)),
            Err(reason) => {
                self.problem(
                    "detectors.model",
                    format!("`{}`: {reason}", path.display()),
                    "fit one with `lapwing train`",
                );
                None
            }
        }
    }

    fn check_ranges(&mut self) {
        let file = self.file;
        let checks = [
            (file.log.partitions == 0 || file.log.partitions > 1_024, "log.partitions", "choose 1 to 1024"),
            (
                !file.redaction.canary.interval.0.is_zero()
                    && file.redaction.canary.interval.0 < Duration::from_secs(10),
                "redaction.canary.interval",
                "choose 0s for none, or at least 10s",
            ),
            (
                file.redaction.canary.deadline.0 < Duration::from_secs(1),
                "redaction.canary.deadline",
                "choose at least 1s",
            ),
            (
                file.receivers.otlp.default_cluster == CANARY_CLUSTER,
                "receivers.otlp.default_cluster",
                "choose another name: this one is kept for redaction canaries",
            ),
            (file.log.disk_budget.0 < 1 << 20, "log.disk_budget", "give it at least 1MiB"),
            (
                file.log.segment_size.0 > file.log.disk_budget.0 / 2,
                "log.segment_size",
                "make it at most half of log.disk_budget, or nothing can ever be freed",
            ),
            (file.inventory.reload_interval.0.is_zero(), "inventory.reload_interval", "choose at least 1s"),
            (file.redaction.reload_interval.0.is_zero(), "redaction.reload_interval", "choose at least 1s"),
            (file.detectors.window.0 < Duration::from_secs(1), "detectors.window", "choose at least 1s"),
            (
                !(1..=19).contains(&file.archive.compression_level),
                "archive.compression_level",
                "choose 1 to 19",
            ),
            (
                !(file.detectors.budget > 0.0 && file.detectors.budget <= 1_000.0),
                "detectors.budget",
                "choose more than 0, at most 1000 false findings a day",
            ),
            (
                file.receivers.otlp.limits.max_in_flight_requests == 0,
                "receivers.otlp.limits.max_in_flight_requests",
                "choose at least 1",
            ),
        ];
        for (wrong, key, hint) in checks {
            if wrong {
                self.problem(key, "the value is out of range".into(), hint);
            }
        }
    }

    fn address(&mut self, key: &str, text: &str) -> Option<SocketAddr> {
        let resolved = text.to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
        if resolved.is_none() {
            self.problem(
                key,
                format!("`{text}` is not an address to listen on"),
                "write `host:port`, for example `127.0.0.1:4317`",
            );
        }
        resolved
    }

    fn problem(&mut self, key: &str, reason: String, hint: &str) {
        self.problems.push(Problem::new(key, reason, hint));
    }
}

fn read_inventory(path: &Path) -> Result<Inventory, String> {
    let text = fs::read_to_string(path).map_err(|e| format!("`{}` cannot be read: {e}", path.display()))?;
    Inventory::parse(&text).map_err(|e| format!("`{}`: {e}", path.display()))
}
