//! What decode knows of the mesh from one record to the next: the inventory, names already worked out, and
//! who made the calls whose other half is still to come.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::FixedState;

use crate::Inventory;
use crate::inventory::Named;
use crate::names::{Dialled, Identity, Upstream, address};

/// The mesh as decode sees it.
pub(crate) struct Mesh {
    pub(crate) inventory: Arc<Inventory>,
    pub(crate) callers: Callers,
    identities: Memo<Option<Named>>,
    upstreams: Memo<Upstream>,
    hosts: Memo<Option<Arc<str>>>,
}

impl Mesh {
    pub(crate) fn new(inventory: Arc<Inventory>, callers: usize) -> Mesh {
        Mesh {
            inventory,
            callers: Callers::new(callers),
            identities: Memo::default(),
            upstreams: Memo::default(),
            hosts: Memo::default(),
        }
    }

    pub(crate) fn set_inventory(&mut self, inventory: Arc<Inventory>) {
        self.inventory = inventory;
        self.identities = Memo::default();
        self.upstreams = Memo::default();
        self.hosts = Memo::default();
    }

    /// Names the holder of an identity; `None` if `text` is not one.
    pub(crate) fn identity(&mut self, text: &str) -> Option<Named> {
        let inventory = &self.inventory;
        self.identities.get(text, |text| Identity::parse(text).map(|identity| inventory.name(&identity)))
    }

    /// What an Envoy cluster's name says.
    pub(crate) fn upstream(&mut self, cluster: &str) -> Upstream {
        let inventory = &self.inventory;
        self.upstreams.get(cluster, |cluster| Upstream::parse(cluster, inventory))
    }

    /// The mesh's own service that a full host name stands for.
    pub(crate) fn host(&mut self, host: &str) -> Option<Arc<str>> {
        let inventory = &self.inventory;
        self.hosts.get(host, |host| Dialled { host, configured: false, namespace: None }.service(inventory))
    }

    /// The service at an address, if the address is a peer's own: one with port 0 is a header's word.
    pub(crate) fn peer(&self, text: Option<&str>) -> Option<Arc<str>> {
        let (ip, port) = address(text?)?;
        if port == 0 { None } else { self.service_at(ip) }
    }

    /// The service at an address whose port satisfies `port`.
    pub(crate) fn at(&self, text: Option<&str>, port: impl Fn(u16) -> bool) -> Option<Arc<str>> {
        let (ip, number) = address(text?)?;
        if port(number) { self.service_at(ip) } else { None }
    }

    fn service_at(&self, ip: IpAddr) -> Option<Arc<str>> {
        self.inventory.service_at(ip)
    }
}

/// Distinct texts a memo keeps. A mesh has thousands of identities and hosts, not tens of thousands; when a
/// client invents more, the memo starts again and costs what it would have saved.
const MEMO_LIMIT: usize = 8_192;

/// Answers already worked out, by the text that was asked about.
struct Memo<T> {
    answers: HashMap<Box<str>, T, FixedState>,
}

impl<T> Default for Memo<T> {
    fn default() -> Memo<T> {
        Memo { answers: HashMap::default() }
    }
}

impl<T: Clone> Memo<T> {
    fn get(&mut self, text: &str, answer: impl FnOnce(&str) -> T) -> T {
        if let Some(known) = self.answers.get(text) {
            return known.clone();
        }
        if self.answers.len() >= MEMO_LIMIT {
            self.answers.clear();
        }
        let new = answer(text);
        self.answers.insert(text.into(), new.clone());
        new
    }
}

/// Who made a call, by the id of its span: a server's span does not say, but the client's span (its
/// parent) and the server's access log (its own id) do.
///
/// Two generations of a hash map: when the younger is full it becomes the older, and the older is
/// forgotten. So it never holds more than `capacity`, remembers at least the last half of that, and depends
/// on nothing but the order of arrival.
pub(crate) struct Callers {
    young: HashMap<(Half, [u8; 8]), Arc<str>, FixedState>,
    old: HashMap<(Half, [u8; 8]), Arc<str>, FixedState>,
    generation: usize,
}

/// Which half of a call told of its caller.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Half {
    /// The client's: a server's span has its id as parent.
    Client,
    /// The server's: a server's span has the same id.
    Server,
}

impl Callers {
    fn new(capacity: usize) -> Callers {
        Callers { young: HashMap::default(), old: HashMap::default(), generation: (capacity / 2).max(1) }
    }

    pub(crate) fn remember(&mut self, half: Half, span_id: [u8; 8], source: &Arc<str>) {
        if self.young.len() >= self.generation && !self.young.contains_key(&(half, span_id)) {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert((half, span_id), source.clone());
    }

    pub(crate) fn recall(&self, half: Half, span_id: [u8; 8]) -> Option<Arc<str>> {
        let key = (half, span_id);
        self.young.get(&key).or_else(|| self.old.get(&key)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_are_remembered_up_to_the_capacity_and_at_least_half_of_it() {
        let mut callers = Callers::new(100);
        let source: Arc<str> = "shop/cart".into();
        for n in 0..1_000_u64 {
            callers.remember(Half::Client, n.to_be_bytes(), &source);
            assert!(callers.young.len() + callers.old.len() <= 100);
            assert!(
                (n.saturating_sub(49)..=n).all(|m| callers.recall(Half::Client, m.to_be_bytes()).is_some())
            );
        }
        assert_eq!(callers.recall(Half::Client, 800_u64.to_be_bytes()), None);
        assert_eq!(
            callers.recall(Half::Server, 999_u64.to_be_bytes()),
            None,
            "the other half is another span"
        );
    }

    #[test]
    fn names_are_worked_out_anew_under_a_new_inventory() {
        let mut mesh = Mesh::new(Arc::default(), 10);
        let identity = "spiffe://cluster.local/ns/shop/sa/cart-account";
        let name = |mesh: &mut Mesh| mesh.identity(identity).unwrap().service.unwrap();
        assert_eq!(&*name(&mut mesh), "shop/cart-account");
        let text = "workloads: [{namespace: shop, service: cart, service_account: cart-account}]";
        mesh.set_inventory(Arc::new(Inventory::parse(text).unwrap()));
        assert_eq!(&*name(&mut mesh), "shop/cart");
    }

    #[test]
    fn a_memo_is_bounded() {
        let mut memo: Memo<usize> = Memo::default();
        for n in 0..MEMO_LIMIT * 2 {
            assert_eq!(memo.get(&n.to_string(), str::len), n.to_string().len());
            assert!(memo.answers.len() <= MEMO_LIMIT);
        }
    }
}
