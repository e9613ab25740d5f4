//! What a user may write: the text of a rule file, mirrored.
//!
//! The words are read by any serde format; `pipelines/rules/default.yaml` shows every one of them.

use serde::Deserialize;

use crate::kinds::FieldKind;

/// A rule file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleFile {
    /// Version of this format; 1.
    pub version: u32,
    /// What to change about the built-in rules.
    #[serde(default)]
    pub builtin: BuiltinFile,
    /// Rules that go by the name of a field.
    #[serde(default)]
    pub keys: Vec<KeyRuleFile>,
    /// Rules that go by the form of a value.
    #[serde(default)]
    pub values: Vec<ValueRuleFile>,
    /// Names of fields whose values are left alone as long as they look technical (no `@`, space or `=`).
    #[serde(default)]
    pub never_scan: Vec<String>,
    /// Values that stay although a rule finds them.
    #[serde(default)]
    pub allow: Vec<AllowFile>,
    /// What is different for some services or kinds of field.
    #[serde(default)]
    pub policies: Vec<PolicyFile>,
    /// What becomes of addresses; absent: public ones are generalised, private ones kept.
    #[serde(default)]
    pub ip: IpFile,
    /// Limits; absent: the defaults.
    #[serde(default)]
    pub limits: LimitsFile,
}

/// What to change about the built-in rules.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuiltinFile {
    /// Names of rules to switch off.
    #[serde(default)]
    pub disable: Vec<String>,
    /// Actions in place of the rules' own, by name.
    #[serde(default)]
    pub actions: std::collections::BTreeMap<String, ActionWord>,
}

/// A rule that goes by the name of a field: its whole value is taken.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRuleFile {
    /// Name of the rule, in counters and placeholders.
    pub name: String,
    /// Names of fields; every spelling counts (`employeeNumber`, `x-employee-number`), and in text too.
    #[serde(default)]
    pub keys: Vec<String>,
    /// A pattern for names of attributes, for what a list cannot say.
    #[serde(default)]
    pub pattern: Option<String>,
    /// What becomes of the value; absent: `replace`.
    #[serde(default)]
    pub action: Option<ActionWord>,
}

/// A rule that goes by the form of a value.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValueRuleFile {
    /// Name of the rule, in counters and placeholders.
    pub name: String,
    /// A regular expression (the syntax of Rust's `regex`).
    pub pattern: String,
    /// A checksum that a match must pass.
    #[serde(default)]
    pub validator: Option<Validator>,
    /// What becomes of the match; absent: `replace`.
    #[serde(default)]
    pub action: Option<ActionWord>,
    /// Texts that prove the rule; at least one in which it finds something.
    #[serde(default)]
    pub examples: ExamplesFile,
}

/// Texts that prove a rule. They are run when the file is read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExamplesFile {
    /// Texts in which the rule must find something.
    #[serde(default, rename = "true")]
    pub finds: Vec<String>,
    /// Texts in which it must find nothing.
    #[serde(default, rename = "false")]
    pub leaves: Vec<String>,
}

/// A value that stays.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllowFile {
    /// The rule it is excepted from; absent: every rule but those for secrets.
    #[serde(default)]
    pub rule: Option<String>,
    /// The whole value; letters' case does not matter.
    #[serde(default)]
    pub value: Option<String>,
    /// What the value ends with, for example `@example.com`.
    #[serde(default)]
    pub suffix: Option<String>,
}

/// What is different for some services or kinds of field. Policies apply in the order in which they are
/// written, a later one over an earlier one; between two services the stricter of both ends holds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyFile {
    /// Name of the policy, in messages about it.
    pub name: String,
    /// Services it is for, as `namespace/name`; `*` stands for any characters of a part.
    #[serde(default)]
    pub services: Vec<String>,
    /// Namespaces it is for; without these and `services` it is for every call.
    #[serde(default)]
    pub namespaces: Vec<String>,
    /// Kinds of field it is for; absent: all.
    #[serde(default)]
    pub fields: Vec<FieldKind>,
    /// Rules that are off there, those of rule files too.
    #[serde(default)]
    pub disable: Vec<String>,
    /// Rules that are on there with their own actions although they are off elsewhere.
    #[serde(default)]
    pub enable: Vec<String>,
    /// Actions there, by name of rule.
    #[serde(default)]
    pub actions: std::collections::BTreeMap<String, ActionWord>,
    /// Whether every value in these fields is dropped, whatever it is.
    #[serde(default)]
    pub drop: bool,
}

/// What becomes of addresses.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IpFile {
    /// Addresses of the internet; absent: `generalise`.
    #[serde(default)]
    pub public: Option<ActionWord>,
    /// Private, loopback and link-local addresses; absent: `keep`.
    #[serde(default)]
    pub private: Option<ActionWord>,
}

/// Limits of redaction.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsFile {
    /// The longest value that is scanned, in bytes; a longer one becomes `{unscanned}`. Absent: 65536.
    #[serde(default)]
    pub value_bytes: Option<u32>,
    /// Memory for remembered decisions, in bytes. Absent: 33554432.
    #[serde(default)]
    pub cache_bytes: Option<u32>,
}

/// What becomes of a value that a rule takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionWord {
    /// A typed placeholder, `{email}`.
    Replace,
    /// The whole value disappears: the attribute is removed, a column's text emptied.
    Drop,
    /// The part that names no one, in a placeholder: a card's last four digits, the domain of an e-mail
    /// address, the district of a British postcode.
    KeepPart,
    /// A coarser value: the /24 or /48 of an address, the year of a birth, degrees to one decimal.
    #[serde(alias = "truncate")]
    Generalise,
    /// A keyed pseudonym, `{email:k1.…}`: equal values stay equal.
    Pseudonymise,
    /// Nothing: the value stays.
    Keep,
}

/// A checksum that a match must pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Validator {
    /// Luhn's, over the digits of the match.
    Luhn,
    /// ISO 7064 mod 97-10, over the letters and digits of the match.
    Iban,
    /// The NHS number's modulus 11, over the digits of the match.
    Nhs,
    /// The taxpayer reference's modulus 11, over the digits of the match.
    Utr,
}
