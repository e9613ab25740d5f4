//! The mirror of `exporters`: where findings go. As in a Collector, a key is a kind or `kind/name`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::json;

use super::file::mirror;
use super::secret::{HeaderText, SecretRef};
use super::units::{Size, Span};

/// Where findings go. Each target has its own spool, so a dead one delays no other.
#[derive(Clone, Debug)]
pub struct Exporters {
    /// A file of one finding revision per line; there unless set to null.
    pub file: Option<FileExporter>,
    /// One finding revision per line on standard output.
    pub stdout: bool,
    /// Most bytes each spool may hold, unless the exporter says otherwise.
    pub spool_budget: Size,
    /// The name of this machine or pod in what is sent.
    pub hostname: String,
    /// Where runbooks are served; `/` and the finding's kind are appended.
    pub runbook_url: Option<String>,
    /// All others by key, `kind` or `kind/name`.
    pub named: BTreeMap<String, Exporter>,
}

impl Default for Exporters {
    fn default() -> Exporters {
        Exporters {
            file: Some(FileExporter::default()),
            stdout: false,
            spool_budget: Size::mib(256),
            hostname: "lapwing".into(),
            runbook_url: None,
            named: BTreeMap::new(),
        }
    }
}

/// The kinds of exporters: one line each, and everything else follows.
macro_rules! kinds {
    ($($(#[$meta:meta])* $kind:literal $variant:ident($type:ty),)+) => {
        /// A target for findings.
        #[derive(Clone, Debug)]
        pub enum Exporter { $($(#[$meta])* $variant($type),)+ }

        impl Exporter {
            fn read<'de, A: MapAccess<'de>>(kind: &str, map: &mut A) -> Result<Option<Exporter>, A::Error> {
                match kind {
                    $($kind => Ok(map.next_value::<Option<$type>>()?.map(Exporter::$variant)),)+
                    other => Err(A::Error::custom(format!("unknown kind of exporter `{other}`"))),
                }
            }

            fn write<M: SerializeMap>(&self, key: &str, map: &mut M) -> Result<(), M::Error> {
                match self { $(Exporter::$variant(exporter) => map.serialize_entry(key, exporter),)+ }
            }
        }

        fn patterns(generator: &mut SchemaGenerator) -> serde_json::Map<String, serde_json::Value> {
            let mut patterns = serde_json::Map::new();
            $(patterns.insert(
                format!("^{}(/.+)?$", $kind),
                generator.subschema_for::<Option<$type>>().to_value(),
            );)+
            patterns
        }
    };
}

kinds! {
    /// Prometheus Alertmanager.
    "alertmanager" Alertmanager(AlertmanagerExporter),
    /// Elasticsearch.
    "elasticsearch" Elasticsearch(BulkExporter),
    /// A file beside the first one.
    "file" File(FileExporter),
    /// A Kafka topic.
    "kafka" Kafka(KafkaExporter),
    /// OpenSearch.
    "opensearch" Opensearch(BulkExporter),
    /// OTLP logs over HTTP.
    "otlphttp" Otlphttp(OtlphttpExporter),
    /// Microsoft Sentinel.
    "sentinel" Sentinel(SentinelExporter),
    /// Splunk HTTP Event Collector.
    "splunk_hec" SplunkHec(SplunkHecExporter),
    /// Syslog over TCP or TLS.
    "syslog" Syslog(SyslogExporter),
    /// A request for each finding.
    "webhook" Webhook(WebhookExporter),
}

/// A target over HTTP: what all have in common, and what is its own.
macro_rules! http_exporter {
    ($(#[$meta:meta])* $name:ident { $($(#[$fmeta:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[$fmeta])* pub $field: $type,)*
            /// Address, `http://` or `https://`; the API's own path is appended if it is not there.
            pub endpoint: String,
            /// What all targets over HTTP have in common.
            #[serde(default)]
            pub http: HttpOptions,
            /// What all targets have in common.
            #[serde(default)]
            pub delivery: DeliveryOptions,
        }
    };
}

mirror! {
    /// What all targets over HTTP have in common.
    HttpOptions {
        /// Certificates; for `https`.
        tls: Option<ClientTls> = None,
        /// How we show who we are, where the target has no key of its own for that.
        auth: Option<HttpAuth> = None,
        /// Further headers.
        headers: BTreeMap<String, HeaderText> = BTreeMap::new(),
        /// How bodies are compressed.
        compression: HttpCompression = HttpCompression::Gzip,
        /// Longest time from sending a request to the end of its answer.
        timeout: Span = Span::seconds(30),
        /// Largest body, before compression.
        max_request_size: Size = Size::mib(1),
    }
}

mirror! {
    /// How delivery goes about it.
    DeliveryOptions {
        /// Pause after a first failure; doubles with each further one, with chance in it.
        initial_interval: Span = Span(std::time::Duration::from_millis(200)),
        /// Longest pause.
        max_interval: Span = Span::seconds(30),
        /// Most findings in one publication.
        batch_findings: u32 = 256,
        /// Most bytes the spool may hold; `exporters.spool_budget` if not given. Beyond it detection waits.
        spool_budget: Option<Size> = None,
    }
}

mirror! {
    /// How we show who we are: one of a bearer token, an API key, or user and password.
    HttpAuth {
        /// `Authorization: Bearer …`.
        bearer_token: Option<SecretRef> = None,
        /// `Authorization: ApiKey …`, as Elasticsearch wants it.
        api_key: Option<SecretRef> = None,
        /// User name.
        username: Option<String> = None,
        /// Its password.
        password: Option<SecretRef> = None,
    }
}

mirror! {
    /// TLS towards a target.
    ClientTls {
        /// PEM certificates of the authorities that sign the target's certificate; the system's if not given.
        ca_file: Option<String> = None,
        /// PEM client certificate, for mutual TLS.
        cert_file: Option<String> = None,
        /// PEM client key.
        key_file: Option<String> = None,
        /// The name that the target's certificate has, if it is not the address's host.
        server_name_override: Option<String> = None,
    }
}

/// How bodies are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the words say it")]
pub enum HttpCompression {
    Gzip,
    None,
}

/// What a line, a message body or a record's value says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FindingFormat {
    /// The finding as flat JSON.
    Native,
    /// OCSF 1.8 Detection Finding.
    Ocsf,
    /// Elastic Common Schema 9.4.
    Ecs,
    /// ArcSight Common Event Format.
    Cef,
    /// IBM Log Event Extended Format 2.0.
    Leef,
}

mirror! {
    /// A file of one finding revision per line.
    FileExporter {
        /// Path of the file; `findings.ndjson` below `data_dir` if not given.
        path: Option<String> = None,
        /// What a line says.
        format: FindingFormat = FindingFormat::Native,
        /// When to begin a new file; without it the file grows.
        rotation: Option<FileRotation> = None,
    }
}

mirror! {
    /// When to begin a new file.
    FileRotation {
        /// Size that a file does not exceed.
        max_size: Size = Size::mib(100),
        /// How many old files are kept, as `<path>.1` and so on; the oldest is deleted.
        max_backups: u32 = 10,
    }
}

http_exporter! {
    /// ECS documents by the `_bulk` API: Elasticsearch, OpenSearch.
    BulkExporter {
        /// Index or data stream.
        #[serde(default = "index")]
        index: String,
        /// An ingest pipeline to run on each document.
        #[serde(default)]
        pipeline: Option<String>,
    }
}

fn index() -> String {
    "logs-lapwing.finding-default".into()
}

http_exporter! {
    /// Splunk HTTP Event Collector.
    SplunkHecExporter {
        /// The collector's token.
        token: SecretRef,
        /// The index; the token's own if not given.
        #[serde(default)]
        index: Option<String>,
        /// `source` of each event.
        #[serde(default = "source")]
        source: String,
        /// `sourcetype` of each event; `lapwing:<format>:finding` if not given.
        #[serde(default)]
        sourcetype: Option<String>,
        /// What `event` holds: `ocsf`, `native` or `ecs`.
        #[serde(default = "ocsf")]
        format: FindingFormat,
        /// Indexer acknowledgement; the token must have it switched on.
        #[serde(default)]
        ack: Option<HecAck>,
    }
}

fn source() -> String {
    "lapwing".into()
}

fn ocsf() -> FindingFormat {
    FindingFormat::Ocsf
}

/// Indexer acknowledgement.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HecAck {
    /// A GUID that names this sender to the collector, for example from `uuidgen`.
    pub channel: String,
    /// Time between two questions.
    #[serde(default = "ack_interval")]
    pub interval: Span,
    /// Time after which events that no indexer has acknowledged are sent again.
    #[serde(default = "ack_timeout")]
    pub timeout: Span,
}

fn ack_interval() -> Span {
    Span::seconds(2)
}

fn ack_timeout() -> Span {
    Span::seconds(120)
}

http_exporter! {
    /// Prometheus Alertmanager, API v2.
    AlertmanagerExporter {
        /// How long an alert of an open finding lasts if nobody tells it again.
        #[serde(default = "hold")]
        hold: Span,
        /// Time after which open alerts are told again.
        #[serde(default = "resend_interval")]
        resend_interval: Span,
    }
}

fn hold() -> Span {
    Span::seconds(12 * 3_600)
}

fn resend_interval() -> Span {
    Span::seconds(60)
}

http_exporter! {
    /// OTLP logs over HTTP, binary protobuf.
    OtlphttpExporter {}
}

http_exporter! {
    /// Microsoft Sentinel, Logs Ingestion API. `endpoint` is that of data collection (`https://….ingest.monitor.azure.com`).
    SentinelExporter {
        /// Immutable id of the data collection rule.
        rule_id: String,
        /// The rule's stream.
        #[serde(default = "stream")]
        stream: String,
        /// Directory (tenant) id of the application that may write.
        tenant_id: String,
        /// Its client id.
        client_id: String,
        /// Its client secret.
        client_secret: SecretRef,
        /// Where tokens are fetched.
        #[serde(default = "token_endpoint")]
        token_endpoint: String,
        /// What the token is for.
        #[serde(default = "scope")]
        scope: String,
    }
}

fn stream() -> String {
    "Custom-LapwingFindings".into()
}

fn token_endpoint() -> String {
    "https://login.microsoftonline.com".into()
}

fn scope() -> String {
    "https://monitor.azure.com/.default".into()
}

http_exporter! {
    /// A signed request for each finding revision.
    WebhookExporter {
        /// The body, where there is no template.
        #[serde(default = "native")]
        format: FindingFormat,
        /// File with a template (Jinja) that makes the JSON of the body.
        #[serde(default)]
        template_file: Option<String>,
        /// Key for the signature in `webhook-signature`.
        #[serde(default)]
        signing_key: Option<SecretRef>,
    }
}

fn native() -> FindingFormat {
    FindingFormat::Native
}

/// A Kafka topic for findings.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaExporter {
    /// `host:port` of brokers to start from.
    pub brokers: Vec<String>,
    /// The topic; must exist.
    #[serde(default = "findings_topic")]
    pub topic: String,
    /// What a record's value is: `native` or `ocsf`.
    #[serde(default = "native")]
    pub format: FindingFormat,
    /// How batches are compressed.
    #[serde(default = "kafka_compression")]
    pub compression: KafkaCompression,
    /// Largest record, before compression.
    #[serde(default = "record_size")]
    pub max_message_size: Size,
    /// TLS towards the brokers.
    #[serde(default)]
    pub tls: Option<KafkaTls>,
    /// SASL login.
    #[serde(default)]
    pub sasl: Option<KafkaSasl>,
    /// How long delivery of a batch is tried before it is tried anew from the spool.
    #[serde(default = "delivery_timeout")]
    pub delivery_timeout: Span,
    /// What all targets have in common.
    #[serde(default)]
    pub delivery: DeliveryOptions,
}

fn findings_topic() -> String {
    "lapwing.findings".into()
}

fn kafka_compression() -> KafkaCompression {
    KafkaCompression::Zstd
}

fn record_size() -> Size {
    Size::mib(1)
}

fn delivery_timeout() -> Span {
    Span::seconds(30)
}

/// How batches are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the words say it")]
pub enum KafkaCompression {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// TLS towards the brokers.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaTls {
    /// PEM certificates of the authorities that sign the brokers' certificates.
    #[serde(default)]
    pub ca_file: Option<String>,
    /// PEM client certificate, for mutual TLS.
    #[serde(default)]
    pub cert_file: Option<String>,
    /// PEM client key.
    #[serde(default)]
    pub key_file: Option<String>,
}

/// SASL login.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaSasl {
    /// How we show who we are.
    pub mechanism: SaslMechanism,
    /// User name.
    pub username: String,
    /// Password.
    pub password: SecretRef,
}

/// A SASL mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "the names of the mechanisms say it")]
pub enum SaslMechanism {
    #[serde(rename = "PLAIN")]
    Plain,
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

/// A syslog receiver over TCP (RFC 6587) or TLS (RFC 5425), with octet counting.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SyslogExporter {
    /// `host:port` of the receiver.
    pub endpoint: String,
    /// TLS; without it messages go in plain text.
    #[serde(default)]
    pub tls: Option<ClientTls>,
    /// What the body of a message says.
    #[serde(default = "ocsf")]
    pub format: FindingFormat,
    /// Syslog facility, 0 to 23.
    #[serde(default = "facility")]
    pub facility: u8,
    /// Longest message; evidence is left out until it fits.
    #[serde(default = "message_size")]
    pub max_message_size: Size,
    /// HOSTNAME in each message; `exporters.hostname` if not given.
    #[serde(default)]
    pub hostname: Option<String>,
    /// What all targets have in common.
    #[serde(default)]
    pub delivery: DeliveryOptions,
}

fn facility() -> u8 {
    13
}

fn message_size() -> Size {
    Size(8 << 10)
}

impl<'de> Deserialize<'de> for Exporters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Exporters, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Exporters;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("exporters by kind or `kind/name`")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Exporters, A::Error> {
                let mut exporters = Exporters::default();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "file" => exporters.file = map.next_value()?,
                        "stdout" => exporters.stdout = map.next_value()?,
                        "spool_budget" => exporters.spool_budget = map.next_value()?,
                        "hostname" => exporters.hostname = map.next_value()?,
                        "runbook_url" => exporters.runbook_url = map.next_value()?,
                        other => {
                            let kind = other.split_once('/').map_or(other, |(kind, _name)| kind);
                            if let Some(exporter) = Exporter::read(kind, &mut map)? {
                                exporters.named.insert(key, exporter);
                            }
                        }
                    }
                }
                Ok(exporters)
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

