//! Policies: what is different for some services and kinds of field.
//!
//! Each end of a call has its policy, by the name of its service; policies that match are applied in the order
//! in which they are written, so a later one wins. Where the two ends differ, the stricter action holds for the
//! call: a service can be given less protection only together with those it talks to. An end that is not known
//! has no say.

use crate::action::Action;
use crate::builtin::RuleSet;
use crate::kinds::{FieldKind, KINDS};
use crate::pseudonym::Epoch;

/// The most policies there may be: sets of them are bits of a `u64`.
pub(crate) const MAX_POLICIES: usize = 64;

/// One policy, compiled.
pub(crate) struct Policy {
    /// Services it is for; empty: every call.
    pub(crate) services: Vec<ServicePattern>,
    /// Kinds of field it is for, as bits.
    pub(crate) kinds: u16,
    /// What it changes, by number of rule.
    pub(crate) changes: Vec<(u16, Action)>,
    /// Whether the values of these fields are dropped whatever they are.
    pub(crate) drop: bool,
}

/// `namespace/name`, in which `*` stands for any number of characters of a part.
pub(crate) struct ServicePattern {
    namespace: String,
    name: String,
}

impl ServicePattern {
    /// Reads a pattern; `None` if it has not two parts, or other characters than names have.
    pub(crate) fn parse(text: &str) -> Option<ServicePattern> {
        let (namespace, name) = text.split_once('/')?;
        let fits = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'*'))
        };
        (fits(namespace) && fits(name))
            .then(|| ServicePattern { namespace: namespace.to_owned(), name: name.to_owned() })
    }

    fn matches(&self, service: &str) -> bool {
        service.split_once('/').is_some_and(|(namespace, name)| {
            glob(self.namespace.as_bytes(), namespace.as_bytes())
                && glob(self.name.as_bytes(), name.as_bytes())
        })
    }
}

/// Whether `pattern` with its stars matches all of `text`. Goes back to the last star only, so its work is
/// bounded by the product of the two lengths.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            (p, t) = (p + 1, t + 1);
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            (p, t) = (at + 1, from + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|b| *b == b'*')
}

/// Policies that apply to a service, as bits.
pub(crate) type Matched = u64;

/// All policies of the rule files, in order.
#[derive(Default)]
pub(crate) struct Policies {
    pub(crate) list: Vec<Policy>,
}

impl Policies {
    /// Whether what holds depends on who talks to whom.
    pub(crate) fn by_service(&self) -> bool {
        self.list.iter().any(|p| !p.services.is_empty())
    }

    /// The policies for a service.
    pub(crate) fn of_service(&self, service: &str) -> Matched {
        self.matching(|policy| policy.services.iter().any(|s| s.matches(service)))
    }

    /// The policies for calls between unknown services.
    pub(crate) fn of_none(&self) -> Matched {
        self.matching(|_| false)
    }

    fn matching(&self, matches: impl Fn(&Policy) -> bool) -> Matched {
        let bits = self.list.iter().enumerate();
        bits.filter(|(_, p)| p.services.is_empty() || matches(p)).fold(0, |all, (n, _)| all | 1 << n)
    }

    /// What holds in fields of `kind` of calls between ends with these policies; `base` holds without any.
    fn between(&self, ends: Ends, kind: FieldKind, base: &[Action]) -> (Vec<Action>, bool) {
        let (first, second) = match ends {
            (Some(one), Some(other)) => (one, other),
            (Some(one), None) | (None, Some(one)) => (one, one),
            (None, None) => (self.of_none(), self.of_none()),
        };
        let (mut actions, mut drop) = self.at(first, kind, base);
        if second != first {
            let (others, drops) = self.at(second, kind, base);
            actions.iter_mut().zip(others).for_each(|(one, other)| *one = (*one).max(other));
            drop |= drops;
        }
        (actions, drop)
    }

    fn at(&self, matched: Matched, kind: FieldKind, base: &[Action]) -> (Vec<Action>, bool) {
        let (mut actions, mut drop) = (base.to_vec(), false);
        for (n, policy) in self.list.iter().enumerate() {
            if matched & 1 << n != 0 && policy.kinds & kind.bit() != 0 {
                policy.changes.iter().for_each(|(rule, action)| actions[usize::from(*rule)] = *action);
                drop |= policy.drop;
            }
        }
        (actions, drop)
    }
}

/// The policies of both ends of a call; `None`: not known.
pub(crate) type Ends = (Option<Matched>, Option<Matched>);

