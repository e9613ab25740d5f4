//! Names of services: the only strings that no redaction touches, so they come from verified identities,
//! named attributes and the inventory only, and only in a service name's alphabet.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::Inventory;

/// Namespace of hosts outside the mesh, as in `external/api.example.com`.
const EXTERNAL: &str = "external";

/// The longest a namespace or a service's name may be: DNS allows 253 for a whole name.
const MAX_PART_BYTES: usize = 253;

/// Whether `part` may be a namespace or a service's name: `[A-Za-z0-9._-]+`, at most 253 characters.
pub(crate) fn is_name(part: &str) -> bool {
    (1..=MAX_PART_BYTES).contains(&part.len())
        && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// `namespace/service`; `None` if either is not in the alphabet.
pub(crate) fn service_name(namespace: &str, service: &str) -> Option<Arc<str>> {
    (is_name(namespace) && is_name(service)).then(|| format!("{namespace}/{service}").into())
}

/// Who a certificate says its holder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity<'a> {
    pub(crate) trust_domain: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    /// Whether `name` is a service (Consul) and not a service account (Kubernetes).
    pub(crate) is_service: bool,
}

impl<'a> Identity<'a> {
    /// Reads the first identity in `text`, a comma-separated list of URI or DNS subject alternative names:
    /// - `spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT` (Istio; <https://istio.io/latest/docs/concepts/security/>)
    /// - `spiffe://DOMAIN[/ap/PARTITION]/ns/NAMESPACE/dc/DATACENTRE/svc/SERVICE` (Consul, `agent/connect/uri_service.go`)
    /// - `ACCOUNT.NAMESPACE.serviceaccount.identity.CONTROL_NAMESPACE.DOMAIN` (Linkerd)
    pub(crate) fn parse(text: &'a str) -> Option<Identity<'a>> {
        text.split(',').find_map(|one| Identity::parse_one(one.trim()))
    }

    fn parse_one(text: &'a str) -> Option<Identity<'a>> {
        if let Some(rest) = text.strip_prefix("spiffe://") {
            let mut parts = rest.split('/');
            let trust_domain = parts.next()?;
            let (mut namespace, mut account, mut service) = (None, None, None);
            while let (Some(kind), Some(name)) = (parts.next(), parts.next()) {
                match kind {
                    "ns" => namespace = Some(name),
                    "sa" => account = Some(name),
                    "svc" => service = Some(name),
                    _ => {}
                }
            }
            let (name, is_service) = account.map(|a| (a, false)).or(service.map(|s| (s, true)))?;
            return Some(Identity { trust_domain, namespace: namespace?, name, is_service });
        }
        let (holder, issuer) = text.split_once(".serviceaccount.identity.")?;
        let (name, namespace) = holder.split_once('.')?;
        let (_, trust_domain) = issuer.split_once('.')?;
        Some(Identity { trust_domain, namespace, name, is_service: false })
    }
}

/// The service that a host name or address stands for.
pub(crate) struct Dialled<'a> {
    pub(crate) host: &'a str,
    /// Whether the name comes from the mesh's configuration and not from the caller: only then may it
    /// name a host outside the mesh.
    pub(crate) configured: bool,
    /// Namespace in which a bare name is looked up, as Kubernetes' DNS does.
    pub(crate) namespace: Option<&'a str>,
}

impl Dialled<'_> {
    pub(crate) fn service(&self, inventory: &Inventory) -> Option<Arc<str>> {
        let host = without_port(self.host).trim_end_matches('.');
        if let Ok(ip) = host.parse::<IpAddr>() {
            return inventory.service_at(ip);
        }
        let labels: Vec<&str> = host.split('.').take(16).collect();
        if let Some(service) = consul_host(&labels) {
            return service;
        }
        // `svc.ns.svc.cluster.local`, and `pod.svc.ns.svc…` of a headless service.
        if let Some(i) = labels.iter().position(|l| *l == "svc" || *l == "global").filter(|i| *i >= 2) {
            return service_name(labels[i - 1], labels[i - 2]);
        }
        let known = match labels[..] {
            [service] => {
                self.namespace.filter(|_| service != "localhost").and_then(|ns| service_name(ns, service))
            }
            [service, namespace] => service_name(namespace, service).filter(|name| inventory.has(name)),
            _ => None,
        };
        known
            .or_else(|| self.configured.then(|| service_name(EXTERNAL, &host.to_ascii_lowercase())).flatten())
    }
}

