//! What was decided about texts seen before: most of what a mesh sends, it sends again.

use std::hash::BuildHasher;

use hashbrown::HashTable;

/// What was decided about a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// No rule finds anything.
    Clean,
    /// It is replaced by `text`; `hits` are the rules that found something, once for each time.
    Replaced {
        /// The text without what was found.
        text: Box<str>,
        /// Numbers of rules.
        hits: Box<[u16]>,
    },
    /// It disappears.
    Dropped {
        /// Numbers of rules.
        hits: Box<[u16]>,
    },
}

/// Decisions in two generations: when the young one is full it becomes the old one, and the old one is
/// dropped whole. What is asked for again moves to the young one, so what is used stays.
pub(crate) struct Cache {
    /// Hashes of texts that were asked for once: most ids never come again, and what is not remembered costs
    /// no memory and nobody else's place.
    once: Vec<u32>,
    young: Generation,
    old: Generation,
    /// Bytes a generation may hold.
    limit: usize,
    hasher: foldhash::fast::RandomState,
}

#[derive(Default)]
struct Generation {
    table: HashTable<Entry>,
    bytes: usize,
}

struct Entry {
    hash: u64,
    class: u64,
    /// The whole text: two texts with one hash must not share a decision.
    text: Box<str>,
    outcome: Outcome,
}

/// The longest text that is remembered, in bytes: longer ones rarely come again.
const TEXT_BYTES: usize = 4_096;
/// Places for texts that were asked for once, four bytes each. With fewer, a text is forgotten before it comes again.
const ONCE: usize = 1 << 18;
/// What an entry costs beside its texts, in bytes.
const ENTRY_BYTES: usize = 96;

impl Cache {
    /// Makes an empty memory of about `bytes`.
    pub(crate) fn new(bytes: usize) -> Cache {
        Cache {
            once: vec![0; ONCE],
            young: Generation::default(),
            old: Generation::default(),
            limit: bytes / 2,
            hasher: foldhash::fast::RandomState::default(),
        }
    }

    /// What was decided about `text` in fields of this class, `hash` being theirs.
    pub(crate) fn get(&mut self, hash: u64, class: u64, text: &str) -> Option<Outcome> {
        let same = |e: &Entry| e.class == class && &*e.text == text;
        if let Some(entry) = self.young.table.find(hash, same) {
            return Some(entry.outcome.clone());
        }
        let (entry, _) = self.old.table.find_entry(hash, same).ok()?.remove();
        self.old.bytes = self.old.bytes.saturating_sub(entry.bytes());
        let outcome = entry.outcome.clone();
        self.put(entry);
        Some(outcome)
    }

    /// Remembers a decision about a text that comes for the second time, `hash` being that of class and text.
    pub(crate) fn insert(&mut self, hash: u64, class: u64, text: &str, outcome: &Outcome) {
        if text.len() <= TEXT_BYTES {
            let place = &mut self.once[hash as usize % ONCE];
            let mark = (hash >> 32) as u32 | 1;
            if *place != mark {
                *place = mark;
                return;
            }
            self.put(Entry { hash, class, text: text.into(), outcome: outcome.clone() });
        }
    }

    fn put(&mut self, entry: Entry) {
        if self.young.bytes + entry.bytes() > self.limit {
            self.old = std::mem::take(&mut self.young);
        }
        if entry.bytes() <= self.limit {
            self.young.bytes += entry.bytes();
            self.young.table.insert_unique(entry.hash, entry, |e| e.hash);
        }
    }

    /// The hash of a class and a text, for the two above.
    pub(crate) fn hash(&self, class: u64, text: &str) -> u64 {
        self.hasher.hash_one((class, text))
    }

    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.young.bytes + self.old.bytes
    }
}

impl Entry {
    fn bytes(&self) -> usize {
        let outcome = match &self.outcome {
            Outcome::Clean => 0,
            Outcome::Replaced { text, hits } => text.len() + hits.len() * 2,
            Outcome::Dropped { hits } => hits.len() * 2,
        };
        ENTRY_BYTES + self.text.len() + outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(cache: &mut Cache, class: u64, text: &str) -> Option<Outcome> {
        cache.get(cache.hash(class, text), class, text)
    }

    fn insert(cache: &mut Cache, class: u64, text: &str, outcome: &Outcome) {
        cache.insert(cache.hash(class, text), class, text, outcome);
    }

    #[test]
    fn a_decision_is_remembered_when_its_text_comes_again() {
        let mut cache = Cache::new(1 << 20);
        insert(&mut cache, 1, "once", &Outcome::Clean);
        assert_eq!((get(&mut cache, 1, "once"), cache.bytes()), (None, 0));
        insert(&mut cache, 1, "once", &Outcome::Clean);
        assert_eq!(get(&mut cache, 1, "once"), Some(Outcome::Clean));
    }

    #[test]
    fn a_decision_is_remembered_by_class_and_whole_text() {
        let mut cache = Cache::new(1 << 20);
        let replaced = Outcome::Replaced { text: "{email}".into(), hits: Box::new([3]) };
        for _ in 0..2 {
            insert(&mut cache, 1, "a@b.example", &replaced);
            insert(&mut cache, 2, "a@b.example", &Outcome::Clean);
        }
        assert_eq!(get(&mut cache, 1, "a@b.example"), Some(replaced));
        assert_eq!(get(&mut cache, 2, "a@b.example"), Some(Outcome::Clean));
        assert_eq!(get(&mut cache, 1, "a@b.examplf"), None);
    }

    #[test]
    fn memory_stays_within_its_limit_and_keeps_what_is_used() {
        let mut cache = Cache::new(20_000);
        for n in 0..10_000 {
            let text = format!("text number {n}");
            (0..2).for_each(|_| insert(&mut cache, 0, &text, &Outcome::Clean));
            assert!(cache.bytes() <= 20_000);
            if n == 0 || n % 50 == 0 {
                assert!(get(&mut cache, 0, "text number 0").is_some(), "it is asked for often, so it stays");
            }
        }
        assert_eq!(get(&mut cache, 0, "text number 1"), None);
    }
}
