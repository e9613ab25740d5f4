//! What decode knows of the mesh from one record to the next: the inventory, names already worked out, and
//! who made the calls whose other half is still to come.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;

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

/// The longest text a memo keeps: a DNS name has at most 253 bytes, and an identity or a cluster's name holds
/// one and a little more.
const MEMO_LIMIT_BYTES: usize = 512;

/// Answers already worked out, by the text that was asked about.
struct Memo<T> {
    answers: HashMap<Box<str>, T, RandomState>,
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
        if text.len() > MEMO_LIMIT_BYTES {
            return answer(text);
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
/// A table of buckets of four, each of which forgets its oldest when a fifth comes: of a bounded size, one
/// cache line to a look, and dependent on nothing but the order of arrival. Of the last half of its
/// capacity it remembers nearly all (ids are random).
pub(crate) struct Callers {
    buckets: Vec<[Slot; SLOTS]>,
    /// Distinct callers; a slot holds a place in here.
    names: Vec<Arc<str>>,
    places: HashMap<Arc<str>, u32, RandomState>,
    /// The caller that was remembered last.
    last: u32,
    /// To be remembered before the next look. The table does not fit into a core's own cache: a run of
    /// writes waits for memory about once, single ones wait each for itself.
    waiting: Vec<Slot>,
}

/// Which half of a call told of its caller.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Half {
    /// Nobody did: the slot is free.
    #[default]
    None,
    /// The client's: a server's span has its id as parent.
    Client,
    /// The server's: a server's span has the same id.
    Server,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    span_id: [u8; 8],
    half: Half,
    name: u32,
}

impl Slot {
    fn is_of(&self, half: Half, span_id: [u8; 8]) -> bool {
        self.span_id == span_id && self.half == half
    }
}

const SLOTS: usize = 4;

/// Callers that wait to be remembered.
const MAX_WAITING: usize = 32;

/// Distinct callers that are remembered at once; when there are more, everything is forgotten.
const MAX_NAMES: usize = 65_536;

impl Callers {
    fn new(capacity: usize) -> Callers {
        let buckets = (capacity / SLOTS).clamp(1, 1 << 24).next_power_of_two();
        Callers {
            buckets: vec![[Slot::default(); SLOTS]; buckets],
            names: Vec::new(),
            places: HashMap::default(),
            last: 0,
            waiting: Vec::with_capacity(MAX_WAITING),
        }
    }

    pub(crate) fn remember(&mut self, half: Half, span_id: [u8; 8], source: &Arc<str>) {
        let new = Slot { span_id, half, name: self.place(source) };
        self.waiting.push(new);
        if self.waiting.len() == MAX_WAITING {
            self.write();
        }
    }

    /// Puts what waits into the table, in order.
    fn write(&mut self) {
        for new in &self.waiting {
            let bucket = bucket(new.span_id, self.buckets.len());
            let bucket = &mut self.buckets[bucket];
            if let Some(slot) = bucket.iter_mut().find(|slot| slot.is_of(new.half, new.span_id)) {
                *slot = *new;
            } else {
                bucket.copy_within(..SLOTS - 1, 1);
                bucket[0] = *new;
            }
        }
        self.waiting.clear();
    }

    pub(crate) fn recall(&mut self, half: Half, span_id: [u8; 8]) -> Option<Arc<str>> {
        self.write();
        let bucket = &self.buckets[bucket(span_id, self.buckets.len())];
        let slot = bucket.iter().find(|slot| slot.is_of(half, span_id))?;
        self.names.get(slot.name as usize).cloned()
    }

    fn place(&mut self, source: &Arc<str>) -> u32 {
        if self.names.get(self.last as usize).is_some_and(|last| Arc::ptr_eq(last, source)) {
            return self.last;
        }
        self.last = self.find_place(source);
        self.last
    }

    fn find_place(&mut self, source: &Arc<str>) -> u32 {
        if let Some(place) = self.places.get(source) {
            return *place;
        }
        if self.names.len() == MAX_NAMES {
            self.names.clear();
            self.places.clear();
            self.buckets.fill([Slot::default(); SLOTS]);
            self.waiting.clear();
        }
        let place = self.names.len() as u32;
        self.names.push(source.clone());
        self.places.insert(source.clone(), place);
        place
    }
}

/// The bucket of a span's id, of so many, a power of two. Ids ought to be random; folded and multiplied by 2^64
/// over the golden ratio (Knuth, volume 3, 6.4), numbered ones spread as well.
fn bucket(span_id: [u8; 8], buckets: usize) -> usize {
    let id = u64::from_be_bytes(span_id);
    let spread = (id ^ id >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (spread >> 32) as usize & (buckets - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_are_remembered_for_about_as_many_spans_as_there_is_room() {
        let mut callers = Callers::new(1_024);
        let sources: Vec<Arc<str>> = (0..10).map(|n| format!("shop/s{n}").into()).collect();
        for n in 0..10_000_u64 {
            callers.remember(Half::Client, n.to_be_bytes(), &sources[(n % 10) as usize]);
            let recent = callers.recall(Half::Client, n.saturating_sub(9).to_be_bytes());
            assert_eq!(recent, Some(sources[(n.saturating_sub(9) % 10) as usize].clone()));
        }
        let known =
            (9_488..10_000_u64).filter(|n| callers.recall(Half::Client, n.to_be_bytes()).is_some()).count();
        assert!(known > 480, "{known} of the last 512");
        assert_eq!(callers.recall(Half::Client, 5_000_u64.to_be_bytes()), None);
        assert_eq!(
            callers.recall(Half::Server, 9_999_u64.to_be_bytes()),
            None,
            "the other half is another span"
        );
    }

    #[test]
    fn more_callers_than_the_limit_are_forgotten_and_not_mixed_up() {
        let mut callers = Callers::new(1_024);
        for n in 0..=MAX_NAMES as u64 {
            callers.remember(Half::Client, n.to_be_bytes(), &format!("shop/s{n}").into());
            assert!(callers.names.len() <= MAX_NAMES);
        }
        let last = MAX_NAMES as u64;
        assert_eq!(callers.recall(Half::Client, last.to_be_bytes()).as_deref(), Some("shop/s65536"));
        assert_eq!(callers.recall(Half::Client, (last - 1).to_be_bytes()), None);
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
        let (before, long) = (memo.answers.len(), "x".repeat(MEMO_LIMIT_BYTES + 1));
        assert_eq!((memo.get(&long, str::len), memo.answers.len()), (long.len(), before));
    }
}
