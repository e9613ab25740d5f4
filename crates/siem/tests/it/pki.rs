//! An authority with a server and a client, on disk, for a test.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lapwing_siem::TlsSettings;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

pub(crate) struct Pki {
    folder: PathBuf,
}

impl Pki {
    pub(crate) fn make(folder: &Path) -> Pki {
        let authority_key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = authority.self_signed(&authority_key).unwrap();
        fs::write(folder.join("ca.pem"), certificate.pem()).unwrap();
        let issuer = Issuer::new(authority, authority_key);
        for name in ["server", "client"] {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            let certificate = params.signed_by(&key, &issuer).unwrap();
            fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
            fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
        }
        Pki { folder: folder.to_owned() }
    }

    /// What a client needs.
    pub(crate) fn client(&self) -> TlsSettings {
        TlsSettings {
            ca_file: Some(self.folder.join("ca.pem")),
            cert_file: Some(self.folder.join("client.pem")),
            key_file: Some(self.folder.join("client.key")),
            server_name: None,
        }
    }

    /// A server that demands a client certificate.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let read = |name: &str| CertificateDer::from_pem_file(self.folder.join(name)).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(read("ca.pem")).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .unwrap();
        let key = PrivateKeyDer::from_pem_file(self.folder.join("server.key")).unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![read("server.pem")], key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}
