//! From the mirror of `exporters` to targets: addresses parsed, files read, credentials looked for.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lapwing_kafka::{Compression, Encoding, FindingsTopic, FindingsTopicSettings, Mechanism, Sasl, Tls};
use lapwing_siem::http::{Auth, HttpSettings, HttpSink, OAuth2, Url};
use lapwing_siem::{
    AckSettings, AlertmanagerSettings, BulkSettings, Context, DeliverySettings, FileSettings, FileSink,
    Format, HecSettings, Rotation, SentinelSettings, SpoolSettings, StdoutSink, SyslogSettings, SyslogSink,
    Template, TlsSettings, WebhookSettings, alertmanager_sink, bulk_sink, hec_sink, ocsf, otlp_sink,
    sentinel_sink, webhook_sink,
};
use lapwing_telemetry::{Clock, Finding, FindingSink};

use crate::config::{
    ClientTls, DeliveryOptions, Exporter, Exporters, FileExporter, FindingFormat, HttpAuth, HttpCompression,
    HttpOptions, KafkaCompression, KafkaExporter, Problem, SaslMechanism, SecretRef, SyslogExporter,
    WebhookExporter,
};

/// A target, ready to be opened.
#[derive(Clone)]
pub struct Target {
    /// Its key in the configuration.
    pub name: String,
    /// Its spool; `None` for what is durable by itself.
    pub spool: Option<SpoolSettings>,
    /// How delivery goes about it.
    pub delivery: DeliverySettings,
    context: Context,
    plan: Plan,
}

#[derive(Clone)]
enum Plan {
    Stdout,
    File { path: PathBuf, format: Format, rotation: Option<Rotation> },
    Kafka { settings: FindingsTopicSettings, format: Format, password: Option<SecretRef> },
    Syslog(SyslogSettings),
    Http(Box<HttpSettings>, Api),
}

#[derive(Clone)]
enum Api {
    Bulk(BulkSettings),
    Hec(HecSettings),
    Alertmanager(AlertmanagerSettings),
    Otlp,
    Sentinel(SentinelSettings),
    Webhook(WebhookSettings),
}

impl Target {
    /// The file that it writes; `None` if it writes none.
    pub fn file(&self) -> Option<&Path> {
        match &self.plan {
            Plan::File { path, .. } => Some(path),
            _ => None,
        }
    }

    /// Opens it. Only what an operator must correct is an error: a target that is away is no error.
    ///
    /// # Errors
    /// Says in words what is wrong.
    pub async fn sink(&self, clock: &Clock) -> Result<Box<dyn FindingSink>, String> {
        let (name, context, clock) = (self.name.clone(), self.context.clone(), clock.clone());
        let sink: Box<dyn FindingSink> = match self.plan.clone() {
            Plan::Stdout => Box::new(StdoutSink::new(name, Format::Native, context)),
            Plan::File { path, format, rotation } => {
                let settings = FileSettings { name, path: path.clone(), format, context, rotation };
                let open = FileSink::open(settings);
                Box::new(open.map_err(|e| format!("findings file `{}`: {e}", path.display()))?)
            }
            Plan::Kafka { mut settings, format, password } => {
                if let (Some(sasl), Some(password)) = (&mut settings.sasl, password) {
                    sasl.password = lapwing_kafka::Secret(password.0.read()?);
                }
                let topic = FindingsTopic::connect(settings, encoding(format, context)).await;
                Box::new(topic.map_err(|error| error.to_string())?)
            }
            Plan::Syslog(settings) => Box::new(SyslogSink::new(settings, context)),
            Plan::Http(http, api) => Box::new(http_sink(*http, api, context, clock)),
        };
        Ok(sink)
    }
}

fn http_sink(http: HttpSettings, api: Api, context: Context, clock: Clock) -> HttpSink {
    match api {
        Api::Bulk(settings) => bulk_sink(http, settings, context),
        Api::Hec(settings) => hec_sink(http, settings, context),
        Api::Alertmanager(settings) => alertmanager_sink(http, settings, context, clock),
        Api::Otlp => otlp_sink(http, context),
        Api::Sentinel(settings) => sentinel_sink(http, &settings, context),
        Api::Webhook(settings) => webhook_sink(http, settings, context, clock),
    }
}

