//! Keyed pseudonyms, and which key holds when.
//!
//! The key of a call is chosen by the call's time of arrival, which is a column: a replay years later makes
//! the pseudonyms that the live pipeline made. Where two keys hold, a token carries a pseudonym of each.

use hmac::{Hmac, Mac};
use lapwing_telemetry::EventTime;
use sha2::Sha256;

/// A key for pseudonyms: equal values get equal pseudonyms under one key, others under another.
#[derive(Clone)]
pub struct PseudonymKey {
    id: String,
    key: Vec<u8>,
    from: EventTime,
    until: EventTime,
}

impl std::fmt::Debug for PseudonymKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PseudonymKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Why a key, or several together, are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyProblem {
    /// Choose one to eight small letters and digits, beginning with a letter.
    #[error("the key's id is not 1 to 8 small letters and digits beginning with a letter, for example `k1`")]
    Id,
    /// Give a longer key, for example from `openssl rand 32`.
    #[error("the key is shorter than 32 bytes, so pseudonyms could be found by trying keys")]
    TooShort,
    /// Name each key once.
    #[error("two keys have the id `{0}`, or the key `{0}` has the bytes of another")]
    Twice(String),
    /// Let a key hold for some time.
    #[error("key `{0}` ends before it begins")]
    Never(String),
    /// Let keys follow one another.
    #[error("more than two keys hold at {0}")]
    TooMany(EventTime),
    /// Let a key begin when the one before it ends, or earlier.
    #[error("no key holds at {0}, between two that do")]
    Gap(EventTime),
}

/// Bytes a key must have at least: what HMAC-SHA-256 can use (RFC 2104, section 3).
const KEY_BYTES: usize = 32;
/// Letters of a pseudonym: 100 bits in base32, so that two of 2^40 values collide with odds of one in a million.
pub(crate) const LETTERS: usize = 20;
/// After every call.
const FOREVER: EventTime = EventTime(i64::MAX);
/// Keys that may hold at one time: the old one and the new one.
pub(crate) const AT_ONCE: usize = 2;

impl PseudonymKey {
    /// Makes a key that always holds; `id` stands in every pseudonym, so that keys can be told apart after
    /// rotation.
    ///
    /// # Errors
    /// [`KeyProblem::Id`] and [`KeyProblem::TooShort`].
    pub fn new(id: &str, key: &[u8]) -> Result<PseudonymKey, KeyProblem> {
        if !is_id(id) {
            return Err(KeyProblem::Id);
        }
        if key.len() < KEY_BYTES {
            return Err(KeyProblem::TooShort);
        }
        Ok(PseudonymKey { id: id.to_owned(), key: key.to_vec(), from: EventTime::MIN, until: FOREVER })
    }

    /// The same key for calls that arrive at `from` or later and before `until`; absent: without that bound.
    #[must_use]
    pub fn valid(mut self, from: Option<EventTime>, until: Option<EventTime>) -> PseudonymKey {
        (self.from, self.until) = (from.unwrap_or(EventTime::MIN), until.unwrap_or(FOREVER));
        self
    }

    /// Appends the pseudonym of `value` to `out`. Equal values of different kinds get different ones.
    fn write(&self, kind: &str, value: &str, out: &mut String) {
        const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of every length");
        mac.update(kind.as_bytes());
        mac.update(&[0]);
        mac.update(value.as_bytes());
        let digest = mac.finalize().into_bytes();
        out.push_str(&self.id);
        out.push('.');
        let (mut bits, mut held, mut bytes) = (0u32, 0, digest.iter());
        for _ in 0..LETTERS {
            if held < 5 {
                bits = bits << 8 | u32::from(*bytes.next().expect("20 letters need 13 of 32 bytes"));
                held += 8;
            }
            held -= 5;
            out.push(char::from(ALPHABET[(bits >> held) as usize & 31]));
        }
    }
}

/// Whether `id` may name a key.
pub(crate) fn is_id(id: &str) -> bool {
    (1..=8).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        && id.as_bytes()[0].is_ascii_lowercase()
}

/// Keys and when each holds.
#[derive(Clone, Debug, Default)]
pub struct PseudonymKeys {
    /// The newest first.
    keys: Vec<PseudonymKey>,
    /// Moments at which a key begins or ends, in order. Before the first lies epoch 0.
    bounds: Vec<EventTime>,
}

/// Time during which the same keys hold, by number.
pub(crate) type Epoch = u16;