/// Consul's name of an upstream, `agent/connect/sni.go`:
/// `[SUBSET.]SERVICE.NAMESPACE[.PARTITION].DATACENTRE.internal[-v1].DOMAIN`. `Some(None)` if it is one
/// that cannot be a service's name.
fn consul_host(labels: &[&str]) -> Option<Option<Arc<str>>> {
    if labels.last() != Some(&"consul") {
        return None;
    }
    let internal = labels.iter().position(|l| l.starts_with("internal"))?;
    let after_namespace = if labels[internal] == "internal" { 1 } else { 2 };
    let namespace = internal.checked_sub(after_namespace + 1)?;
    Some(service_name(labels[namespace], labels[namespace.checked_sub(1)?]))
}

fn without_port(host: &str) -> &str {
    if let Some(inner) = host.strip_prefix('[') {
        return inner.split(']').next().unwrap_or(inner);
    }
    match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

/// The address in `text`, with its port; an address without port has port 1, which no proxy uses, so
/// that only a written 0 is 0.
pub(crate) fn address(text: &str) -> Option<(IpAddr, u16)> {
    let socket = text.parse::<SocketAddr>().ok().map(|a| (a.ip(), a.port()));
    socket.or_else(|| text.parse::<IpAddr>().ok().map(|ip| (ip, 1)))
}

/// Which side of a hop a proxy's record tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The caller's.
    Client,
    /// The callee's.
    Server,
}

/// What an Envoy cluster's name says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Upstream {
    pub(crate) side: Option<Side>,
    /// The called service, on the caller's side.
    pub(crate) service: Option<Arc<str>>,
}

impl Upstream {
    /// Reads a cluster's name as Istio (`pilot/pkg/model/push_context.go`, `BuildSubsetKey`) and Consul
    /// (`agent/xds/clusters.go`) write it.
    pub(crate) fn parse(cluster: &str, inventory: &Inventory) -> Upstream {
        let to = |host: &str| Dialled { host, configured: true, namespace: None }.service(inventory);
        let client = |service| Upstream { side: Some(Side::Client), service };
        let mut parts = cluster.split('|');
        match (parts.next().unwrap_or(""), parts.nth(2)) {
            ("outbound", Some(host)) => return client(to(host)),
            ("inbound" | "inbound-vip", _) => return Upstream { side: Some(Side::Server), service: None },
            _ => {}
        }
        match cluster {
            "PassthroughCluster" | "BlackHoleCluster" => return client(service_name(EXTERNAL, cluster)),
            "local_app" | "inbound" => return Upstream { side: Some(Side::Server), service: None },
            _ => {}
        }
        if cluster.starts_with("InboundPassthroughCluster") {
            return Upstream { side: Some(Side::Server), service: None };
        }
        let host = cluster.rsplit('~').next().unwrap_or(cluster);
        if host.ends_with(".consul") && host.contains(".internal") {
            return client(to(host));
        }
        Upstream { side: None, service: None }
    }
}

