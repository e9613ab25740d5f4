//! A strict HTTP server on loopback that answers as it is told, or does not.
//!
//! Strict: what a real target would not understand (a body that is not gzip though it says so, a missing
//! length, a wrong method) fails the test.

use std::io::Read as _;
use std::sync::Arc;

use flate2::read::GzDecoder;
use lapwing_siem::http::{HttpSettings, Url};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// A request as it came, unzipped.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) path: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The body's lines as JSON.
    pub(crate) fn lines(&self) -> Vec<serde_json::Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// What the server does with a request.
pub(crate) enum Reply {
    Say(u16, String),
    /// The same with a header.
    With(u16, &'static str, String),
    /// Closes without an answer: the request arrived and its answer is lost.
    Cut,
    /// Never answers.
    Hang,
}

/// A running server; it ends with the test's runtime.
pub(crate) struct Stub {
    pub(crate) url: Url,
    pub(crate) seen: mpsc::Receiver<Received>,
}

impl Stub {
    /// Serves on a free port; `answer` is given each request and its number from 0.
    pub(crate) async fn start(
        path: &str,
        answer: impl Fn(&Received, usize) -> Reply + Send + Sync + 'static,
    ) -> Stub {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}{path}", listener.local_addr().unwrap())).unwrap();
        Stub::serve(url, listener, |stream| async { Some(stream) }, answer)
    }

    /// Serves what `accept` makes of each connection.
    pub(crate) fn serve<S, F>(
        url: Url,
        listener: TcpListener,
        accept: impl Fn(tokio::net::TcpStream) -> F + Send + 'static,
        answer: impl Fn(&Received, usize) -> Reply + Send + Sync + 'static,
    ) -> Stub
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Future<Output = Option<S>> + Send,
    {
        let (sender, seen) = mpsc::channel(10_000);
        let answer = Arc::new(answer);
        let number = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Some(stream) = accept(stream).await else { continue };
                let (sender, answer, number) = (sender.clone(), Arc::clone(&answer), Arc::clone(&number));
                tokio::spawn(async move {
                    let mut stream = BufReader::new(stream);
                    while let Some(received) = read(&mut stream).await {
                        let n = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        let reply = answer(&received, n);
                        sender.send(received).await.unwrap();
                        let (status, header, body) = match reply {
                            Reply::Say(status, body) => (status, "x-stub: yes".to_owned(), body),
                            Reply::With(status, name, value) => {
                                (status, format!("{name}: {value}"), String::new())
                            }
                            Reply::Cut => return,
                            Reply::Hang => std::future::pending().await,
                        };
                        let length = body.len();
                        let text = format!(
                            "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n{header}\r\n\r\n{body}"
                        );
                        if stream.write_all(text.as_bytes()).await.is_err() {
                            return;
                        }
                        stream.flush().await.ok();
                    }
                });
            }
        });
        Stub { url, seen }
    }

    pub(crate) fn settings(&self) -> HttpSettings {
        HttpSettings::new("target", self.url.clone())
    }

    /// The requests that came so far.
    pub(crate) fn all(&mut self) -> Vec<Received> {
        std::iter::from_fn(|| self.seen.try_recv().ok()).collect()
    }
}

async fn read<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut BufReader<S>) -> Option<Received> {
    let mut first = String::new();
    if stream.read_line(&mut first).await.ok()? == 0 {
        return None;
    }
    let mut words = first.split_whitespace();
    assert_eq!(words.next(), Some("POST"));
    let path = words.next().unwrap().to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(": ").unwrap();
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let mut received = Received { path, headers, body: Vec::new() };
    let length = received.header("content-length").expect("a body has a length").parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    match received.header("content-encoding") {
        Some("gzip") => {
            GzDecoder::new(&body[..]).read_to_end(&mut received.body).unwrap();
        }
        None => received.body = body,
        Some(other) => panic!("encoding {other}"),
    }
    assert!(received.header("host").is_some());
    Some(received)
}