impl PseudonymKeys {
    /// Puts keys together. Before the first begins, and after the last has ended, placeholders stand alone.
    ///
    /// # Errors
    /// [`KeyProblem`], of the keys as they stand together.
    pub fn new(mut keys: Vec<PseudonymKey>) -> Result<PseudonymKeys, KeyProblem> {
        keys.sort_by(|a, b| b.from.cmp(&a.from).then_with(|| a.id.cmp(&b.id)));
        for (n, key) in keys.iter().enumerate() {
            if key.until <= key.from {
                return Err(KeyProblem::Never(key.id.clone()));
            }
            if keys[..n].iter().any(|other| other.id == key.id || other.key == key.key) {
                return Err(KeyProblem::Twice(key.id.clone()));
            }
        }
        let moments = keys.iter().flat_map(|k| [k.from, k.until]);
        let mut bounds: Vec<EventTime> =
            moments.filter(|at| *at != EventTime::MIN && *at != FOREVER).collect();
        bounds.sort_unstable();
        bounds.dedup();
        let keys = PseudonymKeys { keys, bounds };
        let held: Vec<usize> = (0..=keys.bounds.len()).map(|e| keys.holding(e as Epoch).count()).collect();
        if let Some(epoch) = held.iter().position(|n| *n > AT_ONCE) {
            return Err(KeyProblem::TooMany(keys.begin(epoch)));
        }
        let first = held.iter().position(|n| *n > 0).unwrap_or(held.len());
        let last = held.iter().rposition(|n| *n > 0).unwrap_or(0);
        if let Some(gap) = (first..last).find(|epoch| held[*epoch] == 0) {
            return Err(KeyProblem::Gap(keys.begin(gap)));
        }
        Ok(keys)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Which keys hold at `at`, as a number.
    pub(crate) fn epoch(&self, at: EventTime) -> Epoch {
        self.bounds.partition_point(|bound| *bound <= at) as Epoch
    }

    /// The last epoch in which a key holds: that of texts without a time.
    pub(crate) fn last_epoch(&self) -> Epoch {
        let epochs = (0..=self.bounds.len() as Epoch).rev();
        epochs.into_iter().find(|e| self.holding(*e).next().is_some()).unwrap_or(0)
    }

    /// Appends `:` and the pseudonyms of `value` under the keys of this epoch, the newest first.
    pub(crate) fn write(&self, epoch: Epoch, kind: &str, value: &str, out: &mut String) {
        let mut sign = ':';
        for key in self.holding(epoch) {
            out.push(sign);
            key.write(kind, value, out);
            sign = '.';
        }
    }

    fn holding(&self, epoch: Epoch) -> impl Iterator<Item = &PseudonymKey> {
        let begin = self.begin(usize::from(epoch));
        self.keys.iter().filter(move |k| k.from <= begin && begin < k.until)
    }

    fn begin(&self, epoch: usize) -> EventTime {
        epoch.checked_sub(1).map_or(EventTime::MIN, |before| self.bounds[before])
    }
}

impl From<PseudonymKey> for PseudonymKeys {
    fn from(key: PseudonymKey) -> PseudonymKeys {
        PseudonymKeys::new(vec![key]).expect("one key that begins and ends as made")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str, byte: u8, from: Option<i64>, until: Option<i64>) -> PseudonymKey {
        PseudonymKey::new(id, &[byte; 32]).unwrap().valid(from.map(EventTime), until.map(EventTime))
    }

    #[test]
    fn a_key_has_an_id_and_enough_bytes() {
        assert_eq!(PseudonymKey::new("K1", &[0; 32]).unwrap_err(), KeyProblem::Id);
        assert_eq!(PseudonymKey::new("", &[0; 32]).unwrap_err(), KeyProblem::Id);
        assert_eq!(PseudonymKey::new("k1", &[0; 31]).unwrap_err(), KeyProblem::TooShort);
        let key = key("k1", 7, None, None);
        assert_eq!(format!("{key:?}"), "PseudonymKey { id: \"k1\", .. }", "the key itself is not shown");
    }

    #[test]
    fn pseudonyms_depend_on_key_kind_and_value_alone() {
        let pseudonym = |byte: u8, kind, value| {
            let mut out = String::new();
            key("k1", byte, None, None).write(kind, value, &mut out);
            out
        };
        let one = pseudonym(1, "email", "a@example.org");
        assert_eq!(
            one, "k1.fvytodsgucrulk3eq3z6",
            "a changed pseudonym breaks every join with what is stored"
        );
        assert_eq!(one, pseudonym(1, "email", "a@example.org"));
        assert_ne!(one, pseudonym(2, "email", "a@example.org"));
        assert_ne!(one, pseudonym(1, "email", "b@example.org"));
        assert_ne!(one, pseudonym(1, "phone", "a@example.org"));
    }

    #[test]
    fn while_two_keys_hold_a_token_carries_both() {
        let keys =
            PseudonymKeys::new(vec![key("k1", 1, None, Some(200)), key("k2", 2, Some(100), None)]).unwrap();
        let at = |time: i64| {
            let mut out = String::new();
            keys.write(keys.epoch(EventTime(time)), "email", "a@example.org", &mut out);
            out
        };
        let (old, new) = (at(99), at(200));
        assert!(old.starts_with(":k1.") && new.starts_with(":k2."), "{old} {new}");
        assert_eq!(at(100), format!("{new}.{}", &old[1..]));
        assert_eq!(at(199), at(100));
        assert_eq!(keys.last_epoch(), keys.epoch(FOREVER));
    }

    #[test]
    fn keys_that_do_not_fit_together_are_refused() {
        let bad = |keys: Vec<PseudonymKey>| PseudonymKeys::new(keys).unwrap_err();
        assert_eq!(
            bad(vec![key("k1", 1, None, None), key("k1", 2, None, None)]),
            KeyProblem::Twice("k1".into())
        );
        assert_eq!(
            bad(vec![key("k1", 1, None, None), key("k2", 1, Some(5), None)]),
            KeyProblem::Twice("k1".into()),
            "the same bytes under two names are one key"
        );
        assert_eq!(bad(vec![key("k1", 1, Some(5), Some(5))]), KeyProblem::Never("k1".into()));
        assert_eq!(
            bad(vec![key("a", 1, None, None), key("b", 2, Some(3), None), key("c", 3, Some(7), None)]),
            KeyProblem::TooMany(EventTime(7))
        );
        assert_eq!(
            bad(vec![key("a", 1, None, Some(10)), key("b", 2, Some(12), None)]),
            KeyProblem::Gap(EventTime(10))
        );
        assert!(PseudonymKeys::new(vec![key("a", 1, Some(5), Some(10))]).is_ok());
    }
}