fn encoding(format: Format, context: Context) -> Encoding {
    match format {
        Format::Native => Encoding::native(),
        format => Encoding {
            encode: std::sync::Arc::new(move |finding: &Finding| format.line(finding, &context).into_bytes()),
            schema_url: (format == Format::Ocsf).then(|| ocsf::SCHEMA_URL.to_owned()),
            headers: match format {
                Format::Ocsf => vec![("ocsf-version".to_owned(), ocsf::SCHEMA_VERSION.to_owned())],
                _ => Vec::new(),
            },
        },
    }
}

/// All targets of a configuration; what is wrong with them is added to `problems`.
pub(crate) fn targets(exporters: &Exporters, data_dir: &Path, problems: &mut Vec<Problem>) -> Vec<Target> {
    let mut builder = Builder { exporters, data_dir, problems };
    let mut targets = Vec::new();
    if let Some(file) = &exporters.file {
        let plan = builder.file("file", file);
        targets.push(builder.local("file", plan));
    }
    if exporters.stdout {
        targets.push(builder.local("stdout", Plan::Stdout));
    }
    for (key, exporter) in &exporters.named {
        builder.check_name(key);
        targets.extend(builder.named(key, exporter));
    }
    targets
}

struct Builder<'a> {
    exporters: &'a Exporters,
    data_dir: &'a Path,
    problems: &'a mut Vec<Problem>,
}

