//! TLS and mutual TLS, and files that change while the door is open.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lapwing_otlp::door::{Door, DoorError, DoorSettings, TlsSettings, open};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::Code;

use super::{TRACES, accepted, call_on, eventually, exchange, framed, open_with, settings};

const REQUEST: &[u8] = b"POST /v1/traces HTTP/1.1\r\nhost: l\r\ncontent-type: application/x-protobuf\r\n\
                         content-length: 3\r\n\r\nabc";

struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

struct Identity {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    fn issue(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        Identity { certificate: params.signed_by(&key, &self.issuer).unwrap(), key }
    }
}

/// A folder as an operator's: `cert.pem`, `key.pem` and `ca.pem`.
fn write_files(folder: &Path, server: &Identity, clients: &Authority) {
    std::fs::write(folder.join("cert.pem"), server.certificate.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), server.key.serialize_pem()).unwrap();
    std::fs::write(folder.join("ca.pem"), clients.issuer.pem()).unwrap();
}

fn tls_settings(folder: &Path) -> DoorSettings {
    let tls = TlsSettings {
        cert_file: folder.join("cert.pem"),
        key_file: folder.join("key.pem"),
        client_ca_file: Some(folder.join("ca.pem")),
        reload_interval: Duration::from_millis(20),
    };
    DoorSettings { tls: Some(tls), ..settings() }
}

async fn open_mutual(server_ca: &Authority, client_ca: &Authority) -> (Door, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    write_files(folder.path(), &server_ca.issue("localhost"), client_ca);
    (open_with(tls_settings(folder.path()), accepted()).await, folder)
}

