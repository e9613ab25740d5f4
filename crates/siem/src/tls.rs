//! TLS towards a target, with our own certificate where it is asked for. The files are read anew for each
//! connection, so renewed certificates count without a restart.

use std::error::Error as StdError;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How a target is checked and what we show it; in the words of the Collector's `tls` block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// Authorities that may sign the target's certificate, PEM; `None` trusts the system's.
    pub ca_file: Option<PathBuf>,
    /// Our certificate and its intermediates, PEM, for mutual TLS.
    pub cert_file: Option<PathBuf>,
    /// Our private key, PEM.
    pub key_file: Option<PathBuf>,
    /// The name that the target's certificate must have; the host of its address if `None`.
    pub server_name: Option<String>,
}

impl TlsSettings {
    /// Reads the files; blocks that long.
    ///
    /// # Errors
    /// Says which file is wrong and how.
    pub fn config(&self) -> Result<ClientConfig, String> {
        let mut roots = RootCertStore::empty();
        match &self.ca_file {
            Some(file) => {
                for certificate in certificates(file)? {
                    roots.add(certificate).map_err(|error| unusable(file, &error))?;
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                if roots.is_empty() {
                    return Err(
                        "the system has no certificates to trust; install ca-certificates or set `ca_file`"
                            .to_owned(),
                    );
                }
            }
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots);
        match (&self.cert_file, &self.key_file) {
            (None, None) => Ok(builder.with_no_client_auth()),
            (Some(cert), Some(key)) => {
                let chain = certificates(cert)?;
                let private = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, &error))?;
                builder.with_client_auth_cert(chain, private).map_err(|error| unusable(cert, &error))
            }
            _ => Err("`cert_file` and `key_file` belong together: set both or none".to_owned()),
        }
    }

    /// Makes TLS of a connection to `host`, offering `protocols` (ALPN).
    ///
    /// # Errors
    /// Why not; see [`Failure`].
    pub(crate) async fn connect(
        &self,
        host: &str,
        protocols: &[&[u8]],
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, Failure> {
        let settings = self.clone();
        let config = tokio::task::spawn_blocking(move || settings.config()).await;
        let mut config = match config {
            Ok(Ok(config)) => config,
            Ok(Err(reason)) => return Err(Failure { reason, refused: true }),
            Err(_ended) => {
                return Err(Failure { reason: "reading TLS files was cut off".to_owned(), refused: false });
            }
        };
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let name = self.server_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_owned()).map_err(|_not_a_name| Failure {
            reason: format!("`{name}` is not a name a certificate can have"),
            refused: true,
        })?;
        let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        connected.map_err(|error| Failure::of("TLS", &error))
    }
}

/// Why a connection did not come about or ended.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) reason: String,
    /// Whether an operator must act: a certificate is wrong. Else it may pass by itself.
    pub(crate) refused: bool,
}

impl Failure {
    /// What `doing` failed with. Looks for a TLS error behind it: a target that does not like our
    /// certificate says so on the first read after the handshake (RFC 8446 section 4.4.2.4).
    pub(crate) fn of(doing: &str, error: &(dyn StdError + 'static)) -> Failure {
        let mut at = Some(error);
        while let Some(error) = at {
            // An `io::Error` gives out the source of what it wraps, not what it wraps.
            let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            let tls = error
                .downcast_ref::<rustls::Error>()
                .or_else(|| wrapped.and_then(|inner| inner.downcast_ref::<rustls::Error>()));
            if let Some(tls) = tls {
                return Failure { reason: format!("TLS: {tls}; check the certificates"), refused: true };
            }
            at = match wrapped {
                Some(inner) => Some(inner as &(dyn StdError + 'static)),
                None => error.source(),
            };
        }
        let mut reason = format!("{doing}: {error}");
        if let Some(source) = error.source() {
            reason = format!("{reason}: {source}");
        }
        Failure { reason, refused: false }
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let all = read.map_err(|error| unusable(file, &error))?;
    if all.is_empty() {
        return Err(format!("`{}` holds no PEM certificate", file.display()));
    }
    Ok(all)
}

fn unusable(file: &Path, error: &dyn std::fmt::Display) -> String {
    format!("`{}` cannot be used: {error}", file.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_file_is_said_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("empty.pem");
        std::fs::write(&empty, "").unwrap();
        let wrong = |settings: TlsSettings| settings.config().map(|_| ()).unwrap_err();
        let ca = TlsSettings { ca_file: Some(empty.clone()), ..TlsSettings::default() };
        assert!(wrong(ca).contains("empty.pem` holds no PEM certificate"));
        let missing = TlsSettings { ca_file: Some("/no/such.pem".into()), ..TlsSettings::default() };
        assert!(wrong(missing).contains("/no/such.pem` cannot be used"));
        let key = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, key.cert.pem()).unwrap();
        let half = TlsSettings { ca_file: Some(ca), cert_file: Some(empty), ..TlsSettings::default() };
        assert!(wrong(half).contains("belong together"));
    }
}