impl Builder<'_> {
    fn local(&self, name: &str, plan: Plan) -> Target {
        let delivery = DeliverySettings::default();
        Target { name: name.to_owned(), spool: None, delivery, context: self.context(None), plan }
    }

    /// `None` if its address cannot be read; the problem is noted.
    fn named(&mut self, key: &str, exporter: &Exporter) -> Option<Target> {
        let (plan, options) = match exporter {
            Exporter::File(file) => {
                let plan = self.file(key, file);
                return Some(self.local(key, plan));
            }
            Exporter::Kafka(kafka) => (self.kafka(key, kafka), &kafka.delivery),
            Exporter::Syslog(syslog) => (Plan::Syslog(self.syslog(key, syslog)), &syslog.delivery),
            Exporter::Elasticsearch(bulk) | Exporter::Opensearch(bulk) => {
                let api =
                    Api::Bulk(BulkSettings { index: bulk.index.clone(), pipeline: bulk.pipeline.clone() });
                (Plan::Http(self.boxed_http(key, &bulk.endpoint, &bulk.http)?, api), &bulk.delivery)
            }
            Exporter::SplunkHec(hec) => {
                let format = self.json_format(key, hec.format);
                let ack = hec.ack.as_ref().map(|ack| AckSettings {
                    channel: ack.channel.clone(),
                    interval: ack.interval.0,
                    timeout: ack.timeout.0,
                });
                if hec.ack.as_ref().is_some_and(|ack| !is_guid(&ack.channel)) {
                    self.problem(key, "ack.channel", "not a GUID", "make one with `uuidgen`");
                }
                let settings = HecSettings {
                    index: hec.index.clone(),
                    source: hec.source.clone(),
                    sourcetype: hec.sourcetype.clone(),
                    format,
                    ack,
                };
                let mut http = self.http(key, &hec.endpoint, &hec.http)?;
                self.own_auth(key, &hec.http);
                http.auth = Auth::Scheme("Splunk", hec.token.0.clone());
                (Plan::Http(Box::new(http), Api::Hec(settings)), &hec.delivery)
            }
            Exporter::Alertmanager(alerts) => {
                let (hold, resend_interval) = (alerts.hold.0, alerts.resend_interval.0);
                if resend_interval < Duration::from_secs(1) || hold < resend_interval * 2 {
                    self.problem(
                        key,
                        "hold",
                        "an alert would end before it is told again",
                        "make `hold` at least twice `resend_interval`, and that at least 1s",
                    );
                }
                let api = Api::Alertmanager(AlertmanagerSettings { hold, resend_interval, max_open: 10_000 });
                (Plan::Http(self.boxed_http(key, &alerts.endpoint, &alerts.http)?, api), &alerts.delivery)
            }
            Exporter::Otlphttp(otlp) => {
                (Plan::Http(self.boxed_http(key, &otlp.endpoint, &otlp.http)?, Api::Otlp), &otlp.delivery)
            }
            Exporter::Sentinel(sentinel) => {
                let mut http = self.http(key, &sentinel.endpoint, &sentinel.http)?;
                self.own_auth(key, &sentinel.http);
                let token = format!("{}/{}/oauth2/v2.0/token", sentinel.token_endpoint, sentinel.tenant_id);
                http.auth = Auth::OAuth2(OAuth2 {
                    token_url: self.url(key, "token_endpoint", &token)?,
                    client_id: sentinel.client_id.clone(),
                    client_secret: sentinel.client_secret.0.clone(),
                    scope: sentinel.scope.clone(),
                    tls: http.tls.clone(),
                });
                let api = Api::Sentinel(SentinelSettings {
                    rule_id: sentinel.rule_id.clone(),
                    stream: sentinel.stream.clone(),
                });
                (Plan::Http(Box::new(http), api), &sentinel.delivery)
            }
            Exporter::Webhook(webhook) => {
                let settings = WebhookSettings {
                    format: format_of(webhook.format),
                    signing_key: webhook.signing_key.as_ref().map(|key| key.0.clone()),
                    template: self.template(key, webhook),
                };
                let http = self.http(key, &webhook.endpoint, &webhook.http)?;
                (Plan::Http(Box::new(http), Api::Webhook(settings)), &webhook.delivery)
            }
        };
        let hostname = match exporter {
            Exporter::Syslog(syslog) => syslog.hostname.as_ref(),
            _ => None,
        };
        let request_timeout = match &plan {
            Plan::Http(http, _) => http.request_timeout,
            _ => Duration::from_secs(6),
        };
        // A publication may take several requests, and acknowledgements are waited for in it.
        let waiting = match &plan {
            Plan::Http(_, Api::Hec(HecSettings { ack: Some(ack), .. })) => ack.timeout,
            _ => Duration::ZERO,
        };
        let attempt_timeout = (request_timeout * 10).max(Duration::from_mins(1)) + waiting * 4;
        let delivery = self.delivery(key, options, attempt_timeout);
        let folder = self.data_dir.join("spool").join(key.replace('/', "-"));
        let budget_bytes = options.spool_budget.unwrap_or(self.exporters.spool_budget).0;
        let spool = Some(SpoolSettings { budget_bytes, ..SpoolSettings::new(folder) });
        Some(Target { name: key.to_owned(), spool, delivery, context: self.context(hostname), plan })
    }

    fn context(&self, hostname: Option<&String>) -> Context {
        Context {
            product_version: env!("CARGO_PKG_VERSION").into(),
            hostname: hostname.unwrap_or(&self.exporters.hostname).clone(),
            process_id: std::process::id(),
            runbook_url: self.exporters.runbook_url.clone(),
        }
    }

    fn delivery(
        &mut self,
        key: &str,
        options: &DeliveryOptions,
        attempt_timeout: Duration,
    ) -> DeliverySettings {
        let (first_pause, longest_pause) = (options.initial_interval.0, options.max_interval.0);
        if first_pause < Duration::from_millis(1) || first_pause > longest_pause {
            self.problem(
                key,
                "delivery.initial_interval",
                "the value is out of range",
                "choose 1ms to `max_interval`",
            );
        }
        if !(1..=10_000).contains(&options.batch_findings) {
            self.problem(key, "delivery.batch_findings", "the value is out of range", "choose 1 to 10000");
        }
        DeliverySettings {
            batch_findings: options.batch_findings as usize,
            attempt_timeout,
            first_pause,
            longest_pause,
            ..DeliverySettings::default()
        }
    }

    fn file(&mut self, key: &str, file: &FileExporter) -> Plan {
        if key != "file" && file.path.is_none() {
            self.problem(key, "path", "a second file needs a path of its own", "add `path:`");
        }
        let path = file.path.as_ref().map_or_else(|| self.data_dir.join("findings.ndjson"), PathBuf::from);
        let rotation = file
            .rotation
            .as_ref()
            .map(|rotation| Rotation { file_bytes: rotation.max_size.0, old_files: rotation.max_backups });
        if rotation.is_some_and(|rotation| rotation.file_bytes == 0 || rotation.old_files == 0) {
            self.problem(
                key,
                "rotation",
                "the value is out of range",
                "keep at least one old file of at least 1B",
            );
        }
        Plan::File { path, format: format_of(file.format), rotation }
    }

    fn kafka(&mut self, key: &str, kafka: &KafkaExporter) -> Plan {
        if kafka.brokers.is_empty() {
            self.problem(key, "brokers", "there is no broker", "name at least one as `host:port`");
        }
        let format = self.json_format(key, kafka.format);
        let path = |file: &Option<String>| file.as_ref().map(PathBuf::from);
        let tls = kafka.tls.as_ref().map(|tls| Tls {
            ca_file: path(&tls.ca_file),
            cert_file: path(&tls.cert_file),
            key_file: path(&tls.key_file),
            key_password: None,
        });
        let sasl = kafka.sasl.as_ref().map(|sasl| Sasl {
            mechanism: match sasl.mechanism {
                SaslMechanism::Plain => Mechanism::Plain,
                SaslMechanism::ScramSha256 => Mechanism::ScramSha256,
                SaslMechanism::ScramSha512 => Mechanism::ScramSha512,
            },
            username: sasl.username.clone(),
            // Read when the producer is made.
            password: lapwing_kafka::Secret(String::new()),
        });
        let settings = FindingsTopicSettings {
            tls,
            sasl,
            compression: match kafka.compression {
                KafkaCompression::None => Compression::None,
                KafkaCompression::Gzip => Compression::Gzip,
                KafkaCompression::Snappy => Compression::Snappy,
                KafkaCompression::Lz4 => Compression::Lz4,
                KafkaCompression::Zstd => Compression::Zstd,
            },
            record_bytes: kafka.max_message_size.0 as usize,
            delivery_timeout: kafka.delivery_timeout.0,
            // The door opens after this at the latest, whether or not a broker answers: findings wait in the spool.
            metadata_timeout: Duration::from_secs(3),
            ..FindingsTopicSettings::new(key, kafka.brokers.clone(), kafka.topic.clone())
        };
        Plan::Kafka { settings, format, password: kafka.sasl.as_ref().map(|sasl| sasl.password.clone()) }
    }

    fn syslog(&mut self, key: &str, syslog: &SyslogExporter) -> SyslogSettings {
        let port = syslog.endpoint.rsplit_once(':').and_then(|(_host, port)| port.parse::<u16>().ok());
        if port.is_none() {
            self.problem(
                key,
                "endpoint",
                "not an address to send to",
                "write `host:port`; 601 is usual for TCP, 6514 for TLS",
            );
        }
        if syslog.facility > 23 {
            self.problem(key, "facility", "the value is out of range", "choose 0 to 23");
        }
        if syslog.max_message_size.0 < 2_048 {
            self.problem(key, "max_message_size", "the value is out of range", "choose at least 2KiB");
        }
        SyslogSettings {
            tls: syslog.tls.as_ref().map(|tls| self.tls(key, "tls", tls)),
            format: format_of(syslog.format),
            facility: syslog.facility,
            max_message_bytes: syslog.max_message_size.0 as usize,
            ..SyslogSettings::new(key, &syslog.endpoint)
        }
    }

    fn boxed_http(&mut self, key: &str, endpoint: &str, options: &HttpOptions) -> Option<Box<HttpSettings>> {
        self.http(key, endpoint, options).map(Box::new)
    }

    fn http(&mut self, key: &str, endpoint: &str, options: &HttpOptions) -> Option<HttpSettings> {
        let tls = options.tls.as_ref().map(|tls| self.tls(key, "http.tls", tls)).unwrap_or_default();
        let auth = options.auth.as_ref().map_or(Auth::None, |auth| self.auth(key, auth));
        for name in options.headers.keys() {
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
                self.problem(key, "http.headers", "not the name of a header", "use letters, digits and `-`");
            }
        }
        if options.max_request_size.0 < 64 << 10 {
            self.problem(key, "http.max_request_size", "the value is out of range", "choose at least 64KiB");
        }
        let url = self.url(key, "endpoint", endpoint)?;
        Some(HttpSettings {
            tls,
            auth,
            headers: options.headers.iter().map(|(name, value)| (name.clone(), value.0.clone())).collect(),
            gzip: options.compression == HttpCompression::Gzip,
            request_timeout: options.timeout.0,
            max_request_bytes: options.max_request_size.0 as usize,
            ..HttpSettings::new(key, url)
        })
    }

    fn auth(&mut self, key: &str, auth: &HttpAuth) -> Auth {
        match (&auth.bearer_token, &auth.api_key, &auth.username, &auth.password) {
            (Some(token), None, None, None) => Auth::Scheme("Bearer", token.0.clone()),
            (None, Some(api_key), None, None) => Auth::Scheme("ApiKey", api_key.0.clone()),
            (None, None, Some(user), Some(password)) => Auth::Basic(user.clone(), password.0.clone()),
            _ => {
                let hint = "give `bearer_token`, or `api_key`, or `username` with `password`";
                self.problem(key, "http.auth", "not one way to log in", hint);
                Auth::None
            }
        }
    }

    /// For targets with credentials of their own kind.
    fn own_auth(&mut self, key: &str, options: &HttpOptions) {
        if options.auth.is_some() {
            self.problem(key, "http.auth", "this target has keys of its own for that", "take it out");
        }
    }

    fn tls(&mut self, key: &str, below: &str, tls: &ClientTls) -> TlsSettings {
        let path = |file: &Option<String>| file.as_ref().map(PathBuf::from);
        let settings = TlsSettings {
            ca_file: path(&tls.ca_file),
            cert_file: path(&tls.cert_file),
            key_file: path(&tls.key_file),
            server_name: tls.server_name_override.clone(),
        };
        if let Err(reason) = settings.config() {
            self.problem(key, below, &reason, "give PEM files that this process may read");
        }
        settings
    }

    fn template(&mut self, key: &str, webhook: &WebhookExporter) -> Option<Template> {
        let path = webhook.template_file.as_ref()?;
        let read = fs::read_to_string(path).map_err(|error| error.to_string());
        match read.and_then(|text| Template::parse(&text)) {
            Ok(template) => Some(template),
            Err(reason) => {
                let reason = format!("template `{path}`: {reason}");
                self.problem(
                    key,
                    "template_file",
                    &reason,
                    "see the documentation of exporters for its values",
                );
                None
            }
        }
    }

    fn url(&mut self, key: &str, below: &str, text: &str) -> Option<Url> {
        match Url::parse(text) {
            Ok(url) => Some(url),
            Err(reason) => {
                self.problem(key, below, &reason, "write for example `https://siem.example:8088`");
                None
            }
        }
    }

    fn json_format(&mut self, key: &str, format: FindingFormat) -> Format {
        if matches!(format, FindingFormat::Cef | FindingFormat::Leef) {
            self.problem(key, "format", "this target takes JSON", "choose `ocsf`, `native` or `ecs`");
        }
        format_of(format)
    }

    /// The name becomes a folder and a label.
    fn check_name(&mut self, key: &str) {
        let name = key.split_once('/').map_or("", |(_kind, name)| name);
        let fits =
            name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if !fits {
            self.problem(
                key,
                "",
                "a name has characters that cannot stay",
                "use at most 64 letters, digits, `-` and `_`",
            );
        }
    }

    fn problem(&mut self, key: &str, below: &str, reason: &str, hint: &str) {
        let dot = if below.is_empty() { "" } else { "." };
        self.problems.push(Problem::new(format!("exporters.{key}{dot}{below}"), reason, hint));
    }
}

