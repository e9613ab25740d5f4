//! Refuses patterns that would cost too much on text that somebody chose.
//!
//! The engine never backtracks, so one search is linear in the text. What is left: a pattern whose automaton does
//! not fit, and one that reads on and on after each match in vain, which makes finding all matches quadratic.
//! Both are measured in steps of the automaton over probes made from the pattern itself, never by a clock.

use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::util::syntax;
use regex_automata::{Input, nfa::thompson};
use regex_syntax::hir::{Class, Hir, HirKind};

use crate::patterns::Refusal;

/// The largest count a repetition may have.
const REPEATS: u32 = 1_000;
/// Length of a probe, in bytes. A quadratic pattern takes half its square in steps, 128 times the limit below.
const PROBE_BYTES: usize = 16_384;
/// Steps a byte that finding all matches may take: a pattern may look a line ahead for what ends it.
const STEPS_PER_BYTE: usize = 64;
/// Room for the states of the automaton on one probe, in bytes, and how often it may be used up.
const STATES_BYTES: usize = 512 << 10;
const TIMES_FULL: usize = 2;
/// Bytes of the pattern's own that probes are made of.
const SAMPLES: usize = 12;

/// Looks at the pattern's repetitions, then runs it.
pub(crate) fn check(pattern: &str, hir: &Hir, examples: &[String]) -> Result<(), Refusal> {
    repetitions(hir, false)?;
    let dfa = DFA::builder()
        .syntax(syntax::Config::new().utf8(false))
        .thompson(thompson::Config::new().utf8(false))
        .configure(
            DFA::config()
                .cache_capacity(STATES_BYTES)
                .skip_cache_capacity_check(true)
                .minimum_cache_clear_count(Some(TIMES_FULL)),
        )
        .build(pattern)
        .map_err(|error| Refusal {
            reason: format!("the pattern cannot be run as an automaton: {error}"),
            hint: "use a smaller pattern, above all smaller counted repetitions",
        })?;
    let mut cache = dfa.create_cache();
    for probe in probes(hir, examples) {
        cache.reset(&dfa);
        match steps(&dfa, &mut cache, &probe) {
            Some(steps) if steps <= STEPS_PER_BYTE * PROBE_BYTES => {}
            Some(_) => {
                return Err(Refusal {
                    reason: format!(
                        "it reads on after each match in vain: more than {STEPS_PER_BYTE} steps a byte on text that repeats"
                    ),
                    hint: "let what may follow a match have a bound, for example `.{0,40}` in place of `.*`",
                });
            }
            None => {
                return Err(Refusal {
                    reason: format!("its automaton does not fit into {} KiB", STATES_BYTES >> 10),
                    hint: "use smaller counted repetitions, and `(?-u)` for classes such as `\\w` and `\\d`",
                });
            }
        }
    }
    Ok(())
}

/// Repetition without a bound inside another, and counts that are too large.
fn repetitions(hir: &Hir, inside: bool) -> Result<(), Refusal> {
    match hir.kind() {
        HirKind::Repetition(repetition) => {
            let unbounded = repetition.max.is_none();
            if unbounded && inside {
                return Err(Refusal {
                    reason: "a repetition without a bound stands in another one".to_owned(),
                    hint: "give one of them a bound, for example `{1,63}` in place of `+`",
                });
            }
            if repetition.min.max(repetition.max.unwrap_or(0)) > REPEATS {
                return Err(Refusal {
                    reason: format!("a repetition counts beyond {REPEATS}"),
                    hint: "use a smaller count, or `+` and a checksum or an example",
                });
            }
            repetitions(&repetition.sub, inside || unbounded)
        }
        HirKind::Capture(capture) => repetitions(&capture.sub, inside),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().try_for_each(|part| repetitions(part, inside))
        }
        HirKind::Empty | HirKind::Literal(_) | HirKind::Class(_) | HirKind::Look(_) => Ok(()),
    }
}

