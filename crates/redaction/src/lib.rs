//! Removes secrets and personal data from calls.
//!
//! The one design decision: **fields decide first, then content, and distinct values only.** The name of an
//! attribute says whether its value is left alone (ids, enums, names of workloads), taken whole (passwords,
//! headers with credentials) or looked at; text is looked at once per distinct value and remembered. One pass
//! over a text finds words, markers and digits; only where they stand is anything parsed, and a number counts
//! only if its check digits, its structure or a word beside it prove it.
//!
//! What it costs: a memory of decisions that holds raw texts (bounded, in this process only, never written),
//! and a second pass over every text in which something was found.
//!
//! The invariants it keeps:
//! - [`Redactor::redact`] is the only road from `RawCalls` to `Calls`.
//! - Redaction is idempotent, and no rule finds anything in its output: a text is looked at again until nothing
//!   is found, or it becomes `{unscanned}`. What cannot be looked at (too long) becomes that as well.
//! - `cluster`, `source` and `destination` are left alone: decode admits only service names there.
//!
//! No tokio, no file, no clock: rules arrive as values ([`RuleFile`] is a serde mirror), keys as bytes.

mod accounts;
mod action;
mod builtin;
mod cache;
mod checks;
mod classes;
mod columns;
mod compile;
mod context;
mod counts;
mod dates;
mod decisions;
mod decode;
mod documents;
mod explain;
mod fields;
mod file;
mod groups;
mod inserts;
mod keys;
mod kinds;
mod labelled;
mod lexicon;
mod national;
mod near_miss;
mod network;
mod numbers;
mod pairs;
mod patterns;
mod phone;
mod phrases;
mod placeholder;
mod policy;
mod pseudonym;
mod redactor;
mod rules;
mod scan;
mod slow;
mod telephones;
mod tokens;
mod words;

pub use builtin::{BUILTINS, Builtin, Group};
pub use counts::Count;
pub use explain::{Claim, Explanation, NearMiss, Place, shape};
pub use file::{
    ActionWord, AllowFile, BuiltinFile, ExamplesFile, IpFile, KeyRuleFile, LimitsFile, PolicyFile, RuleFile,
    Validator, ValueRuleFile,
};
pub use kinds::FieldKind;
pub use placeholder::UNSCANNED;
pub use pseudonym::{KeyProblem, PseudonymKey, PseudonymKeys};
pub use redactor::Redactor;
pub use rules::{CACHE_BYTES, RuleProblem, Rules, VALUE_BYTES};
