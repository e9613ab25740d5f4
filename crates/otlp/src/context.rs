//! Resources and scopes: what many records share, worked out once.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;
use lapwing_telemetry::SharedAttributes;

use crate::Inventory;
use crate::names::{is_name, service_name};
use crate::record::Record;

/// What a resource says of the records below it.
pub(crate) struct Resource {
    /// Attributes under their full names, `resource.…`, without those that a column holds.
    pub(crate) attributes: SharedAttributes,
    /// The reporting workload.
    pub(crate) own: Option<Arc<str>>,
    /// Its namespace, in which it looks up bare host names.
    pub(crate) namespace: Option<String>,
    /// `k8s.cluster.name`.
    pub(crate) cluster: Option<String>,
}

/// What an instrumentation scope says of the records below it.
pub(crate) struct Scope {
    /// Name, version and attributes under their full names, `scope.…`.
    pub(crate) attributes: SharedAttributes,
}

impl Resource {
    /// Reads a resource whose attributes are those of `record`.
    pub(crate) fn new(record: &Record<'_>, inventory: &Inventory) -> Resource {
        let get = |name: &str| record.texts().find(|(key, _)| *key == name).map(|(_, value)| value);
        let cluster = get("k8s.cluster.name").filter(|name| is_name(name));
        let attributes = record
            .texts()
            .filter(|(key, _)| *key != "k8s.cluster.name" || cluster.is_none())
            .map(|(key, value)| (format!("resource.{key}"), value.to_owned()));
        let namespace = get("service.namespace").or_else(|| get("k8s.namespace.name"));
        let own = own(&get, namespace, inventory);
        let of_own = own.as_deref().and_then(|own| own.split_once('/')).map(|(namespace, _)| namespace);
        Resource {
            attributes: SharedAttributes::new(attributes.collect()),
            namespace: namespace.filter(|name| is_name(name)).or(of_own).map(str::to_owned),
            cluster: cluster.map(str::to_owned),
            own,
        }
    }
}

impl Scope {
    /// Reads a scope whose attributes are those of `record`.
    pub(crate) fn new(name: &str, version: &str, record: &Record<'_>) -> Scope {
        let named = [("scope.name", name), ("scope.version", version)]
            .into_iter()
            .filter(|(_, text)| !text.is_empty());
        let mut attributes: Vec<_> = named.map(|(key, text)| (key.to_owned(), text.to_owned())).collect();
        attributes.extend(record.texts().map(|(key, value)| (format!("scope.{key}"), value.to_owned())));
        Scope { attributes: SharedAttributes::new(attributes) }
    }
}

/// Names that proxies and SDKs give themselves when nobody named the service.
const GENERIC: [&str; 4] = ["linkerd-proxy", "istio-proxy", "envoy", "unknown_service"];

/// The workload's `namespace/service`:
/// - `service.name` with `service.namespace` or `k8s.namespace.name`; Envoy under Istio writes
///   `SERVICE.NAMESPACE` into the name, so a namespace at its end is taken off;
/// - a name without namespace: the only service of that name in the inventory, else in namespace `default`;
/// - else the inventory's word on the pod's address, else the Kubernetes workload that owns the pod.
fn own<'a>(
    get: &impl Fn(&str) -> Option<&'a str>,
    namespace: Option<&str>,
    inventory: &Inventory,
) -> Option<Arc<str>> {
    let name = get("service.name").filter(|name| !GENERIC.iter().any(|generic| name.starts_with(generic)));
    let by_name = name.and_then(|name| match (namespace, name.split_once(['/', '.'])) {
        (Some(namespace), _) => {
            let bare = name.strip_suffix(namespace).and_then(|n| n.strip_suffix('.'));
            service_name(namespace, bare.unwrap_or(name))
        }
        (None, Some((first, second))) if name.contains('/') => service_name(first, second),
        (None, Some((service, namespace))) if !namespace.contains('.') => service_name(namespace, service),
        (None, _) => inventory.service_named(name).or_else(|| service_name("default", name)),
    });
    let by_address = || {
        let in_node = get("node_name").and_then(|node| node.split('~').nth(1));
        let addresses = [get("k8s.pod.ip"), in_node].into_iter().flatten();
        addresses.filter_map(|text| text.parse::<IpAddr>().ok()).find_map(|ip| inventory.service_at(ip))
    };
    let by_workload = || {
        let kinds = [
            "k8s.deployment.name",
            "k8s.statefulset.name",
            "k8s.daemonset.name",
            "k8s.cronjob.name",
            "k8s.job.name",
        ];
        service_name(namespace?, kinds.iter().find_map(|kind| get(kind))?)
    };
    by_name.or_else(by_address).or_else(by_workload)
}

