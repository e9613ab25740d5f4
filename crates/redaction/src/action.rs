//! What becomes of a value that a rule takes, and which actions make sense for which rule.

use crate::builtin::{BUILTINS, Group, Rule};
use crate::file::ActionWord;
use crate::network;

/// What becomes of a value, the least strict first: where two policies differ, the greater one holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Action {
    /// The rule is off.
    Off,
    /// A coarser value: the network of an address, the year of a date, a place to about ten kilometres.
    Generalise,
    /// The part that names no one: a card's last four digits, an address' domain, a postcode's district.
    KeepPart,
    /// A keyed pseudonym.
    Pseudonymise,
    /// A typed placeholder.
    Replace,
    /// The whole value goes with the name it stands under.
    Drop,
}

/// Actions there are.
pub(crate) const ACTIONS: usize = 6;

impl Action {
    /// The word for it in rule files and counters.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Action::Off => "keep",
            Action::Generalise => "generalise",
            Action::KeepPart => "keep_part",
            Action::Pseudonymise => "pseudonymise",
            Action::Replace => "replace",
            Action::Drop => "drop",
        }
    }

    pub(crate) fn of_index(index: usize) -> Action {
        const ALL: [Action; ACTIONS] = [
            Action::Off,
            Action::Generalise,
            Action::KeepPart,
            Action::Pseudonymise,
            Action::Replace,
            Action::Drop,
        ];
        ALL[index]
    }

    /// What `word` means for the rule numbered `rule`.
    ///
    /// # Errors
    /// Why it makes no sense there, and what to write.
    pub(crate) fn of(word: ActionWord, rule: u16, has_key: bool) -> Result<Action, Refused> {
        let builtin = BUILTINS.get(usize::from(rule));
        let group = builtin.map_or(Group::Personal, |b| b.group);
        if group == Group::Secret && word != ActionWord::Replace {
            return Err(Refused {
                reason: "secrets are always replaced whole".to_owned(),
                hint: "remove the action; `builtin.disable` switches a rule off".to_owned(),
            });
        }
        match word {
            ActionWord::Keep => Ok(Action::Off),
            ActionWord::Replace => Ok(Action::Replace),
            ActionWord::Drop => Ok(Action::Drop),
            ActionWord::Pseudonymise if has_key => Ok(Action::Pseudonymise),
            ActionWord::Pseudonymise => Err(Refused {
                reason: "there is no key for pseudonyms".to_owned(),
                hint: "configure one, or write `replace`".to_owned(),
            }),
            ActionWord::KeepPart if has_part(rule) => Ok(Action::KeepPart),
            ActionWord::KeepPart => Err(Refused {
                reason: "no part of it can stay without saying who it is".to_owned(),
                hint: format!("`keep_part` is for {}; write `replace`", names(has_part)),
            }),
            ActionWord::Generalise if is_graded(rule) => Ok(Action::Generalise),
            ActionWord::Generalise => Err(Refused {
                reason: "there is nothing coarser to put in its place".to_owned(),
                hint: format!("`generalise` is for {}; write `replace`", names(is_graded)),
            }),
        }
    }
}

/// Why an action is refused.
pub(crate) struct Refused {
    pub(crate) reason: String,
    pub(crate) hint: String,
}

fn has_part(rule: u16) -> bool {
    [Rule::Email, Rule::Card, Rule::Postcode].iter().any(|r| r.id() == rule)
}

fn is_graded(rule: u16) -> bool {
    [Rule::PublicIp, Rule::PrivateIp, Rule::DateOfBirth, Rule::Geo].iter().any(|r| r.id() == rule)
}

fn names(fits: fn(u16) -> bool) -> String {
    let fitting = BUILTINS.iter().enumerate().filter(|(id, _)| fits(*id as u16)).map(|(_, b)| b.name);
    fitting.collect::<Vec<_>>().join(", ")
}

/// The network an address lies in: it stands by itself, as an address.
pub(crate) fn network_of(value: &str) -> Option<String> {
    network::truncate(value)
}

/// What of `value` (plain, as all its spellings are written) stays inside the placeholder; `None` if it has
/// not the form in which that part can be told from the rest.
pub(crate) fn part(rule: u16, action: Action, value: &str) -> Option<String> {
    let part = match action {
        Action::KeepPart if rule == Rule::Card.id() => value.get(value.len().checked_sub(4)?..)?.to_owned(),
        Action::KeepPart if rule == Rule::Email.id() => value.rsplit_once('@')?.1.to_owned(),
        Action::KeepPart if rule == Rule::Postcode.id() => {
            value.get(..value.len().checked_sub(3)?)?.to_ascii_lowercase()
        }
        Action::Generalise if rule == Rule::DateOfBirth.id() => year(value)?.to_owned(),
        Action::Generalise if rule == Rule::Geo.id() => place(value)?,
        _ => return None,
    };
    is_part(part_rule(rule)?, &part).then_some(part)
}

/// A rule of which a part may stay inside its placeholder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PartOf {
    Card,
    Email,
    Postcode,
    Birth,
    Place,
}