/// The host in Istio's server name, `outbound_.PORT_.SUBSET_.HOST`, or the name itself.
pub(crate) fn sni_host(sni: &str) -> &str {
    sni.strip_prefix("outbound_.").and_then(|rest| rest.splitn(3, "_.").nth(2)).unwrap_or(sni)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_of_three_meshes_are_read() {
        let check = |text, domain, namespace, name, is_service| {
            let expect = Identity { trust_domain: domain, namespace, name, is_service };
            assert_eq!(Identity::parse(text), Some(expect), "{text}");
        };
        check("spiffe://cluster.local/ns/pay/sa/ledger", "cluster.local", "pay", "ledger", false);
        check("DNS:x, spiffe://td/ns/a/sa/b,spiffe://td/ns/c/sa/d", "td", "a", "b", false);
        check("spiffe://1-2.consul/ns/default/dc/dc1/svc/web", "1-2.consul", "default", "web", true);
        check("spiffe://1-2.consul/ap/p/ns/team/dc/dc1/svc/api", "1-2.consul", "team", "api", true);
        check(
            "web.emojivoto.serviceaccount.identity.linkerd.cluster.local",
            "cluster.local",
            "emojivoto",
            "web",
            false,
        );
        for text in
            ["", "-", "spiffe://cluster.local", "spiffe://td/sa/x", "CN=web", "a.b.identity.linkerd.local"]
        {
            assert_eq!(Identity::parse(text), None, "{text}");
        }
    }

    #[test]
    fn hosts_name_services_inside_and_outside_the_mesh() {
        let inventory =
            Inventory::parse("workloads: [{namespace: shop, service: cart, addresses: [10.0.0.7]}]").unwrap();
        let check = |host, configured, namespace, expect: Option<&str>| {
            let service = Dialled { host, configured, namespace }.service(&inventory);
            assert_eq!(service.as_deref(), expect, "{host}");
        };
        check("orders.data.svc.cluster.local", true, None, Some("data/orders"));
        check("db-0.orders.data.svc.cluster.local:5432", false, None, Some("data/orders"));
        check("cart.shop", false, None, Some("shop/cart"));
        check("cart.shop.", false, Some("x"), Some("shop/cart"));
        check("cart.elsewhere", false, None, None);
        check("cart", false, Some("shop"), Some("shop/cart"));
        check("localhost:80", false, Some("shop"), None);
        check("10.0.0.7:9080", false, None, Some("shop/cart"));
        check("[2001:db8::1]:80", true, None, None);
        check("api.Example.com:443", true, None, Some("external/api.example.com"));
        check("api.example.com", false, None, None);
        check("a@b.c.svc.cluster.local", true, None, None);
        check("web.default.dc1.internal.11-22.consul", true, None, Some("default/web"));
        check("v2.web.team.part.dc1.internal-v1.11-22.consul", true, None, Some("team/web"));
    }

    #[test]
    fn an_envoy_clusters_name_tells_the_side_and_the_destination() {
        let check = |cluster, side, service: Option<&str>| {
            let upstream = Upstream::parse(cluster, &Inventory::default());
            assert_eq!((upstream.side, upstream.service.as_deref()), (side, service), "{cluster}");
        };
        check("outbound|8080|v1|cart.shop.svc.cluster.local", Some(Side::Client), Some("shop/cart"));
        check("outbound|443||api.example.com", Some(Side::Client), Some("external/api.example.com"));
        check("inbound|9080||", Some(Side::Server), None);
        check("InboundPassthroughClusterIpv4", Some(Side::Server), None);
        check("PassthroughCluster", Some(Side::Client), Some("external/PassthroughCluster"));
        check("local_app", Some(Side::Server), None);
        check("3aa7~web.default.dc1.internal.9.consul", Some(Side::Client), Some("default/web"));
        check("httproute/default/web/rule/0", None, None);
        check("outbound|80", None, None);
        assert_eq!(sni_host("outbound_.8080_._.cart.shop.svc.cluster.local"), "cart.shop.svc.cluster.local");
        assert_eq!(sni_host("cart.shop.svc.cluster.local"), "cart.shop.svc.cluster.local");
    }

    #[test]
    fn an_address_without_a_port_is_not_one_with_port_zero() {
        assert_eq!(address("127.9.9.9:0").map(|a| a.1), Some(0));
        assert_eq!(address("127.9.9.9").map(|a| a.1), Some(1));
        assert_eq!(address("[::1]:80").map(|a| a.1), Some(80));
        assert_eq!(address("/tmp/socket"), None);
    }
}
