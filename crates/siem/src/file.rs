//! Findings as lines: into a file with rotation, or to standard output.

use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lapwing_telemetry::{Finding, FindingSink, PublishError, Publishing};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Mutex;

use crate::disk::{self, AppendFile, WriteError};
use crate::{Context, Format};

/// Where to write, and when to begin a new file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSettings {
    /// The sink's name.
    pub name: String,
    /// The file; its folder is created if it is not there.
    pub path: PathBuf,
    /// What a line says.
    pub format: Format,
    /// What it says about us.
    pub context: Context,
    /// `None` lets the file grow.
    pub rotation: Option<Rotation>,
}

/// When to begin a new file and how many old ones to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Size that a file does not exceed, unless one publication alone does.
    pub file_bytes: u64,
    /// How many old files are kept, as `<path>.1` (latest) and so on; older ones are deleted. At least one.
    pub old_files: u32,
}

/// Appends findings to a file, one to a line.
///
/// Durable means: written and synced. The file may be moved away by another program at any time; the next
/// publication begins a new one. A line that a crash left unfinished is cut off when the file is opened.
pub struct FileSink {
    // Behind a lock so that an append goes on to its end when the caller's future is dropped.
    target: Arc<Mutex<Target>>,
    settings: FileSettings,
}

struct Target {
    path: PathBuf,
    rotation: Option<Rotation>,
    file: AppendFile,
}

impl FileSink {
    /// Opens or creates the file; blocks that long.
    ///
    /// # Errors
    /// *Broken*: what the system said.
    pub fn open(settings: FileSettings) -> io::Result<FileSink> {
        let path = settings.path.clone();
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = open_whole(&path)?;
        let target = Target { path, rotation: settings.rotation, file };
        Ok(FileSink { target: Arc::new(Mutex::new(target)), settings })
    }

    async fn append(&self, findings: &[Finding]) -> Result<(), PublishError> {
        if findings.is_empty() {
            return Ok(());
        }
        let block = block(self.settings.format, &self.settings.context, findings);
        let target = Arc::clone(&self.target);
        let append = tokio::task::spawn_blocking(move || target.blocking_lock().append(&block));
        let path = self.settings.path.display();
        match append.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(WriteError::Full(error))) => {
                Err(PublishError::Busy { reason: format!("append to `{path}`: {error}"), delivered: 0 })
            }
            Ok(Err(WriteError::Broken(error))) => {
                Err(PublishError::Broken { reason: format!("append to `{path}`: {error}") })
            }
            Err(_ended) => {
                Err(PublishError::Broken { reason: format!("append to `{path}`: its thread has ended") })
            }
        }
    }
}

fn block(format: Format, context: &Context, findings: &[Finding]) -> Vec<u8> {
    let mut block = Vec::with_capacity(findings.len() * 1024);
    for finding in findings {
        block.extend_from_slice(format.line(finding, context).as_bytes());
        block.push(b'\n');
    }
    block
}

impl FindingSink for FileSink {
    fn name(&self) -> &str {
        &self.settings.name
    }

    fn publish<'a>(&'a mut self, findings: &'a [Finding]) -> Publishing<'a> {
        Box::pin(self.append(findings))
    }
}

impl Target {
    fn append(&mut self, block: &[u8]) -> Result<(), WriteError> {
        let prepared = self.follow().and_then(|()| self.rotate(block.len() as u64));
        prepared.map_err(|error| {
            if disk::is_full(&error) { WriteError::Full(error) } else { WriteError::Broken(error) }
        })?;
        self.file.append(block)
    }