/// Contexts already read, by their bytes: a proxy sends the same resource in every request.
pub(crate) struct Known<T> {
    read: HashMap<Box<[u8]>, Arc<T>, RandomState>,
    /// Length of all keys together.
    bytes: usize,
}

/// Distinct contexts that are kept: one per pod of a large mesh. A client that invents more makes decode
/// start again.
const KNOWN_LIMIT: usize = 4_096;

/// What they may weigh together, counted as they were sent: kilobytes each, of a real mesh.
const KNOWN_LIMIT_BYTES: usize = 8 << 20;

impl<T> Default for Known<T> {
    fn default() -> Known<T> {
        Known { read: HashMap::default(), bytes: 0 }
    }
}

impl<T> Known<T> {
    pub(crate) fn get(&self, bytes: &[u8]) -> Option<Arc<T>> {
        self.read.get(bytes).cloned()
    }

    pub(crate) fn add(&mut self, bytes: &[u8], context: T) -> Arc<T> {
        if self.read.len() >= KNOWN_LIMIT || self.bytes + bytes.len() > KNOWN_LIMIT_BYTES {
            self.read.clear();
            self.bytes = 0;
        }
        let context = Arc::new(context);
        if bytes.len() <= KNOWN_LIMIT_BYTES {
            self.read.insert(bytes.into(), context.clone());
            self.bytes += bytes.len();
        }
        context
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::Role;
    use crate::record::Kind;
    use crate::value::Text;

    fn resource(attributes: &[(&'static str, &'static str)], inventory: &str) -> Resource {
        let mut record = Record::default();
        record.begin(Kind::Log);
        for (key, value) in attributes {
            record.push(Text::Plain(key), Text::Plain(value), Role::Other);
        }
        Resource::new(&record, &Inventory::parse(inventory).unwrap())
    }

    #[test]
    fn a_workload_is_named_by_what_its_resource_says() {
        let inventory = "workloads: [{namespace: pay, service: ledger, addresses: [10.0.0.7]}]";
        let check = |attributes: &[(&'static str, &'static str)], expect: Option<&str>| {
            assert_eq!(resource(attributes, inventory).own.as_deref(), expect, "{attributes:?}");
        };
        check(&[("service.name", "cart.shop"), ("service.namespace", "shop")], Some("shop/cart"));
        check(&[("service.name", "cart"), ("k8s.namespace.name", "shop")], Some("shop/cart"));
        check(&[("service.name", "cart.shop")], Some("shop/cart"));
        check(&[("service.name", "shop/cart")], Some("shop/cart"));
        check(&[("service.name", "ledger")], Some("pay/ledger"));
        check(&[("service.name", "other")], Some("default/other"));
        check(&[("service.name", "linkerd-proxy"), ("k8s.pod.ip", "10.0.0.7")], Some("pay/ledger"));
        check(&[("node_name", "sidecar~10.0.0.7~ledger-x.pay~pay.svc.cluster.local")], Some("pay/ledger"));
        let owned = [
            ("service.name", "unknown_service:java"),
            ("k8s.namespace.name", "a"),
            ("k8s.deployment.name", "b"),
        ];
        check(&owned, Some("a/b"));
        check(&[("service.name", "jo@example.com"), ("service.namespace", "x")], None);
        check(&[], None);
    }

    #[test]
    fn known_contexts_are_bounded_in_number_and_in_bytes() {
        let mut known = Known::default();
        for n in 0..KNOWN_LIMIT * 2 {
            known.add(&n.to_be_bytes(), n);
            assert!(known.read.len() <= KNOWN_LIMIT);
        }
        assert_eq!(known.get(&(KNOWN_LIMIT * 2 - 1).to_be_bytes()).as_deref(), Some(&(KNOWN_LIMIT * 2 - 1)));
        for n in 0..40_u8 {
            assert_eq!(*known.add(&vec![n; 1 << 20], 7), 7);
            assert!(known.read.keys().map(|key| key.len()).sum::<usize>() <= KNOWN_LIMIT_BYTES);
        }
        assert_eq!(
            *known.add(&vec![0; KNOWN_LIMIT_BYTES + 1], 8),
            8,
            "too large to keep, and read all the same"
        );
        assert!(known.read.is_empty());
    }

    #[test]
    fn a_resource_keeps_what_no_column_holds() {
        let read = resource(&[("k8s.cluster.name", "lon-1"), ("service.name", "cart.shop")], "workloads: []");
        assert_eq!(read.attributes.entries(), [("resource.service.name".to_owned(), "cart.shop".to_owned())]);
        assert_eq!((read.cluster.as_deref(), read.namespace.as_deref()), (Some("lon-1"), Some("shop")));
        let odd = resource(&[("k8s.cluster.name", "lon 1")], "workloads: []");
        assert_eq!(
            (odd.cluster, odd.attributes.entries().len()),
            (None, 1),
            "not in a name's alphabet: kept as an attribute"
        );
    }
}
