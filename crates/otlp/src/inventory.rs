//! Who is who in the mesh: what the Kubernetes API would say about addresses and service accounts.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::Arc;

use serde::Deserialize;

use crate::names::{Identity, is_name, service_name};

/// Names addresses and service accounts as `namespace/service`.
///
/// The empty inventory (the default) knows nothing: identities are then taken at their word, namespace
/// and service account standing for namespace and service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// The mesh's own trust domain; `None` accepts every one as its own.
    pub trust_domain: Option<String>,
    /// Cluster of the workloads, used where telemetry names none.
    pub cluster: Option<String>,
    /// `None` stands for a name that several services share.
    by_address: HashMap<IpAddr, Option<Arc<str>>>,
    by_account: HashMap<String, Option<Arc<str>>>,
    by_bare_name: HashMap<String, Option<Arc<str>>>,
    services: HashMap<Arc<str>, ()>,
}

/// An inventory that cannot be used; keep the one before. *Rejected*: correct the file.
#[derive(Debug, thiserror::Error)]
pub enum InventoryError {
    /// The text is not YAML of the inventory's form.
    #[error("the inventory is not as described in the documentation: {0}")]
    Yaml(String),
    /// The text is JSON, but neither an inventory nor the output of `kubectl get pods -o json`.
    #[error("the inventory looks like JSON but is neither an inventory nor a list of pods: {0}")]
    Json(String),
    /// A name has characters that no Kubernetes name has.
    #[error(
        "workload {index} of the inventory: its {field} must be 1 to 253 characters of A-Z, a-z, 0-9, `.`, `_`, `-`"
    )]
    Name {
        /// Which workload, from 1.
        index: usize,
        /// Which of its fields.
        field: &'static str,
    },
    /// An address is not an IP address.
    #[error("workload {index} of the inventory: address {address} is not an IP address")]
    Address {
        /// Which workload, from 1.
        index: usize,
        /// Which of its addresses, from 1.
        address: usize,
    },
    /// More workloads than anyone has; probably the wrong file.
    #[error("the inventory has {count} workloads, more than the limit of {MAX_WORKLOADS}")]
    TooLarge {
        /// How many there are.
        count: usize,
    },
}

/// Workloads an inventory may hold: Kubernetes supports 150 000 pods in a cluster
/// (<https://kubernetes.io/docs/setup/best-practices/cluster-large/>).
pub const MAX_WORKLOADS: usize = 200_000;

/// What the inventory makes of an identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) service: Option<Arc<str>>,
    pub(crate) standing: Standing,
}

/// How far the inventory stands behind a name it gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It says so, or the identity itself names a service, or there is no inventory to ask.
    Known,
    /// Several services run under the account; the name is made of the identity's own words.
    Shared,
    /// The account is not known; the name is made of the identity's own words.
    Unknown,
    /// It is of another trust domain.
    Foreign,
}

impl Inventory {
    /// Reads an inventory: the YAML form (`trust_domain`, `cluster`, `workloads` with `namespace`, `service`,
    /// `service_account`, `addresses`), or the output of `kubectl get pods -A -o json`, told apart by content.
    ///
    /// Of a pod, the service is its label `service.istio.io/canonical-name`, else `app.kubernetes.io/name`,
    /// else `app`, else `k8s-app`, else the name of the workload that owns it
    /// (<https://istio.io/latest/docs/ops/deployment/application-requirements/>). Pods that have ended and
    /// pods on the host's network have no address of their own.
    pub fn parse(text: &str) -> Result<Inventory, InventoryError> {
        let file = if text.trim_start().starts_with('{') { read_json(text)? } else { read_yaml(text)? };
        if file.workloads.len() > MAX_WORKLOADS {
            return Err(InventoryError::TooLarge { count: file.workloads.len() });
        }
        let mut inventory =
            Inventory { trust_domain: file.trust_domain, cluster: file.cluster, ..Inventory::default() };
        for (i, workload) in file.workloads.iter().enumerate() {
            inventory.add(workload, i + 1)?;
        }
        Ok(inventory)
    }