    /// Opens the path anew if another program has moved or removed the file.
    fn follow(&mut self) -> io::Result<()> {
        let held = self.file.file().metadata()?;
        let there = match fs::metadata(&self.path) {
            Ok(found) => Some((found.dev(), found.ino(), found.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        match there {
            // Cut short in place, as `copytruncate` does: go on from there.
            Some((dev, ino, len)) if (dev, ino) == (held.dev(), held.ino()) => self.file.len = len,
            _ => self.file = open_whole(&self.path)?,
        }
        Ok(())
    }

    fn rotate(&mut self, more_bytes: u64) -> io::Result<()> {
        let Some(Rotation { file_bytes, old_files }) = self.rotation else { return Ok(()) };
        if self.file.len == 0 || self.file.len + more_bytes <= file_bytes {
            return Ok(());
        }
        for i in (1..old_files.max(1)).rev() {
            rename_if_there(&numbered(&self.path, i), &numbered(&self.path, i + 1))?;
        }
        rename_if_there(&self.path, &numbered(&self.path, 1))?;
        self.file = open_whole(&self.path)?;
        match self.path.parent() {
            Some(folder) if folder != Path::new("") => disk::sync_folder(folder),
            _ => disk::sync_folder(Path::new(".")),
        }
    }
}

fn numbered(path: &Path, i: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{i}"));
    PathBuf::from(name)
}

fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Opens a file and cuts off a line that was left unfinished: nobody was told that it was written.
fn open_whole(path: &Path) -> io::Result<AppendFile> {
    let mut file = AppendFile::open(path)?;
    if !file.file().metadata()?.is_file() {
        return Ok(file); // a pipe or a device has no tail
    }
    let whole = whole_len(file.file(), file.len)?;
    if whole < file.len {
        file.truncate(whole)?;
    }
    Ok(file)
}

/// Length up to and including the last line break, found from the end.
fn whole_len(mut file: &fs::File, len: u64) -> io::Result<u64> {
    let mut end = len;
    while end > 0 {
        let start = end.saturating_sub(64 * 1024);
        let mut bytes = vec![0; usize::try_from(end - start).unwrap_or(usize::MAX)];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut bytes)?;
        if let Some(last) = bytes.iter().rposition(|b| *b == b'\n') {
            return Ok(start + last as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Writes findings to standard output, one to a line.
///
/// Durable means: written and flushed; what the reader does with them is its affair.
pub type StdoutSink = StreamSink<tokio::io::Stdout>;

/// Writes findings to a stream, one to a line.
pub struct StreamSink<W> {
    name: String,
    format: Format,
    context: Context,
    stream: W,
}

impl StdoutSink {
    /// A sink for this process's standard output.
    pub fn new(name: impl Into<String>, format: Format, context: Context) -> StdoutSink {
        StreamSink { name: name.into(), format, context, stream: tokio::io::stdout() }
    }
}

impl<W: AsyncWrite + Unpin + Send> FindingSink for StreamSink<W> {
    fn name(&self) -> &str {
        &self.name
    }

    fn publish<'a>(&'a mut self, findings: &'a [Finding]) -> Publishing<'a> {
        Box::pin(async move {
            let block = block(self.format, &self.context, findings);
            let written = async {
                self.stream.write_all(&block).await?;
                self.stream.flush().await
            };
            let broken =
                |error| PublishError::Broken { reason: format!("write to `{}`: {error}", self.name) };
            written.await.map_err(broken)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{context, findings};

    fn open(path: &Path, rotation: Option<Rotation>) -> FileSink {
        let settings = FileSettings {
            name: "file".to_owned(),
            path: path.to_owned(),
            format: Format::Native,
            context: context(),
            rotation,
        };
        FileSink::open(settings).unwrap()
    }

    fn ids(path: &Path) -> Vec<String> {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str::<Finding>(line).unwrap().event_id()).collect()
    }

    fn expect(range: std::ops::Range<usize>) -> Vec<String> {
        findings()[range].iter().map(Finding::event_id).collect()
    }

    #[tokio::test]
    async fn lines_are_appended_and_an_unfinished_one_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/findings.ndjson");
        open(&path, None).publish(&findings()[..2]).await.unwrap();
        let mut torn = fs::read(&path).unwrap();
        torn.extend_from_slice(&vec![b'{'; 100_000]);
        fs::write(&path, torn).unwrap();
        open(&path, None).publish(&findings()[2..3]).await.unwrap();
        assert_eq!(ids(&path), expect(0..3));
    }

    #[tokio::test]
    async fn a_file_that_was_moved_away_or_emptied_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("findings.ndjson");
        let moved = folder.path().join("moved");
        let mut sink = open(&path, None);
        sink.publish(&findings()[..1]).await.unwrap();
        fs::rename(&path, &moved).unwrap();
        sink.publish(&findings()[1..2]).await.unwrap();
        assert_eq!((ids(&moved), ids(&path)), (expect(0..1), expect(1..2)));
        fs::File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        sink.publish(&findings()[2..3]).await.unwrap();
        assert_eq!(ids(&path), expect(2..3));
    }

    #[tokio::test]
    async fn rotation_keeps_as_many_old_files_as_it_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("findings.ndjson");
        let mut sink = open(&path, Some(Rotation { file_bytes: 1, old_files: 2 }));
        for finding in &findings()[..4] {
            sink.publish(std::slice::from_ref(finding)).await.unwrap();
        }
        let got = [ids(&path), ids(&numbered(&path, 1)), ids(&numbered(&path, 2))];
        assert_eq!(got, [expect(3..4), expect(2..3), expect(1..2)]);
        assert!(!numbered(&path, 3).exists());
    }

    #[tokio::test]
    async fn a_stream_gets_one_line_for_each_finding() {
        let (name, format) = ("stdout".to_owned(), Format::Ocsf);
        let mut sink = StreamSink { name, format, context: context(), stream: Vec::new() };
        sink.publish(&findings()).await.unwrap();
        let text = String::from_utf8(sink.stream).unwrap();
        assert_eq!(text.lines().count(), findings().len());
        assert!(text.lines().all(|line| line.contains("\"class_uid\":2004")));
    }
}
