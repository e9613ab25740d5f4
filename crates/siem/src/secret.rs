//! Credentials: where they come from, never what they are.

use std::fmt;
use std::fs;
use std::path::PathBuf;

/// A credential that is read when it is used, so that a renewed file counts at the next attempt.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// A file's content, without white space around it.
    File(PathBuf),
    /// An environment variable's value.
    Env(String),
    /// The text itself, for tests.
    Text(String),
}

impl Secret {
    /// Reads it; blocks as long as reading a small file takes.
    ///
    /// # Errors
    /// Says where it was looked for and what is wrong, without what was found.
    pub fn read(&self) -> Result<String, String> {
        let text = match self {
            Secret::File(path) => fs::read_to_string(path)
                .map_err(|error| format!("secret file `{}` cannot be read: {error}", path.display()))?,
            Secret::Env(name) => std::env::var(name)
                .map_err(|_unset| format!("environment variable `{name}` is not set or not text"))?,
            Secret::Text(text) => text.clone(),
        };
        let text = text.trim();
        if text.is_empty() {
            return Err(format!("{self} is empty"));
        }
        if text.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(format!("{self} has a line break or another control character in it"));
        }
        Ok(text.to_owned())
    }
}

/// Where it comes from.
impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Secret::File(path) => write!(f, "secret file `{}`", path.display()),
            Secret::Env(name) => write!(f, "environment variable `{name}`"),
            Secret::Text(_) => f.write_str("secret"),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{self}>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_anew_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let secret = Secret::File(path.clone());
        assert!(secret.read().unwrap_err().contains("cannot be read"));
        for content in ["hunter2\n", " hunter3 "] {
            fs::write(&path, content).unwrap();
            assert_eq!(secret.read().unwrap(), content.trim());
        }
        fs::write(&path, "hunter2\nhunter3").unwrap();
        let error = secret.read().unwrap_err();
        assert!(
            !format!("{error}{secret:?}{:?}", Secret::Text("hunter2".into())).contains("hunter"),
            "{error}"
        );
        fs::write(&path, "\n").unwrap();
        assert!(secret.read().unwrap_err().ends_with("is empty"));
    }
}
