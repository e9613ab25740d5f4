//! Names of accounts where no field is called so: lines of login daemons, home directories, options of commands.

use crate::builtin::Rule;
use crate::context::{Found, Text};
use crate::pairs::count;

/// How far behind `curl` its options are looked at, in bytes.
const OPTIONS_BYTES: usize = 128;

/// Accounts of machines and programs, which are nobody's.
const SYSTEM: &[&str] = &[
    "admin",
    "administrator",
    "all",
    "anonymous",
    "app",
    "build",
    "builder",
    "circleci",
    "daemon",
    "default",
    "deploy",
    "docker",
    "ec2-user",
    "git",
    "gitlab-runner",
    "guest",
    "jenkins",
    "mysql",
    "nginx",
    "nobody",
    "node",
    "nonroot",
    "postgres",
    "public",
    "redis",
    "root",
    "runner",
    "runneradmin",
    "service",
    "shared",
    "system",
    "test",
    "ubuntu",
    "unknown",
    "user",
    "vagrant",
    "vscode",
    "www-data",
];

/// What lies in home directories; in paths of URLs it does not.
const BELOW_HOME: &[&str] = &[
    ".",
    "AppData",
    "Code",
    "Desktop",
    "Documents",
    "Downloads",
    "IdeaProjects",
    "Library",
    "Projects",
    "code",
    "dev",
    "go/",
    "git/",
    "miniconda",
    "projects",
    "repos",
    "src",
    "work",
    "workspace",
];

/// `user alice from 10.0.0.1`, `for user "alice"`: the name behind the word `user`, which ends at `word`.
pub(crate) fn user(text: &Text<'_>, start: usize, word: usize, found: &mut Vec<Found>) {
    let told =
        ["for ", "invalid ", "by ", "unknown "].iter().any(|w| text.bytes[..start].ends_with(w.as_bytes()));
    if told && text.at(word) == b' ' {
        name(text, word + 1, found);
    }
}

/// `Failed password for alice from 10.0.0.1`, as sshd writes it; `word` is where `Failed` or `Accepted` ends.
pub(crate) fn login(text: &Text<'_>, word: usize, found: &mut Vec<Found>) {
    let method = word + 1;
    let length = count(text.bytes, method, 32, |b| b.is_ascii_lowercase() || matches!(b, b'-' | b'/'));
    if length > 0 && text.bytes[method + length..].starts_with(b" for ") {
        name(text, method + length + 5, found);
    }
}

/// The name at `start`, if it is quoted or an address follows it: ` from `.
fn name(text: &Text<'_>, start: usize, found: &mut Vec<Found>) {
    let quote = matches!(text.at(start), b'"' | b'\'' | b'`');
    let start = start + usize::from(quote);
    let end = start + count(text.bytes, start, 64, is_account);
    let closed =
        if quote { text.at(end) == text.at(start - 1) } else { text.bytes[end..].starts_with(b" from ") };
    if closed {
        take(text, start, end, found);
    }
}

/// `/home/alice/.ssh`, `/Users/alice/Library`, `C:\Users\alice`: the name behind `home` or `Users`, `start..end`.
pub(crate) fn home(text: &Text<'_>, start: usize, end: usize, found: &mut Vec<Found>) {
    let bytes = text.bytes;
    let separators = count(bytes, end, 4, |b| b == b'\\');
    let (separator, from) = if separators > 0 { (b'\\', end + separators) } else { (b'/', end + 1) };
    if text.at(end) != separator {
        return;
    }
    let root = bytes[..start].iter().rposition(|b| !matches!(b, b'/' | b'\\')).map_or(0, |i| i + 1);
    let name = from + count(bytes, from, 64, is_account);
    let below = name + count(bytes, name, 4, |b| b == separator);
    let drive = root >= 2 && bytes[root - 1] == b':' && bytes[root - 2].is_ascii_alphabetic();
    let is_home = if drive && start > root {
        &bytes[start..end] == b"Users"
    } else {
        let begins = start == root + 1 && !text.before(root).is_ascii_alphanumeric() && separator == b'/';
        let lies_below = BELOW_HOME.iter().any(|w| bytes[below..].starts_with(w.as_bytes()));
        begins && matches!(&bytes[start..end], b"home" | b"Users") && below > name && lies_below
    };
    if is_home {
        take(text, from, name, found);
    }
}

/// `curl -u alice:password`: `word` is where `curl` ends.
pub(crate) fn curl(text: &Text<'_>, word: usize, found: &mut Vec<Found>) {
    let bytes = text.bytes;
    let line = &bytes[word..bytes.len().min(word + OPTIONS_BYTES)];
    text.spend(line.len());
    let option = [&b" -u "[..], b" --user ", b" -u"]
        .iter()
        .find_map(|o| memchr::memmem::find(line, o).map(|at| at + o.len()));
    let Some(option) = option else { return };
    let start = word + option + usize::from(matches!(text.at(word + option), b'"' | b'\''));
    let length = count(bytes, start, 256, |b| !matches!(b, b' ' | b'"' | b'\'' | b'\r' | b'\n'));
    let value = &bytes[start..start + length];
    let password = value.iter().position(|b| *b == b':').map(|colon| colon + 1);
    if text.allows(Rule::Basic)
        && password.is_some_and(|at| at > 1 && !crate::words::is_nothing(&value[at..]))
    {
        found.push(Found { start, end: start + length, rule: Rule::Basic.id() });
    }
}

fn take(text: &Text<'_>, start: usize, end: usize, found: &mut Vec<Found>) {
    let name = &text.bytes[start..end];
    let person = end - start >= 2 && name[0].is_ascii_alphabetic();
    if person
        && text.allows(Rule::Username)
        && !SYSTEM.iter().any(|s| s.as_bytes().eq_ignore_ascii_case(name))
    {
        found.push(Found { start, end, rule: Rule::Username.id() });
    }
}

fn is_account(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}