/// Texts made of what the pattern itself is made of: each byte of it again and again, all of them in turn and
/// without order, and the examples again and again.
fn probes(hir: &Hir, examples: &[String]) -> Vec<Vec<u8>> {
    let mut samples = Vec::new();
    collect(hir, &mut samples);
    let mut parts: Vec<Vec<u8>> = samples.iter().map(|byte| vec![*byte]).collect();
    parts.push(samples.clone());
    parts.extend(examples.iter().map(|example| example.clone().into_bytes()));
    parts.retain(|part| !part.is_empty());
    let mut probes: Vec<Vec<u8>> =
        parts.iter().map(|part| part.iter().copied().cycle().take(PROBE_BYTES).collect()).collect();
    // The same bytes without order, which is what fills an automaton with states.
    let mut seed = 1u32;
    let mut random = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223); // Numerical Recipes, section 7.1
        samples[(seed >> 16) as usize % samples.len()]
    };
    if !samples.is_empty() {
        probes.push(std::iter::repeat_with(&mut random).take(PROBE_BYTES).collect());
    }
    probes
}

fn collect(hir: &Hir, samples: &mut Vec<u8>) {
    let mut add = |byte: u8| {
        if samples.len() < SAMPLES && !samples.contains(&byte) {
            samples.push(byte);
        }
    };
    match hir.kind() {
        HirKind::Literal(literal) => literal.0.iter().for_each(|byte| add(*byte)),
        HirKind::Class(Class::Bytes(class)) => {
            class.ranges().iter().take(4).for_each(|range| add(range.start()));
        }
        HirKind::Class(Class::Unicode(class)) => {
            let ascii = class.ranges().iter().filter_map(|range| u8::try_from(range.start()).ok());
            ascii.take(4).for_each(add);
        }
        HirKind::Repetition(repetition) => collect(&repetition.sub, samples),
        HirKind::Capture(capture) => collect(&capture.sub, samples),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().for_each(|part| collect(part, samples));
        }
        HirKind::Empty | HirKind::Look(_) => {}
    }
}

/// Steps that finding every match in `text` takes, up to beyond the limit; `None` if the states do not fit.
fn steps(dfa: &DFA, cache: &mut Cache, text: &[u8]) -> Option<usize> {
    let (mut steps, mut from) = (0, 0);
    while from < text.len() && steps <= STEPS_PER_BYTE * PROBE_BYTES {
        let mut state = dfa.start_state_forward(cache, &Input::new(text).range(from..)).ok()?;
        let mut end = None;
        for (at, byte) in text.iter().enumerate().skip(from) {
            state = dfa.next_state(cache, state, *byte).ok()?;
            steps += 1;
            // A match is told one byte late.
            if state.is_match() {
                end = Some(at);
            } else if state.is_dead() || state.is_quit() {
                break;
            }
        }
        match end {
            Some(end) => from = end.max(from + 1),
            None => break,
        }
    }
    Some(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(pattern: &str, example: &str) -> String {
        let hir = regex_syntax::ParserBuilder::new().utf8(false).build().parse(pattern).unwrap();
        let refused = check(pattern, &hir, &[example.to_owned()]).err();
        refused.map_or_else(|| "taken".to_owned(), |refusal| refusal.reason)
    }

    #[test]
    fn patterns_are_refused_by_what_they_would_cost() {
        for (pattern, example, want) in [
            ("(?-u:\\b)M-[0-9]{13}(?-u:\\b)", "member M-1234567890128 joined", "taken"),
            ("[a-z0-9._-]+@[a-z0-9.-]{3,253}", "ann@example.org", "taken"),
            ("EMP-[0-9]+(?:-[A-Z]{2}){0,3}", "EMP-77-AB", "taken"),
            ("id .{0,40}end", "id x end", "taken"),
            ("(?:[a-z]+,)+;", "a,b,;", "a repetition without a bound stands in another one"),
            ("(a*b)*c", "abc", "a repetition without a bound stands in another one"),
            ("x[0-9]{2000}", "x", "a repetition counts beyond 1000"),
            ("a[^z]*z|a", "abz", "it reads on after each match in vain"),
            ("id(?:.*end)?", "id 7 end", "it reads on after each match in vain"),
            ("(?s-u)[ab].{900}x", "abab", "its automaton does not fit"),
        ] {
            let got = verdict(pattern, example);
            assert!(got.starts_with(want), "{pattern}: {got}");
        }
    }
}
