//! What an operator says of single detectors and pairs: more of the budget, less of it, or none.

use lapwing_telemetry::FindingKind;
use serde::Serialize;

/// A rule for the findings of some kinds about some pairs. Of several that match, the last one counts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sensitivity {
    /// Calling services: a name, or a pattern with one `*`, for example `shop/*`.
    pub source: String,
    /// Called services, in the same way. Findings about a source alone have the destination `*`.
    pub destination: String,
    /// Kinds of findings; all if empty.
    pub kinds: Vec<FindingKind>,
    /// How much more of the budget their tests get: 1 is as usual, 0.01 a hundredth, 0 nothing at all.
    pub factor: f64,
}

/// What the rules give a kind of finding about a pair; 1 if none matches.
pub(crate) fn factor(rules: &[Sensitivity], kind: FindingKind, source: &str, destination: &str) -> f64 {
    let matching = |rule: &&Sensitivity| {
        (rule.kinds.is_empty() || rule.kinds.contains(&kind))
            && fits(&rule.source, source)
            && fits(&rule.destination, destination)
    };
    rules.iter().rev().find(matching).map_or(1.0, |rule| rule.factor.clamp(0.0, 1e6))
}

pub(crate) fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((begin, end)) => {
            name.len() >= begin.len() + end.len() && name.starts_with(begin) && name.ends_with(end)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_rule_that_matches_counts() {
        let rule = |source: &str, destination: &str, kinds: &[FindingKind], factor| Sensitivity {
            source: source.to_owned(),
            destination: destination.to_owned(),
            kinds: kinds.to_vec(),
            factor,
        };
        let rules = [
            rule("*", "*", &[FindingKind::Silence], 0.0),
            rule("shop/*", "data/orders", &[], 0.1),
            rule("shop/cart", "*", &[FindingKind::Scan], 5.0),
        ];
        let check = |kind, source, destination, expect| {
            assert_eq!(factor(&rules, kind, source, destination), expect, "{kind} {source} {destination}");
        };
        check(FindingKind::Silence, "a/b", "c/d", 0.0);
        check(FindingKind::Silence, "shop/cart", "data/orders", 0.1);
        check(FindingKind::ErrorShift, "shop/cart", "data/orders", 0.1);
        check(FindingKind::ErrorShift, "shop/cart", "data/other", 1.0);
        check(FindingKind::Scan, "shop/cart", "*", 5.0);
        assert!(fits("a*b", "ab") && !fits("ab*b", "ab"));
    }
}