fn format_of(format: FindingFormat) -> Format {
    match format {
        FindingFormat::Native => Format::Native,
        FindingFormat::Ocsf => Format::Ocsf,
        FindingFormat::Ecs => Format::Ecs,
        FindingFormat::Cef => Format::Cef,
        FindingFormat::Leef => Format::Leef,
    }
}

/// 8-4-4-4-12 hexadecimal digits.
fn is_guid(text: &str) -> bool {
    let groups: Vec<usize> = text.split('-').map(str::len).collect();
    groups == [8, 4, 4, 4, 12] && text.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Sources};

    fn read(text: &str) -> Result<Vec<Target>, Vec<Problem>> {
        let env = |name: &str| (name == "TOKEN").then(|| "12345".to_owned());
        let file = |path: &str| if path == "/key" { Ok("s3cret".to_owned()) } else { Err("no".to_owned()) };
        let files = [(PathBuf::from("x.yaml"), format!("exporters:\n{text}"))];
        let config = Config::parse(&files, &[], &Sources { env: &env, file: &file })?;
        let shown = format!("{:?}{}", config, serde_json::to_string(&config.file).unwrap());
        assert!(!shown.contains("12345") && !shown.contains("s3cret"), "{shown}");
        let mut problems = Vec::new();
        let targets = targets(&config.file.exporters, Path::new("data"), &mut problems);
        if problems.is_empty() { Ok(targets) } else { Err(config.located(problems)) }
    }

    fn problems(text: &str) -> String {
        let problems = read(text).err().unwrap_or_else(|| panic!("nothing wrong with {text}"));
        problems.iter().map(|problem| format!("{problem}\n")).collect()
    }

    #[test]
    fn several_of_a_kind_have_names_and_spools_of_their_own() {
        let text = "  splunk_hec/soc: {endpoint: 'https://a:8088', token: '${env:TOKEN}'}\n\
                    \x20 splunk_hec/dev: {endpoint: 'https://b:8088', token: '${file:/key}', delivery: {spool_budget: 1MiB}}\n\
                    \x20 syslog: {endpoint: 'c:601'}\n  kafka: null\n";
        let targets = read(text).unwrap();
        let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
        assert_eq!(names, ["file", "splunk_hec/dev", "splunk_hec/soc", "syslog"]);
        assert!(targets[0].spool.is_none());
        let spool = targets[1].spool.clone().unwrap();
        assert_eq!((spool.folder, spool.budget_bytes), ("data/spool/splunk_hec-dev".into(), 1 << 20));
        let Plan::Http(http, _) = &targets[2].plan else { panic!() };
        assert_eq!(http.auth, Auth::Scheme("Splunk", lapwing_siem::Secret::Env("TOKEN".into())));
    }

    #[test]
    fn a_credential_in_the_configuration_is_a_problem_with_its_line_and_is_not_repeated() {
        for token in ["hunter2", "'Splunk ${env:TOKEN}'", "'${env:NOPE:-hunter2}'", "42"] {
            let said = problems(&format!("  splunk_hec:\n    endpoint: https://a\n    token: {token}\n"));
            assert!(said.starts_with("x.yaml:4: exporters.splunk_hec.token: "), "{said}");
            assert!(said.contains("${file:/path}") && !said.contains("hunter2"), "{said}");
        }
    }

    #[test]
    fn every_problem_is_said_with_a_hint() {
        let check = |text: &str, expect: &str| {
            let said = problems(text);
            assert!(said.contains(expect) && said.contains("hint: "), "{text}: {said}");
        };
        check("  splunk_hecc: {}\n", "did you mean `splunk_hec`?");
        check("  elasticsearch: {endpoint: 'elastic:9200'}\n", "begins with `http://`");
        check("  elasticsearch: {index: x}\n", "key `endpoint` is missing");
        check("  syslog: {endpoint: 'host', facility: 24}\n", "exporters.syslog.facility");
        check("  syslog/a b: {endpoint: 'host:1'}\n", "a name has characters");
        check("  file/b: {format: ocsf}\n", "a second file needs a path");
        check("  kafka: {brokers: [], format: cef}\n", "exporters.kafka.format");
        check("  otlphttp: {endpoint: 'http://a', http: {tls: {ca_file: /no/such}}}\n", "/no/such");
        check(
            "  otlphttp: {endpoint: 'http://a', http: {headers: {x: '${env:TOKEN}y'}}}\n",
            "neither text nor",
        );
        check("  webhook: {endpoint: 'http://a', http: {auth: {username: me}}}\n", "not one way to log in");
        check("  webhook: {endpoint: 'http://a', template_file: /no/such}\n", "template `/no/such`");
        check("  alertmanager: {endpoint: 'http://a', hold: 1m}\n", "before it is told again");
        check(
            "  splunk_hec: {endpoint: 'https://a', token: '${file:/key}', ack: {channel: me}}\n",
            "not a GUID",
        );
        let headers =
            read("  otlphttp: {endpoint: 'http://a', http: {headers: {x-key: '${env:TOKEN}', b.c: d}}}\n");
        assert!(headers.err().unwrap()[0].reason.contains("not the name of a header"));
    }
}
