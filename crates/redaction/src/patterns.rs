//! Patterns of a rule file: compiled with limits, and run only where one of them can match.

use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};
use regex_syntax::hir::{Hir, Look};

use crate::checks;
use crate::context::Found;
use crate::file::Validator;
use crate::slow;

/// The largest program one pattern may compile to, in bytes.
const PATTERN_BYTES: usize = 1 << 20;
/// Room for the states of the automaton that runs patterns, in bytes. Too little costs a factor of 25.
const CACHE_BYTES: usize = 16 << 20;

/// Value rules of a rule file.
#[derive(Default)]
pub(crate) struct Patterns {
    /// Says in one pass which of the rules can find anything; `None` if there are no rules.
    any: Option<RegexSet>,
    rules: Vec<Pattern>,
}

/// One of them.
pub(crate) struct Pattern {
    pub(crate) rule: u16,
    pub(crate) regex: Regex,
    pub(crate) validator: Option<Validator>,
}

/// Why a pattern is refused, and what to write instead.
pub(crate) struct Refusal {
    pub(crate) reason: String,
    pub(crate) hint: &'static str,
}

impl Patterns {
    /// Puts rules together.
    pub(crate) fn new(rules: Vec<Pattern>) -> Result<Patterns, Refusal> {
        if rules.is_empty() {
            return Ok(Patterns::default());
        }
        let set = RegexSetBuilder::new(rules.iter().map(|r| r.regex.as_str()))
            .size_limit(PATTERN_BYTES * 8)
            .dfa_size_limit(CACHE_BYTES)
            .build();
        match set {
            Ok(set) => Ok(Patterns { any: Some(set), rules }),
            Err(_) => Err(Refusal {
                reason: "all patterns together are too large".to_owned(),
                hint: "use fewer or simpler patterns, above all smaller counted repetitions",
            }),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    pub(crate) fn find(&self, text: &[u8], found: &mut Vec<Found>) {
        let Some(any) = &self.any else { return };
        for index in &any.matches(text) {
            self.rules[index].find(text, found);
        }
    }
}

impl Pattern {
    pub(crate) fn find(&self, text: &[u8], found: &mut Vec<Found>) {
        for m in self.regex.find_iter(text) {
            if self.validator.is_none_or(|v| passes(v, m.as_bytes())) {
                found.push(Found { start: m.start(), end: m.end(), rule: self.rule });
            }
        }
    }
}

fn passes(validator: Validator, matched: &[u8]) -> bool {
    let kept = |keep: fn(&u8) -> bool| matched.iter().copied().filter(&keep).collect::<Vec<u8>>();
    match validator {
        Validator::Luhn => checks::luhn(&kept(u8::is_ascii_digit)),
        Validator::Iban => checks::iban(&kept(u8::is_ascii_alphanumeric)),
        Validator::Nhs => checks::nhs(&kept(u8::is_ascii_digit)),
        Validator::Utr => checks::utr(&kept(u8::is_ascii_digit)),
    }
}

/// Compiles a pattern if it is safe to run on everything: it has a size limit, cannot match nothing, and
/// does not need the slow path for text outside ASCII.
pub(crate) fn compile(pattern: &str, examples: &[String]) -> Result<Regex, Refusal> {
    let hir = regex_syntax::ParserBuilder::new().utf8(false).build().parse(pattern).map_err(|e| Refusal {
        reason: parse_error(&e),
        hint: "check the pattern against the syntax of Rust's `regex` crate; it has no look-around and no back-references",
    })?;
    check(&hir)?;
    let regex = RegexBuilder::new(pattern).size_limit(PATTERN_BYTES).dfa_size_limit(CACHE_BYTES).build();
    let regex = regex.map_err(|e| match e {
        regex::Error::CompiledTooBig(limit) => Refusal {
            reason: format!("the pattern compiles to more than {limit} bytes"),
            hint: "use smaller counted repetitions, and `(?-u)` for classes such as `\\w` and `\\d`",
        },
        other => Refusal {
            reason: other.to_string(),
            hint: "check the pattern against the syntax of Rust's `regex` crate",
        },
    })?;
    slow::check(pattern, &hir, examples)?;
    Ok(regex)
}

fn parse_error(error: &regex_syntax::Error) -> String {
    match error {
        regex_syntax::Error::Parse(e) => format!("{} at position {}", e.kind(), e.span().start.offset),
        regex_syntax::Error::Translate(e) => format!("{} at position {}", e.kind(), e.span().start.offset),
        other => other.to_string(),
    }
}

fn check(hir: &Hir) -> Result<(), Refusal> {
    let properties = hir.properties();
    match properties.minimum_len() {
        None => {
            return Err(Refusal {
                reason: "the pattern can never match".to_owned(),
                hint: "remove the empty class or contradiction",
            });
        }
        Some(0) => {
            return Err(Refusal {
                reason: "the pattern matches the empty text, so it would match everywhere".to_owned(),
                hint: "make at least one part required, for example `+` in place of `*`",
            });
        }
        Some(_) => {}
    }
    let unicode = [Look::WordUnicode, Look::WordUnicodeNegate, Look::WordStartUnicode, Look::WordEndUnicode];
    if unicode.iter().any(|l| properties.look_set().contains(*l)) {
        return Err(Refusal {
            reason: "`\\b` follows Unicode here, which is up to 70 times slower on text with letters outside ASCII".to_owned(),
            hint: "write `(?-u:\\b)` in place of `\\b`",
        });
    }
    Ok(())
}
