//! TLS for both ports, with client certificates if wanted, and new files taken up as they change.
//!
//! The whole server configuration is swapped, not the certificate alone: so renewed client CAs count
//! as well. Connections keep the configuration they began with; `max_connection_age` ends them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::watch;

use super::DoorError;
use super::stats::{DoorStats, count};

/// Where the door finds its certificates; PEM files, in the words of the Collector's `tls` block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// The server's certificate and its intermediates.
    pub cert_file: PathBuf,
    /// The certificate's private key.
    pub key_file: PathBuf,
    /// The authorities whose client certificates are demanded; `None` lets every client in.
    pub client_ca_file: Option<PathBuf>,
    /// How often the files are looked at. Content is compared, not time stamps, because mounted
    /// secrets are replaced by switching a link.
    pub reload_interval: Duration,
}

/// The TLS configuration now in use, and what is needed to replace it.
#[derive(Debug)]
pub(super) struct Reloading {
    settings: TlsSettings,
    files: Files,
    current: watch::Sender<Arc<ServerConfig>>,
}

impl Reloading {
    /// Loads the files for the first time.
    pub(super) async fn start(settings: TlsSettings) -> Result<Reloading, DoorError> {
        let files = Files::read(&settings).await?;
        let (current, _) = watch::channel(Arc::new(files.configure(&settings)?));
        Ok(Reloading { settings, files, current })
    }

    /// The configuration to use for each new connection.
    pub(super) fn current(&self) -> watch::Receiver<Arc<ServerConfig>> {
        self.current.subscribe()
    }

    /// Takes up changed files until the door closes; unusable ones change nothing.
    pub(super) async fn watch(mut self, stats: Arc<DoorStats>, mut closing: watch::Receiver<bool>) {
        let mut last_failure = String::new();
        loop {
            tokio::select! {
                _ = closing.changed() => return,
                () = tokio::time::sleep(self.settings.reload_interval) => {}
            }
            match self.reload().await {
                Ok(false) => last_failure.clear(),
                Ok(true) => {
                    count(&stats.tls_reloads);
                    last_failure.clear();
                    tracing::info!(cert_file = %self.settings.cert_file.display(), "took up new TLS files");
                }
                Err(error) => {
                    let failure = error.to_string();
                    // The same broken file is found on every look; it is news once.
                    if failure != last_failure {
                        count(&stats.tls_reload_failures);
                        tracing::warn!(%error, "new TLS files are unusable; the previous ones stay in use");
                    }
                    last_failure = failure;
                }
            }
        }
    }

    /// Returns whether there was something new.
    async fn reload(&mut self) -> Result<bool, DoorError> {
        let files = Files::read(&self.settings).await?;
        if files == self.files {
            return Ok(false);
        }
        self.current.send_replace(Arc::new(files.configure(&self.settings)?));
        self.files = files;
        Ok(true)
    }
}

/// The content of the configured files.
#[derive(PartialEq, Eq)]
struct Files {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

/// Without the content, which includes a private key.
impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Files").finish_non_exhaustive()
    }
}

impl Files {
    async fn read(settings: &TlsSettings) -> Result<Files, DoorError> {
        Ok(Files {
            cert: read(&settings.cert_file).await?,
            key: read(&settings.key_file).await?,
            client_ca: match &settings.client_ca_file {
                None => None,
                Some(file) => Some(read(file).await?),
            },
        })
    }

    fn configure(&self, settings: &TlsSettings) -> Result<ServerConfig, DoorError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(&settings.cert_file, &error))?;
        let builder = match (&self.client_ca, &settings.client_ca_file) {
            (Some(content), Some(file)) => {
                let mut roots = RootCertStore::empty();
                for authority in certificates(file, content)? {
                    roots.add(authority).map_err(|error| unusable(file, &error))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .build()
                    .map_err(|error| unusable(file, &error))?;
                builder.with_client_cert_verifier(verifier)
            }
            _ => builder.with_no_client_auth(),
        };
        let chain = certificates(&settings.cert_file, &self.cert)?;
        let key =
            PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| unusable(&settings.key_file, &error))?;
        let mut config =
            builder.with_single_cert(chain, key).map_err(|error| unusable(&settings.cert_file, &error))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

async fn read(file: &Path) -> Result<Vec<u8>, DoorError> {
    tokio::fs::read(file).await.map_err(|error| unusable(file, &error))
}

fn certificates(file: &Path, content: &[u8]) -> Result<Vec<CertificateDer<'static>>, DoorError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(content)
        .collect::<Result<_, _>>()
        .map_err(|error| unusable(file, &error))?;
    if certificates.is_empty() {
        return Err(unusable(file, &"it holds no certificate"));
    }
    Ok(certificates)
}

fn unusable(file: &Path, reason: &dyn std::fmt::Display) -> DoorError {
    DoorError::Tls { file: file.to_owned(), reason: reason.to_string() }
}