    /// How many services it knows.
    pub fn services(&self) -> usize {
        self.services.len()
    }

    /// The service that has this address; `None` if unknown or if several claim it.
    pub fn service_at(&self, address: IpAddr) -> Option<Arc<str>> {
        self.by_address.get(&address).cloned().flatten()
    }

    /// The service that runs under this account; `None` if unknown or if several do.
    pub fn service_of_account(&self, namespace: &str, account: &str) -> Option<Arc<str>> {
        self.by_account.get(&format!("{namespace}/{account}")).cloned().flatten()
    }

    /// Whether it knows a service of this `namespace/service` name.
    pub(crate) fn has(&self, service: &str) -> bool {
        self.services.contains_key(service)
    }

    /// The only service of this name in any namespace.
    pub(crate) fn service_named(&self, name: &str) -> Option<Arc<str>> {
        self.by_bare_name.get(name).cloned().flatten()
    }

    /// Names the holder of an identity.
    ///
    /// An identity of another trust domain is never one of our workloads, whatever its path says: it is
    /// named `NAMESPACE.TRUST_DOMAIN/ACCOUNT`, so that it stands out as a source of its own. An account
    /// that the inventory does not know keeps its own words, `NAMESPACE/ACCOUNT`.
    pub(crate) fn name(&self, identity: &Identity<'_>) -> Named {
        let Identity { trust_domain, namespace, name, is_service } = *identity;
        if self.trust_domain.as_deref().is_some_and(|own| own != trust_domain) {
            let service = service_name(&format!("{namespace}.{trust_domain}"), name);
            return Named { service, standing: Standing::Foreign };
        }
        let by_account = if is_service { None } else { self.by_account.get(&format!("{namespace}/{name}")) };
        let standing = match by_account {
            Some(Some(service)) => {
                return Named { service: Some(service.clone()), standing: Standing::Known };
            }
            Some(None) => Standing::Shared,
            None if is_service || self.services.is_empty() => Standing::Known,
            None => Standing::Unknown,
        };
        Named { service: service_name(namespace, name), standing }
    }

    fn add(&mut self, workload: &Workload, index: usize) -> Result<(), InventoryError> {
        let Workload { namespace, service, service_account, addresses } = workload;
        for (field, name) in [("namespace", namespace), ("service", service)] {
            if !is_name(name) {
                return Err(InventoryError::Name { index, field });
            }
        }
        let name: Arc<str> = format!("{namespace}/{service}").into();
        for (i, address) in addresses.iter().enumerate() {
            let ip = address.parse().map_err(|_text| InventoryError::Address { index, address: i + 1 })?;
            share(self.by_address.entry(ip), &name);
        }
        if let Some(account) = service_account {
            share(self.by_account.entry(format!("{namespace}/{account}")), &name);
        }
        share(self.by_bare_name.entry(service.clone()), &name);
        self.services.insert(name, ());
        Ok(())
    }
}