impl Serialize for Exporters {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("file", &self.file)?;
        map.serialize_entry("stdout", &self.stdout)?;
        map.serialize_entry("spool_budget", &self.spool_budget)?;
        map.serialize_entry("hostname", &self.hostname)?;
        map.serialize_entry("runbook_url", &self.runbook_url)?;
        for (key, exporter) in &self.named {
            exporter.write(key, &mut map)?;
        }
        map.end()
    }
}

impl JsonSchema for Exporters {
    fn schema_name() -> Cow<'static, str> {
        "Exporters".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let described = |mut schema: serde_json::Value, text: &str| {
            schema["description"] = json!(text);
            schema
        };
        let file = generator.subschema_for::<Option<FileExporter>>().to_value();
        let size = generator.subschema_for::<Size>().to_value();
        json_schema!({
            "type": "object",
            "description": "Where findings go, by kind or `kind/name`. Each target has its own spool, so a dead one delays no other.",
            "properties": {
                "file": described(file, "A file of one finding revision per line; null switches it off."),
                "stdout": { "type": "boolean", "default": false, "description": "One finding revision per line on standard output." },
                "spool_budget": described(size, "Most bytes each spool may hold; beyond it detection waits. 256MiB if not given."),
                "hostname": { "type": "string", "default": "lapwing", "description": "The name of this machine or pod in what is sent." },
                "runbook_url": { "type": ["string", "null"], "default": null, "description": "Where runbooks are served; `/` and the finding's kind are appended." },
            },
            "patternProperties": patterns(generator),
            "additionalProperties": false,
        })
    }
}
