//! Who may be expected to call whom, and what: the shape of the mesh.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lapwing_telemetry::Pair;
use serde::{Deserialize, Serialize};

use crate::baseline::{Failures, Learn};
use crate::contact::Contact;

/// Paths between namespaces that are remembered; beyond, none is new any more.
const MAX_PATHS: usize = 10_000;
/// Services whose operations are remembered; those of further ones are never new.
const MAX_SERVICES: usize = 20_000;
/// Operations remembered of a service; one with as many makes names up.
const MAX_OPERATIONS: usize = 256;

/// Paths between namespaces, and the operations of services.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Structure {
    /// Cluster, calling and called namespace.
    paths: BTreeSet<(Arc<str>, Arc<str>, Arc<str>)>,
    /// By cluster and service; hashes, ascending.
    operations: BTreeMap<(Arc<str>, Arc<str>), Vec<u32>>,
    /// Pairs an hour, over the mesh, that called an operation that was new to their service although both had
    /// been known for long.
    discoveries: Failures,
    discovered: u64,
}

/// The namespace of a service; the whole name if it has none.
pub(crate) fn namespace(service: &str) -> &str {
    service.split('/').next().unwrap_or(service)
}

impl Structure {
    /// Whether anything in the namespace of the source has ever called anything in that of the destination.
    pub(crate) fn has_path(&self, pair: &Pair) -> bool {
        self.paths.len() >= MAX_PATHS || self.paths.contains(&path(pair))
    }

    /// Whether nobody has ever called this operation of a service.
    pub(crate) fn lacks(&self, pair: &Pair, operation: u32) -> bool {
        let key = (pair.cluster.clone(), pair.destination.clone());
        match self.operations.get(&key) {
            Some(known) => known.len() < MAX_OPERATIONS && known.binary_search(&operation).is_err(),
            None => self.operations.len() < MAX_SERVICES,
        }
    }

    /// New operations a day, over the mesh, as its history leads to expect.
    pub(crate) fn discoveries_a_day(&self) -> f64 {
        24.0 * self.discoveries.rate()
    }

    pub(crate) fn see(&mut self, contact: &Contact) {
        if contact.strange && self.paths.len() < MAX_PATHS {
            self.paths.insert(path(&contact.pair));
        }
        self.discovered += u64::from(contact.discovers);
        let key = (contact.pair.cluster.clone(), contact.pair.destination.clone());
        if contact.operations.is_empty()
            || (self.operations.len() >= MAX_SERVICES && !self.operations.contains_key(&key))
        {
            return;
        }
        let known = self.operations.entry(key).or_default();
        for operation in &contact.operations {
            if known.len() < MAX_OPERATIONS
                && let Err(at) = known.binary_search(operation)
            {
                known.insert(at, *operation);
            }
        }
    }

    /// Ends an hour.
    pub(crate) fn hour(&mut self, how: Learn) {
        let n = std::mem::take(&mut self.discovered);
        self.discoveries.learn(n, 0, how);
    }
}

fn path(pair: &Pair) -> (Arc<str>, Arc<str>, Arc<str>) {
    (pair.cluster.clone(), namespace(&pair.source).into(), namespace(&pair.destination).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_known_to_the_service_and_the_namespace() {
        let pair = |source: &str, destination: &str| Pair::new("c", source, destination);
        let mut structure = Structure::default();
        let contact = Contact { operations: vec![7], ..Contact::example(pair("a/x", "b/y")) };
        assert!(!structure.has_path(&contact.pair) && structure.lacks(&contact.pair, 7));
        structure.see(&contact);
        assert!(structure.has_path(&pair("a/other", "b/other")) && !structure.has_path(&pair("b/y", "a/x")));
        assert!(!structure.lacks(&pair("z/z", "b/y"), 7) && structure.lacks(&pair("a/x", "b/other"), 7));
        let before = structure.discoveries_a_day();
        (0..48).for_each(|_| structure.hour(Learn::Usual));
        assert!(structure.discoveries_a_day() < before / 10.0);
    }
}