async fn connect(
    address: Option<std::net::SocketAddr>,
    trusted: &Authority,
    identity: Option<&Identity>,
    alpn: &[u8],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(trusted.issuer.der().to_vec())).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let chain = vec![CertificateDer::from(identity.certificate.der().to_vec())];
            let key = PrivateKeyDer::try_from(identity.key.serialize_der()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    let stream = TcpStream::connect(address.unwrap()).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// Whether a request over such a connection is refused. With TLS 1.3 a client learns that its
/// certificate was refused only when it reads.
async fn is_refused(door: &Door, trusted: &Authority, identity: Option<&Identity>) -> bool {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let Ok(mut stream) = connect(door.http_address(), trusted, identity, b"http/1.1").await else {
        return true;
    };
    if stream.write_all(REQUEST).await.is_err() {
        return true;
    }
    let mut first = [0; 15];
    if stream.read_exact(&mut first).await.is_err() {
        return true;
    }
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    false
}

#[tokio::test]
async fn a_known_client_is_served_over_both_protocols() {
    let (server_ca, client_ca) = (Authority::new(), Authority::new());
    let (door, _folder) = open_mutual(&server_ca, &client_ca).await;
    let client = client_ca.issue("sender");
    let stream = connect(door.grpc_address(), &server_ca, Some(&client), b"h2").await.unwrap();
    assert_eq!(call_on(stream, TRACES, &[], framed(0, b"abc")).await.status.code(), Code::Ok);
    let mut stream = connect(door.http_address(), &server_ca, Some(&client), b"http/1.1").await.unwrap();
    assert_eq!(exchange(&mut stream, REQUEST).await.status, 200);
    assert_eq!(door.stats().tls_failures.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn strangers_are_refused_before_any_request() {
    let (server_ca, client_ca) = (Authority::new(), Authority::new());
    let (door, _folder) = open_mutual(&server_ca, &client_ca).await;
    let failures = || door.stats().tls_failures.load(Ordering::Relaxed);

    assert!(is_refused(&door, &server_ca, None).await, "no certificate");
    eventually(|| failures() == 1).await;
    let stranger = Authority::new().issue("sender");
    assert!(is_refused(&door, &server_ca, Some(&stranger)).await, "another authority");
    eventually(|| failures() == 2).await;
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["sender".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2020, 2, 1);
    let expired = Identity { certificate: params.signed_by(&key, &client_ca.issuer).unwrap(), key };
    assert!(is_refused(&door, &server_ca, Some(&expired)).await, "expired");
    eventually(|| failures() == 3).await;
    let mut plain = TcpStream::connect(door.http_address().unwrap()).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut plain, REQUEST).await.unwrap();
    eventually(|| failures() == 4).await;

    assert_eq!(door.stats().http_requests.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_handshake_that_stalls_is_cut() {
    let server_ca = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    write_files(folder.path(), &server_ca.issue("localhost"), &server_ca);
    let door_settings =
        DoorSettings { first_request_timeout: Duration::from_millis(50), ..tls_settings(folder.path()) };
    let door = open_with(door_settings, accepted()).await;
    let _silent = TcpStream::connect(door.http_address().unwrap()).await.unwrap();
    eventually(|| door.stats().tls_failures.load(Ordering::Relaxed) == 1).await;
    eventually(|| door.stats().open_connections.load(Ordering::Relaxed) == 0).await;
}

#[tokio::test]
async fn new_files_count_for_new_connections_and_old_connections_live_on() {
    let (server_ca, client_ca) = (Authority::new(), Authority::new());
    let (door, folder) = open_mutual(&server_ca, &client_ca).await;
    let old_client = client_ca.issue("sender");
    let mut old = connect(door.http_address(), &server_ca, Some(&old_client), b"http/1.1").await.unwrap();
    assert_eq!(exchange(&mut old, REQUEST).await.status, 200);

    let (new_server_ca, new_client_ca) = (Authority::new(), Authority::new());
    let new_client = new_client_ca.issue("sender");
    write_files(folder.path(), &new_server_ca.issue("localhost"), &new_client_ca);
    // The files may be seen half-written at first; then they are read again.
    let reloads = || door.stats().tls_reloads.load(Ordering::Relaxed);
    eventually(|| reloads() > 0).await;
    let knows_new_client = async || !is_refused(&door, &new_server_ca, Some(&new_client)).await;
    let waiting = async { while !knows_new_client().await {} };
    tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap();

    assert!(is_refused(&door, &new_server_ca, Some(&old_client)).await, "the old authority counts no more");
    assert_eq!(exchange(&mut old, REQUEST).await.status, 200, "a connection keeps what it began with");
}

#[tokio::test]
async fn unusable_new_files_change_nothing_and_are_counted_once() {
    let (server_ca, client_ca) = (Authority::new(), Authority::new());
    let (door, folder) = open_mutual(&server_ca, &client_ca).await;
    std::fs::write(folder.path().join("cert.pem"), "not a certificate").unwrap();
    let failures = || door.stats().tls_reload_failures.load(Ordering::Relaxed);
    eventually(|| failures() == 1).await;
    let client = client_ca.issue("sender");
    for _ in 0..20 {
        assert!(!is_refused(&door, &server_ca, Some(&client)).await);
    }
    assert_eq!(failures(), 1);
    std::fs::remove_file(folder.path().join("key.pem")).unwrap();
    eventually(|| failures() == 2).await;
    assert!(!is_refused(&door, &server_ca, Some(&client)).await);
}

#[tokio::test]
async fn without_client_authorities_any_client_is_served() {
    let server_ca = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    write_files(folder.path(), &server_ca.issue("localhost"), &server_ca);
    let mut door_settings = tls_settings(folder.path());
    door_settings.tls.as_mut().unwrap().client_ca_file = None;
    let door = open_with(door_settings, accepted()).await;
    assert!(!is_refused(&door, &server_ca, None).await);
}

#[tokio::test]
async fn a_door_with_unusable_files_does_not_open_and_says_which() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let check = async |broken: &str, content: Option<&str>, words: &str| {
        write_files(folder.path(), &authority.issue("localhost"), &authority);
        match content {
            Some(content) => std::fs::write(folder.path().join(broken), content).unwrap(),
            None => std::fs::remove_file(folder.path().join(broken)).unwrap(),
        }
        let error = open(tls_settings(folder.path())).await.unwrap_err();
        assert!(matches!(error, DoorError::Tls { .. }));
        let message = error.to_string();
        assert!(message.contains(broken) && message.contains(words), "{message}");
    };
    check("cert.pem", None, "No such file").await;
    check("cert.pem", Some(""), "no certificate").await;
    check("key.pem", Some("-----BEGIN"), "").await;
    check("ca.pem", Some("nothing"), "no certificate").await;
    let other_key = KeyPair::generate().unwrap().serialize_pem();
    write_files(folder.path(), &authority.issue("localhost"), &authority);
    std::fs::write(folder.path().join("key.pem"), other_key).unwrap();
    assert!(matches!(open(tls_settings(folder.path())).await.unwrap_err(), DoorError::Tls { .. }));
}
