//! The syslog sink against a receiver on loopback that closes, dies and dawdles.

use std::time::Duration;

use lapwing_siem::{Format, SyslogSettings, SyslogSink, TlsSettings};
use lapwing_telemetry::{FindingSink, PublishError};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpListener;

use crate::{context, numbered};

async fn receiver() -> (TcpListener, SyslogSettings) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, SyslogSettings::new("siem", address))
}

/// Reads `count` frames and gives the `rev` of each.
async fn read(stream: &mut (impl AsyncRead + Unpin), count: usize) -> Vec<u32> {
    let mut revisions = Vec::new();
    for _ in 0..count {
        let mut len = 0;
        loop {
            match stream.read_u8().await.unwrap() {
                b' ' => break,
                digit => len = len * 10 + usize::from(digit - b'0'),
            }
        }
        let mut message = vec![0; len];
        stream.read_exact(&mut message).await.unwrap();
        let message = String::from_utf8(message).unwrap();
        let (_, rest) = message.split_once(" rev=\"").unwrap();
        revisions.push(rest.split_once('"').unwrap().0.parse().unwrap());
    }
    revisions
}

#[tokio::test]
async fn frames_arrive_in_order_on_one_connection() {
    let (listener, settings) = receiver().await;
    let mut sink = SyslogSink::new(settings, context());
    sink.publish(&numbered(3)).await.unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    sink.publish(&numbered(5)[3..]).await.unwrap();
    assert_eq!(read(&mut stream, 5).await, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn a_receiver_that_is_away_is_busy_and_nothing_counts_as_sent() {
    let (listener, settings) = receiver().await;
    drop(listener);
    let address = settings.address.clone();
    let mut sink = SyslogSink::new(settings, context());
    let error = sink.publish(&numbered(1)).await.unwrap_err();
    let PublishError::Busy { reason, delivered: 0 } = error else { panic!("{error:?}") };
    assert!(reason.starts_with(&format!("connect to syslog receiver `{address}`: ")), "{reason}");
}

#[tokio::test]
async fn after_a_break_the_latest_frames_are_written_again_before_new_ones() {
    let (listener, settings) = receiver().await;
    let mut sink = SyslogSink::new(settings, context());
    sink.publish(&numbered(2)).await.unwrap();
    // The receiver dies with both frames unread.
    let (stream, _) = listener.accept().await.unwrap();
    stream.peek(&mut [0]).await.unwrap();
    drop(stream);

    let sent = tokio::spawn(async move {
        // The close may need a moment to come through; until then a write may seem to succeed.
        for revision in 2.. {
            let findings = numbered(revision + 1);
            while sink.publish(&findings[revision as usize..]).await.is_err() {}
            if let Ok(accepted) = tokio::time::timeout(Duration::from_millis(1), listener.accept()).await {
                return (sink, accepted.unwrap().0);
            }
        }
        unreachable!()
    });
    let (_sink, mut stream) = sent.await.unwrap();
    assert_eq!(read(&mut stream, 3).await, [1, 2, 3]);
}

#[tokio::test]
async fn repeating_can_be_turned_off() {
    let (listener, settings) = receiver().await;
    let mut sink = SyslogSink::new(SyslogSettings { repeat_bytes: 0, ..settings }, context());
    sink.publish(&numbered(1)).await.unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    assert_eq!(read(&mut stream, 1).await, [1]);
    drop(stream);
    let findings = numbered(2);
    let publishes = async {
        loop {
            // The close may need a moment to come through; until then a write may seem to succeed.
            sink.publish(&findings[1..]).await.ok();
            tokio::task::yield_now().await;
        }
    };
    let reads = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        read(&mut stream, 1).await
    };
    tokio::select! {
        () = publishes => {}
        first = reads => assert_eq!(first, [2]),
    }
}

#[tokio::test]
async fn a_receiver_that_reads_nothing_is_busy_after_the_time_limit() {
    let (listener, settings) = receiver().await;
    let write_timeout = Duration::from_millis(50);
    let mut sink = SyslogSink::new(SyslogSettings { write_timeout, ..settings }, context());
    let findings = numbered(5_000);
    let error = sink.publish(&findings).await.unwrap_err();
    let PublishError::Busy { reason, delivered } = error else { panic!("{error:?}") };
    assert!(reason.contains("it took nothing for 0.05 s"), "{reason}");
    assert!(delivered > 0 && delivered < findings.len(), "{delivered}");

    // The rest comes on a new connection, after a repetition, without a gap.
    drop(listener.accept().await.unwrap());
    let (sent, read) = tokio::join!(sink.publish(&findings[delivered..]), async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let first = read(&mut stream, 1).await[0];
        let expect: Vec<u32> = (first + 1..=5_000).collect();
        assert_eq!(read(&mut stream, expect.len()).await, expect);
        first
    });
    sent.unwrap();
    assert!(read as usize <= delivered + 1);
}

#[tokio::test]
async fn a_finding_that_no_message_can_hold_is_rejected_and_the_others_are_sent() {
    let (listener, settings) = receiver().await;
    let mut sink = SyslogSink::new(settings, context());
    let mut findings = numbered(3);
    findings[1].explanation = "x".repeat(9_000);
    let error = sink.publish(&findings).await.unwrap_err();
    assert!(matches!(&error, PublishError::Rejected { which, .. } if which == &[1]), "{error:?}");
    let (mut stream, _) = listener.accept().await.unwrap();
    assert_eq!(read(&mut stream, 2).await, [1, 3]);
}

#[tokio::test]
async fn over_tls_both_sides_show_certificates_and_a_wrong_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let pki = crate::pki::Pki::make(folder.path());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("localhost:{}", listener.local_addr().unwrap().port());
    let acceptor = pki.acceptor();
    let (arrived, mut streams) = tokio::sync::mpsc::channel(8);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(stream).await {
                arrived.send(stream).await.unwrap();
            }
        }
    });
    let with = |tls: TlsSettings| {
        let settings = SyslogSettings {
            tls: Some(tls),
            format: Format::Cef,
            ..SyslogSettings::new("siem", address.clone())
        };
        SyslogSink::new(settings, context())
    };
    let mut sink = with(pki.client());
    sink.publish(&numbered(3)).await.unwrap();
    let mut stream = streams.recv().await.unwrap();
    assert_eq!(read(&mut stream, 3).await, [1, 2, 3]);

    let nameless = TlsSettings { cert_file: None, key_file: None, ..pki.client() };
    let untrusting = TlsSettings { ca_file: None, ..pki.client() };
    for (what, tls) in [("no certificate", nameless), ("unknown authority", untrusting)] {
        let error = with(tls).publish(&numbered(1)).await.unwrap_err();
        let PublishError::Refused { reason, delivered: 0 } = error else { panic!("{what}: {error:?}") };
        assert!(reason.contains("TLS"), "{what}: {reason}");
    }
}

/// As rsyslog does with a certificate that it does not like.
#[tokio::test]
async fn a_receiver_that_closes_after_the_handshake_has_refused() {
    let folder = tempfile::tempdir().unwrap();
    let pki = crate::pki::Pki::make(folder.path());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("localhost:{}", listener.local_addr().unwrap().port());
    let acceptor = pki.acceptor();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        drop(acceptor.accept(stream).await.unwrap());
    });
    let settings = SyslogSettings { tls: Some(pki.client()), ..SyslogSettings::new("siem", address) };
    let error = SyslogSink::new(settings, context()).publish(&numbered(1)).await.unwrap_err();
    let PublishError::Refused { reason, delivered: 0 } = error else { panic!("{error:?}") };
    assert!(reason.contains("check our certificate"), "{reason}");
}