/// Enters `service`; a second, different one makes the entry ambiguous for good.
fn share<K>(entry: Entry<'_, K, Option<Arc<str>>>, service: &Arc<str>) {
    match entry {
        Entry::Vacant(entry) => {
            entry.insert(Some(service.clone()));
        }
        Entry::Occupied(mut entry) => {
            if entry.get().as_ref() != Some(service) {
                entry.insert(None);
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    trust_domain: Option<String>,
    cluster: Option<String>,
    #[serde(default)]
    workloads: Vec<Workload>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Workload {
    namespace: String,
    service: String,
    service_account: Option<String>,
    #[serde(default)]
    addresses: Vec<String>,
}

fn read_yaml(text: &str) -> Result<File, InventoryError> {
    serde_saphyr::from_str(text).map_err(|e| InventoryError::Yaml(e.to_string()))
}

fn read_json(text: &str) -> Result<File, InventoryError> {
    let error = |e: serde_json::Error| InventoryError::Json(e.to_string());
    let probe: Probe = serde_json::from_str(text).map_err(error)?;
    let pods = match (probe.kind.as_deref(), probe.items) {
        (Some("Pod"), None) => vec![serde_json::from_str::<Pod>(text).map_err(error)?],
        (_, Some(pods)) => pods,
        _ => return serde_json::from_str(text).map_err(error),
    };
    let workloads = pods.into_iter().filter_map(Pod::workload).collect();
    Ok(File { trust_domain: None, cluster: None, workloads })
}

#[derive(Deserialize)]
struct Probe {
    kind: Option<String>,
    items: Option<Vec<Pod>>,
}

// The part of core/v1 Pod that names a workload.
#[derive(Deserialize)]
struct Pod {
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    name: String,
    namespace: String,
    labels: HashMap<String, String>,
    owner_references: Vec<Owner>,
}

#[derive(Deserialize)]
struct Owner {
    kind: String,
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    service_account_name: Option<String>,
    host_network: bool,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    phase: String,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    #[serde(rename = "podIPs")]
    pod_ips: Vec<PodIp>,
}

#[derive(Deserialize)]
struct PodIp {
    ip: String,
}

impl Pod {
    fn workload(self) -> Option<Workload> {
        let Pod { metadata, spec, status } = self;
        if status.phase == "Succeeded" || status.phase == "Failed" {
            return None;
        }
        let labelled = ["service.istio.io/canonical-name", "app.kubernetes.io/name", "app", "k8s-app"];
        let label = labelled.iter().find_map(|key| metadata.labels.get(*key));
        let service = label.cloned().unwrap_or_else(|| owner(&metadata));
        let mut addresses: Vec<String> = status.pod_ips.into_iter().map(|p| p.ip).collect();
        addresses.extend(status.pod_ip.filter(|_| addresses.is_empty()));
        if spec.host_network {
            addresses.clear();
        }
        let service_account = Some(spec.service_account_name.unwrap_or_else(|| "default".to_owned()));
        Some(Workload { namespace: metadata.namespace, service, service_account, addresses })
    }
}

/// The owning workload's name: a Deployment's is its ReplicaSet's without the template's hash.
fn owner(metadata: &Metadata) -> String {
    let Some(owner) = metadata.owner_references.first() else { return metadata.name.clone() };
    let hash = metadata.labels.get("pod-template-hash").filter(|_| owner.kind == "ReplicaSet");
    let stem = hash.and_then(|h| owner.name.strip_suffix(h.as_str())).and_then(|s| s.strip_suffix('-'));
    stem.unwrap_or(&owner.name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML: &str = "trust_domain: cluster.local
workloads:
  - {namespace: shop, service: cart, service_account: cart, addresses: [127.31.1.12, '::1']}
  - {namespace: shop, service: pricing, service_account: shared}
  - {namespace: shop, service: offers, service_account: shared, addresses: [127.31.1.12]}
";

    fn name(inventory: &Inventory, identity: &str) -> (Option<String>, Standing) {
        let named = inventory.name(&Identity::parse(identity).unwrap());
        (named.service.map(|s| s.to_string()), named.standing)
    }

    #[test]
    fn addresses_and_accounts_are_named_unless_several_claim_them() {
        let inventory = Inventory::parse(YAML).unwrap();
        assert_eq!(inventory.service_at("::1".parse().unwrap()).as_deref(), Some("shop/cart"));
        assert_eq!(inventory.service_at("127.31.1.12".parse().unwrap()), None, "two services claim it");
        assert_eq!(inventory.service_at("127.0.0.1".parse().unwrap()), None);
        assert_eq!(inventory.service_of_account("shop", "cart").as_deref(), Some("shop/cart"));
        assert_eq!(inventory.service_of_account("shop", "shared"), None);
        assert_eq!(inventory.services(), 3);
        assert_eq!(inventory.service_named("offers").as_deref(), Some("shop/offers"));
    }

    #[test]
    fn an_identity_of_a_foreign_trust_domain_is_not_one_of_ours() {
        let inventory = Inventory::parse(YAML).unwrap();
        let check = |identity, service: &str, standing| {
            assert_eq!(name(&inventory, identity), (Some(service.to_owned()), standing), "{identity}");
        };
        check("spiffe://cluster.local/ns/shop/sa/cart", "shop/cart", Standing::Known);
        check("spiffe://partner.example/ns/shop/sa/cart", "shop.partner.example/cart", Standing::Foreign);
        check("spiffe://cluster.local/ns/default/sa/default", "default/default", Standing::Unknown);
        check("spiffe://cluster.local/ns/shop/sa/shared", "shop/shared", Standing::Shared);
        let nothing_known = Inventory::default();
        let named = name(&nothing_known, "spiffe://partner.example/ns/shop/sa/cart");
        assert_eq!(
            named,
            (Some("shop/cart".to_owned()), Standing::Known),
            "without an inventory an identity is taken at its word"
        );
    }

    #[test]
    fn pods_as_kubectl_prints_them_are_an_inventory() {
        let text = r#"{"apiVersion": "v1", "kind": "List", "items": [
            {"kind": "Pod", "metadata": {"name": "cart-v1-5d8f-x", "namespace": "shop",
                "labels": {"pod-template-hash": "5d8f"}, "ownerReferences": [{"kind": "ReplicaSet", "name": "cart-v1-5d8f"}]},
             "spec": {"serviceAccountName": "cart", "containers": []},
             "status": {"phase": "Running", "podIP": "10.1.0.4", "podIPs": [{"ip": "10.1.0.4"}, {"ip": "fd00::4"}]}},
            {"metadata": {"name": "p", "namespace": "pay", "labels": {"app": "old", "app.kubernetes.io/name": "ledger"}},
             "spec": {}, "status": {"phase": "Running", "podIP": "10.1.0.5"}},
            {"metadata": {"name": "agent", "namespace": "ops", "labels": {"app": "agent"}},
             "spec": {"hostNetwork": true}, "status": {"phase": "Running", "podIP": "10.0.0.1"}},
            {"metadata": {"name": "job", "namespace": "ops"}, "status": {"phase": "Succeeded", "podIP": "10.1.0.5"}}]}"#;
        let inventory = Inventory::parse(text).unwrap();
        let at = |ip: &str| inventory.service_at(ip.parse().unwrap()).map(|s| s.to_string());
        assert_eq!(at("fd00::4").as_deref(), Some("shop/cart-v1"));
        assert_eq!(at("10.1.0.5").as_deref(), Some("pay/ledger"));
        assert_eq!(at("10.0.0.1"), None, "the host's address is not the pod's");
        assert_eq!(inventory.service_of_account("shop", "cart").as_deref(), Some("shop/cart-v1"));
        assert_eq!(inventory.service_of_account("pay", "default").as_deref(), Some("pay/ledger"));
        let single = r#"{"kind": "Pod", "metadata": {"name": "a", "namespace": "b"}, "status": {"podIP": "10.1.1.1"}}"#;
        assert_eq!(Inventory::parse(single).unwrap().services(), 1);
        let json = r#"{"workloads": [{"namespace": "a", "service": "b"}]}"#;
        assert_eq!(Inventory::parse(json).unwrap().services(), 1);
    }

    #[test]
    fn a_wrong_inventory_says_what_is_wrong() {
        let check = |text: &str, expect: &str| {
            let message = Inventory::parse(text).unwrap_err().to_string();
            assert!(message.contains(expect), "{message}");
        };
        check(
            "workloads: [{namespace: shop, service: 'a b'}]",
            "workload 1 of the inventory: its service must be",
        );
        check(
            "workloads: [{namespace: a, service: b, addresses: [10.0.0.0/8]}]",
            "workload 1 of the inventory: address 1 is not",
        );
        check("workloads: [{namespace: a, servce: b}]", "servce");
        check("{\"kind\": \"Deployment\"}", "neither an inventory nor a list of pods");
        check("- a", "not as described");
    }
}