pub(crate) fn part_rule(rule: u16) -> Option<PartOf> {
    let rules = [
        (Rule::Card, PartOf::Card),
        (Rule::Email, PartOf::Email),
        (Rule::Postcode, PartOf::Postcode),
        (Rule::DateOfBirth, PartOf::Birth),
        (Rule::Geo, PartOf::Place),
    ];
    rules.iter().find(|(r, _)| r.id() == rule).map(|(_, part)| *part)
}

/// Whether `part` is what may stay, so that nothing else can hide in a placeholder.
pub(crate) fn is_part(of: PartOf, part: &str) -> bool {
    let bytes = part.as_bytes();
    match of {
        PartOf::Card => bytes.len() == 4 && bytes.iter().all(u8::is_ascii_digit),
        PartOf::Birth => {
            bytes.len() == 4
                && bytes.iter().all(u8::is_ascii_digit)
                && (part.starts_with("19") || part.starts_with("20"))
        }
        // One or two letters, a digit, and at most one letter or digit more.
        PartOf::Postcode => {
            let letters = bytes.iter().take_while(|b| b.is_ascii_lowercase()).count();
            let rest = &bytes[letters..];
            (1..=2).contains(&letters)
                && (1..=2).contains(&rest.len())
                && rest[0].is_ascii_digit()
                && rest.iter().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase())
        }
        PartOf::Email => {
            let labels: Vec<&str> = part.split('.').collect();
            let label = |l: &&str| {
                !l.is_empty()
                    && l.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                    && !l.starts_with('-')
                    && !l.ends_with('-')
            };
            let top = labels.last().is_some_and(|l| l.bytes().any(|b| b.is_ascii_lowercase()));
            bytes.len() <= DOMAIN_BYTES && labels.len() >= 2 && top && labels.iter().all(label)
        }
        PartOf::Place => {
            let degrees = |text: &str| {
                let number = text.strip_prefix('-').unwrap_or(text);
                number.split_once('.').is_some_and(|(whole, tenth)| {
                    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
                    (1..=3).contains(&whole.len()) && tenth.len() == 1 && digits(whole) && digits(tenth)
                })
            };
            part.split('_').count() <= 2 && part.split('_').all(degrees)
        }
    }
}

/// The longest domain that stays, in bytes; a longer one holds more than a domain.
const DOMAIN_BYTES: usize = 64;

/// The year in a date, if it is written with four digits.
fn year(date: &str) -> Option<&str> {
    let mut numbers = date.split(|c: char| !c.is_ascii_digit());
    numbers.find(|n| n.len() >= 4).and_then(|n| match n.len() {
        4 => Some(n),
        // 19400623, and times that follow without a separator.
        _ if n == date.split(|c: char| !c.is_ascii_digit()).next()? => n.get(..4),
        _ => None,
    })
}

/// One or two numbers of degrees to one decimal, about eleven kilometres of latitude.
fn place(degrees: &str) -> Option<String> {
    let numbers = degrees.split([',', ';', ' ']).filter(|n| !n.is_empty());
    let rounded: Option<Vec<String>> =
        numbers.map(|n| n.parse::<f64>().ok().map(|n| format!("{n:.1}").replace("-0.0", "0.0"))).collect();
    rounded.filter(|r| !r.is_empty()).map(|r| r.join("_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strictness_has_an_order_and_each_action_a_word_that_counters_use() {
        for index in 0..ACTIONS {
            assert_eq!(Action::of_index(index) as usize, index);
        }
        assert!(Action::Drop > Action::Replace && Action::Replace > Action::Pseudonymise);
        assert!(Action::Pseudonymise > Action::KeepPart && Action::KeepPart > Action::Off);
    }

    #[test]
    fn a_part_stays_only_where_the_value_has_its_form() {
        let keep = |rule: Rule, value| part(rule.id(), Action::KeepPart, value);
        let coarse = |rule: Rule, value| part(rule.id(), Action::Generalise, value);
        for (got, want) in [
            (keep(Rule::Card, "4111111111111111"), Some("1111")),
            (keep(Rule::Card, "411"), None),
            (keep(Rule::Email, "ann@mail.example.co.uk"), Some("mail.example.co.uk")),
            (keep(Rule::Email, "ann@bücher.example"), None),
            (keep(Rule::Email, "ann@localhost"), None),
            (keep(Rule::Postcode, "SW1A1AA"), Some("sw1a")),
            (keep(Rule::Postcode, "E61AA"), Some("e6")),
            (keep(Rule::Postcode, "902101234"), None),
            (keep(Rule::Phone, "07700900123"), None),
            (coarse(Rule::DateOfBirth, "1940-06-23"), Some("1940")),
            (coarse(Rule::DateOfBirth, "12 march 1980"), Some("1980")),
            (coarse(Rule::DateOfBirth, "19400623"), Some("1940")),
            (coarse(Rule::DateOfBirth, "23/06/40"), None),
            (coarse(Rule::Geo, "51.507351,-0.127758"), Some("51.5_-0.1")),
            (coarse(Rule::Geo, "-0.0378"), Some("0.0")),
            (coarse(Rule::Geo, "somewhere"), None),
        ] {
            assert_eq!(got.as_deref(), want);
        }
    }
}