/// What holds for some fields of some calls.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Scope {
    /// By number of rule.
    pub(crate) actions: Box<[Action]>,
    /// Built-in rules that are off, as bits.
    pub(crate) disabled: RuleSet,
    /// Rules that leave coarser values in place, which are then no longer theirs, as bits.
    pub(crate) generalised: RuleSet,
    /// Whether any rule is off that is on elsewhere.
    pub(crate) partial: bool,
    /// Whether values go whatever they are.
    pub(crate) drop: bool,
    /// Which keys hold.
    pub(crate) epoch: Epoch,
    /// Whether segments of paths get bare placeholders.
    pub(crate) is_url: bool,
}

impl Scope {
    /// Whether the rule of this number is on.
    pub(crate) fn is_on(&self, rule: u16) -> bool {
        self.actions.get(usize::from(rule)).is_none_or(|action| *action != Action::Off)
    }
}

/// What holds for calls between ends with some policies, by kind of field.
pub(crate) fn scopes(
    policies: &Policies,
    ends: Ends,
    epoch: Epoch,
    base: &[Action],
    builtins: usize,
    disabled_everywhere: RuleSet,
) -> [Scope; KINDS] {
    FieldKind::ALL.map(|kind| {
        let (mut actions, drop) = policies.between(ends, kind, base);
        if kind == FieldKind::Operation {
            // Baselines are kept by operation: it must not change with the person or the key.
            let varies = |a: &Action| matches!(a, Action::Pseudonymise | Action::KeepPart);
            actions.iter_mut().filter(|a| varies(a)).for_each(|a| *a = Action::Replace);
        }
        let bits = |action: Action| {
            let of = actions[..builtins].iter().enumerate().filter(|(_, a)| **a == action);
            of.fold(0, |bits: RuleSet, (rule, _)| bits | 1 << rule)
        };
        let (disabled, generalised) = (bits(Action::Off) | disabled_everywhere, bits(Action::Generalise));
        let file_rule_off = actions[builtins..].contains(&Action::Off);
        Scope {
            partial: disabled != disabled_everywhere || file_rule_off,
            disabled,
            generalised,
            drop,
            epoch,
            is_url: kind == FieldKind::Url,
            actions: actions.into(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_matches_part_by_part() {
        for (pattern, service, matches) in [
            ("pay/*", "pay/api", true),
            ("pay/*", "payments/api", false),
            ("pay*/api", "payments/api", true),
            ("*/api-*", "shop/api-v2", true),
            ("*/api-*", "shop/cart", false),
            ("pay/api", "pay/api", true),
            ("pay/api", "pay/api2", false),
            ("*/*a*b", "x/aabab", true),
            ("pay/*", "pay", false),
        ] {
            let parsed = ServicePattern::parse(pattern).unwrap();
            assert_eq!(parsed.matches(service), matches, "{pattern} {service}");
        }
        for bad in ["pay", "/x", "x/", "a/b/c", "a/b c", ""] {
            assert!(ServicePattern::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn later_policies_win_at_one_end_and_the_stricter_end_wins_between_two() {
        let policy = |services: &[&str], action, drop| Policy {
            services: services.iter().map(|s| ServicePattern::parse(s).unwrap()).collect(),
            kinds: FieldKind::Body.bit() | FieldKind::Url.bit(),
            changes: vec![(1, action)],
            drop,
        };
        let policies = Policies {
            list: vec![
                policy(&["pay/*"], Action::Off, false),
                policy(&["pay/api"], Action::KeepPart, false),
                policy(&["crm/*"], Action::Drop, true),
            ],
        };
        let base = [Action::Replace, Action::Pseudonymise];
        let of = |service: &str| Some(policies.of_service(service));
        let at = |source: Option<u64>, destination: Option<u64>, kind| {
            let (actions, drop) = policies.between((source, destination), kind, &base);
            assert_eq!(actions[0], Action::Replace, "no policy speaks of it");
            (actions[1], drop)
        };
        for (source, destination, want) in [
            (None, None, (Action::Pseudonymise, false)),
            (of("web/front"), None, (Action::Pseudonymise, false)),
            (of("pay/jobs"), None, (Action::Off, false)),
            (of("pay/api"), None, (Action::KeepPart, false)),
            (None, of("pay/api"), (Action::KeepPart, false)),
            (of("pay/jobs"), of("pay/api"), (Action::KeepPart, false)),
            (of("web/front"), of("pay/jobs"), (Action::Pseudonymise, false)),
            (of("pay/jobs"), of("crm/users"), (Action::Drop, true)),
        ] {
            assert_eq!(at(source, destination, FieldKind::Body), want);
            assert_eq!(at(destination, source, FieldKind::Url), want, "the direction does not matter");
            assert_eq!(at(source, destination, FieldKind::Header), (Action::Pseudonymise, false));
        }
    }
}
