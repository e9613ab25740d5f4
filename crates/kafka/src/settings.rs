//! How to reach the topic, in librdkafka's terms.
//!
//! Property reference: <https://github.com/confluentinc/librdkafka/blob/v2.12.1/CONFIGURATION.md>

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use rdkafka::ClientConfig;

/// Where the findings topic is and how to produce to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FindingsTopicSettings {
    /// The sink's name.
    pub name: String,
    /// Brokers to begin with, `host:port` (`bootstrap.servers`).
    pub brokers: Vec<String>,
    /// The topic. It must exist: lapwing creates none.
    pub topic: String,
    /// How the client calls itself in the broker's logs and quotas (`client.id`).
    pub client_id: String,
    /// TLS to the brokers; `None` is plain text.
    pub tls: Option<Tls>,
    /// Credentials; `None` is none, or the TLS certificate alone.
    pub sasl: Option<Sasl>,
    /// How batches are compressed (`compression.type`).
    pub compression: Compression,
    /// How long a batch waits for more (`linger.ms`).
    pub linger: Duration,
    /// How long a record may take until it counts as failed (`delivery.timeout.ms`). What failed is published
    /// again by whoever keeps it; shorter than the attempt's own limit, so that reports are not missed.
    pub delivery_timeout: Duration,
    /// Longest time to ask for the topic before the first publication and after a failed one.
    pub metadata_timeout: Duration,
    /// Longest pause between attempts to connect (`reconnect.backoff.max.ms`).
    pub reconnect_pause: Duration,
    /// Largest record before compression (`message.max.bytes`). A larger finding is rejected; the topic's
    /// own `max.message.bytes` must not be lower.
    pub record_bytes: usize,
    /// Most memory for records under way (`queue.buffering.max.kbytes`).
    pub queue_bytes: usize,
}

impl FindingsTopicSettings {
    /// The settings for a topic with the defaults of the documentation.
    pub fn new(name: impl Into<String>, brokers: Vec<String>, topic: impl Into<String>) -> Self {
        FindingsTopicSettings {
            name: name.into(),
            brokers,
            topic: topic.into(),
            client_id: "lapwing".to_owned(),
            tls: None,
            sasl: None,
            compression: Compression::Zstd,
            linger: Duration::from_millis(5),
            delivery_timeout: Duration::from_secs(30),
            metadata_timeout: Duration::from_secs(10),
            reconnect_pause: Duration::from_secs(10),
            record_bytes: 1 << 20,
            queue_bytes: 64 << 20,
        }
    }

    pub(crate) fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        let millis = |duration: Duration| duration.as_millis().to_string();
        config
            .set("bootstrap.servers", self.brokers.join(","))
            .set("client.id", &self.client_id)
            .set("security.protocol", self.protocol())
            // Implies acks=all, endless retries and order; set out loud so that it cannot be lost.
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("compression.type", self.compression.as_str())
            // The default partitioner of the Java client: consumers there can join by key.
            .set("partitioner", "murmur2_random")
            .set("linger.ms", millis(self.linger))
            .set("delivery.timeout.ms", millis(self.delivery_timeout))
            .set("reconnect.backoff.max.ms", millis(self.reconnect_pause))
            // librdkafka's default first pause, unless the longest is shorter.
            .set("reconnect.backoff.ms", millis(self.reconnect_pause.min(Duration::from_millis(100))))
            .set("message.max.bytes", self.record_bytes.to_string())
            .set("queue.buffering.max.kbytes", (self.queue_bytes / 1024).max(1).to_string())
            .set("allow.auto.create.topics", "false");
        if let Some(tls) = &self.tls {
            tls.apply(&mut config);
        }
        if let Some(sasl) = &self.sasl {
            config
                .set("sasl.mechanism", sasl.mechanism.as_str())
                .set("sasl.username", &sasl.username)
                .set("sasl.password", &sasl.password.0);
        }
        config
    }

    fn protocol(&self) -> &'static str {
        match (&self.tls, &self.sasl) {
            (None, None) => "plaintext",
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        }
    }
}

/// TLS to the brokers. The broker's name is checked against its certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Certificates to trust, PEM (`ssl.ca.location`); `None` trusts the system's.
    pub ca_file: Option<PathBuf>,
    /// Our certificate and its chain, PEM (`ssl.certificate.location`).
    pub cert_file: Option<PathBuf>,
    /// Our key, PEM (`ssl.key.location`).
    pub key_file: Option<PathBuf>,
    /// Pass phrase of the key (`ssl.key.password`).
    pub key_password: Option<Secret>,
}

impl Tls {
    fn apply(&self, config: &mut ClientConfig) {
        for (property, file) in [
            ("ssl.ca.location", &self.ca_file),
            ("ssl.certificate.location", &self.cert_file),
            ("ssl.key.location", &self.key_file),
        ] {
            if let Some(file) = file {
                config.set(property, file.to_string_lossy());
            }
        }
        if let Some(password) = &self.key_password {
            config.set("ssl.key.password", &password.0);
        }
    }
}

/// Credentials for the brokers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sasl {
    /// How they are shown.
    pub mechanism: Mechanism,
    /// Who we are.
    pub username: String,
    /// What proves it.
    pub password: Secret,
}

/// A SASL mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of the mechanisms say it")]
pub enum Mechanism {
    Plain,
    ScramSha256,
    ScramSha512,
}

impl Mechanism {
    /// The name that goes over the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// A text that is shown to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// How batches are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of the codecs say it")]
pub enum Compression {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Compression {
    /// librdkafka's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> FindingsTopicSettings {
        let mut settings =
            FindingsTopicSettings::new("kafka", vec!["a:1".to_owned(), "b:2".to_owned()], "mesh.findings");
        settings.tls = Some(Tls {
            ca_file: Some("ca.pem".into()),
            cert_file: Some("client.pem".into()),
            key_file: Some("client.key".into()),
            key_password: Some(Secret("hunter2".to_owned())),
        });
        settings.sasl = Some(Sasl {
            mechanism: Mechanism::ScramSha512,
            username: "alice".to_owned(),
            password: Secret("hunter2".to_owned()),
        });
        settings
    }

    #[test]
    fn every_setting_reaches_librdkafka_and_is_one_it_knows() {
        let config = settings().client_config();
        for (property, expect) in [
            ("bootstrap.servers", "a:1,b:2"),
            ("security.protocol", "sasl_ssl"),
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("compression.type", "zstd"),
            ("partitioner", "murmur2_random"),
            ("delivery.timeout.ms", "30000"),
            ("message.max.bytes", "1048576"),
            ("queue.buffering.max.kbytes", "65536"),
            ("allow.auto.create.topics", "false"),
            ("ssl.ca.location", "ca.pem"),
            ("ssl.certificate.location", "client.pem"),
            ("ssl.key.location", "client.key"),
            ("ssl.key.password", "hunter2"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.username", "alice"),
            ("sasl.password", "hunter2"),
        ] {
            assert_eq!(config.get(property), Some(expect), "{property}");
        }
        config.create_native_config().unwrap();
    }

    #[test]
    fn each_codec_and_mechanism_was_compiled_in() {
        let config = ClientConfig::new().create_native_config().unwrap();
        let features = config.get("builtin.features").unwrap();
        for feature in ["gzip", "snappy", "lz4", "zstd", "ssl", "sasl_plain", "sasl_scram"] {
            assert!(features.split(',').any(|f| f == feature), "{feature} is not among {features}");
        }
    }

    #[test]
    fn no_secret_is_shown() {
        assert!(!format!("{:?}", settings()).contains("hunter2"));
    }
}
