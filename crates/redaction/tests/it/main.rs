//! What redaction promises, from outside.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod batches;
mod builtins;
mod corpus;
mod explanations;
mod policies;
mod properties;
mod rule_files;
mod score;

use std::sync::{Arc, LazyLock};

use lapwing_redaction::{Redactor, Rules};

/// A redactor with the built-in rules.
fn redactor() -> Redactor {
    static RULES: LazyLock<Arc<Rules>> = LazyLock::new(|| Arc::new(Rules::builtin()));
    Redactor::new(RULES.clone())
}

fn redact(text: &str) -> String {
    redactor().redact_text(None, text).into_owned()
}

fn redact_under(key: &str, text: &str) -> String {
    redactor().redact_text(Some(key), text).into_owned()
}
