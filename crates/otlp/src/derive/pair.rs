//! Who called whom.

use std::sync::Arc;

use lapwing_telemetry::Signal;

use super::{Ids, bits};
use crate::attributes::Role;
use crate::context::Resource;
use crate::inventory::{Named, Standing};
use crate::mesh::{Half, Mesh};
use crate::names::{Dialled, Side, Upstream, is_name, service_name, sni_host};
use crate::record::{Kind, Record};

/// Which side of which call a record tells of.
pub(crate) struct Pair {
    pub(crate) signal: Signal,
    /// `None` if the record is not of a call between services.
    pub(crate) side: Option<Side>,
    pub(crate) source: Option<Arc<str>>,
    pub(crate) destination: Option<Arc<str>>,
    pub(super) source_identity: Option<Role>,
    pub(super) destination_identity: Option<Role>,
    /// Roles whose first attribute is held by a column whole, as bits.
    pub(super) held: u64,
    /// Whether it follows from the roles in [`Pair::ROLES`], the record's kind and its resource alone.
    pub(super) is_lasting: bool,
}

impl Default for Pair {
    fn default() -> Pair {
        Pair {
            signal: Signal::LogServer,
            side: None,
            source: None,
            destination: None,
            source_identity: None,
            destination_identity: None,
            held: 0,
            is_lasting: false,
        }
    }
}

impl Pair {
    /// What a lasting one is read from, beside the record's kind, its ids and its resource.
    pub(super) const ROLES: u64 = bits(&[
        Role::UpstreamCluster,
        Role::UpstreamClusterName,
        Role::UpstreamHost,
        Role::UpstreamFailure,
        Role::UpstreamLocalAddress,
        Role::UpstreamLocalSan,
        Role::UpstreamPeerSan,
        Role::DownstreamFailure,
        Role::DownstreamLocalAddress,
        Role::DownstreamLocalSan,
        Role::DownstreamPeerSan,
        Role::DownstreamRemoteAddress,
        Role::ClientId,
        Role::ClientAddress,
        Role::Sni,
        Role::Authority,
        Role::IstioCluster,
        Role::IstioNamespace,
        Role::IstioService,
        Role::NodeId,
    ]);

    /// Reads who called whom. Takes and gives callers in `mesh`.
    pub(super) fn read(record: &Record<'_>, ids: &Ids, resource: &Resource, mesh: &mut Mesh) -> Pair {
        let upstream = record.get(Role::UpstreamCluster).map(|cluster| mesh.upstream(cluster));
        let side = side(record, upstream.as_ref());
        let mut pair = Pair { signal: signal(record.kind, side), side, is_lasting: true, ..Pair::default() };
        pair.read_services(record, ids, resource, upstream.and_then(|u| u.service), mesh);
        pair.hold_duplicates(record, resource);
        pair.remember(record, ids, mesh);
        pair
    }

    /// Makes it that of a record that says the same of it, with other ids.
    pub(super) fn read_again(&mut self, record: &Record<'_>, ids: &Ids, mesh: &mut Mesh) {
        if (self.side, record.kind) == (Some(Side::Server), Kind::Span(KIND_SERVER)) {
            self.source = caller(ids, mesh);
        }
        self.remember(record, ids, mesh);
    }

    fn read_services(
        &mut self,
        record: &Record<'_>,
        ids: &Ids,
        resource: &Resource,
        called: Option<Arc<str>>,
        mesh: &mut Mesh,
    ) {
        match (self.side, record.kind) {
            (None, _) => self.source = own(record, resource, mesh),
            (Some(Side::Client), Kind::Span(_)) => {
                self.source = own(record, resource, mesh);
                self.is_lasting = called.is_some();
                self.destination = called.or_else(|| dialled(record, resource, mesh));
            }
            (Some(Side::Server), Kind::Span(_)) => {
                self.source = caller(ids, mesh);
                self.destination = own(record, resource, mesh);
            }
            (Some(Side::Client), Kind::Log) => self.read_client_log(record, resource, called, mesh),
            (Some(Side::Server), Kind::Log) => self.read_server_log(record, resource, mesh),
        }
    }

    /// Keeps the caller for the spans of the other side, which do not say it.
    fn remember(&self, record: &Record<'_>, ids: &Ids, mesh: &mut Mesh) {
        let half = match (self.side, record.kind) {
            (Some(Side::Client), _) => Half::Client,
            (Some(Side::Server), Kind::Log) => Half::Server,
            _ => return,
        };
        if let (Some(id), Some(source)) = (ids.span, &self.source) {
            mesh.callers.remember(half, id, source);
        }
    }

    /// The caller's log: it knows itself by its certificate (not one of a foreign trust domain, which its
    /// own mesh never gave it), its resource or its address, and the callee by the configured cluster.
    /// `downstream_local_address` is the callee's address where traffic is
    /// redirected by iptables, so it counts as the caller's only with the port of the outbound listener.
    fn read_client_log(
        &mut self,
        record: &Record<'_>,
        resource: &Resource,
        called: Option<Arc<str>>,
        mesh: &mut Mesh,
    ) {
        const OUTBOUND_LISTENER: u16 = 15_001;
        let connected = record.get(Role::UpstreamFailure).is_none();
        let me = record.get(Role::UpstreamLocalSan).and_then(|san| mesh.identity(san));
        let (certain, claimed) = weigh(me, &[Standing::Known, Standing::Unknown]);
        self.source = certain
            .or_else(|| own(record, resource, mesh))
            .or_else(|| mesh.peer(record.get(Role::UpstreamLocalAddress)))
            .or_else(|| mesh.peer(record.get(Role::DownstreamRemoteAddress)))
            .or_else(|| mesh.at(record.get(Role::DownstreamLocalAddress), |port| port == OUTBOUND_LISTENER))
            .or(claimed);
        let at_host = || mesh.peer(record.get(Role::UpstreamHost));
        let called = match called {
            // A cluster that passes everything through says less than the address it chose.
            Some(service) if service.ends_with("Cluster") => at_host().or(Some(service)),
            Some(service) => Some(service),
            None => at_host(),
        };
        self.destination = called.or_else(|| {
            let peer =
                record.get(Role::UpstreamPeerSan).filter(|_| connected).and_then(|san| mesh.identity(san));
            peer.and_then(|named| named.service)
        });
        self.hold_identity(record, Role::UpstreamLocalSan, Role::UpstreamPeerSan, true, connected);
    }

    /// The callee's log: it knows the caller by its certificate. While that certificate is refused its
    /// name is only claimed, so the connection's own address comes first. The callee knows itself by its
    /// certificate if the inventory knows that one, its resource, the name it was reached by, or its address.
    fn read_server_log(&mut self, record: &Record<'_>, resource: &Resource, mesh: &mut Mesh) {
        let verified = record.get(Role::DownstreamFailure).is_none();
        let peer_san = record.get(Role::DownstreamPeerSan).or_else(|| record.get(Role::ClientId));
        let peer = peer_san.and_then(|san| mesh.identity(san));
        let remote = record.get(Role::DownstreamRemoteAddress).or_else(|| record.get(Role::ClientAddress));
        let trusted: &[_] =
            if verified { &[Standing::Known, Standing::Unknown, Standing::Foreign] } else { &[] };
        let (certain, claimed) = weigh(peer, trusted);
        self.source = certain.or_else(|| mesh.peer(remote)).or(claimed);

        let me = record.get(Role::DownstreamLocalSan).and_then(|san| mesh.identity(san));
        let (known, claimed) = weigh(me, &[Standing::Known]);
        self.destination = known
            .or_else(|| own(record, resource, mesh))
            .or_else(|| record.get(Role::Sni).and_then(|sni| mesh.host(sni_host(sni))))
            .or_else(|| mesh.peer(record.get(Role::DownstreamLocalAddress)))
            .or_else(|| record.get(Role::Authority).and_then(|host| mesh.host(host)))
            .or(claimed);
        self.hold_identity(record, Role::DownstreamPeerSan, Role::DownstreamLocalSan, verified, true);
        if self.source_identity.is_none() && record.get(Role::ClientId).is_some() {
            self.source_identity = Some(Role::ClientId);
            self.hold(Role::ClientId);
        }
    }

    fn hold(&mut self, role: Role) {
        self.held |= 1 << role as u32;
    }

    fn hold_identity(
        &mut self,
        record: &Record<'_>,
        source: Role,
        destination: Role,
        source_verified: bool,
        destination_verified: bool,
    ) {
        if source_verified && record.get(source).is_some() {
            self.source_identity = Some(source);
            self.hold(source);
        }
        if destination_verified && record.get(destination).is_some() {
            self.destination_identity = Some(destination);
            self.hold(destination);
        }
    }

    /// Attributes that repeat another one, or what the resource's column says.
    fn hold_duplicates(&mut self, record: &Record<'_>, resource: &Resource) {
        let name = record.get(Role::UpstreamClusterName);
        if name.is_some() && name == record.get(Role::UpstreamCluster) {
            self.hold(Role::UpstreamClusterName);
        }
        if resource.cluster.is_none() && record.get(Role::IstioCluster).is_some_and(is_name) {
            self.hold(Role::IstioCluster);
        }
    }
}

// Numbers of opentelemetry/proto/trace/v1/trace.proto.
const KIND_SERVER: i32 = 2;
const KIND_CLIENT: i32 = 3;
const KIND_PRODUCER: i32 = 4;

/// The caller of a server's span: its parent's, or the one that the access log of the same hop names.
fn caller(ids: &Ids, mesh: &mut Mesh) -> Option<Arc<str>> {
    let by_parent = ids.parent.and_then(|id| mesh.callers.recall(Half::Client, id));
    by_parent.or_else(|| ids.span.and_then(|id| mesh.callers.recall(Half::Server, id)))
}

/// Which side of a call the record tells of; `None` if it is not of a call between services.
///
/// A gateway's span is of kind SERVER but its cluster is `outbound|…`: it tells of the call onwards.
fn side(record: &Record<'_>, upstream: Option<&Upstream>) -> Option<Side> {
    let by_cluster = upstream.and_then(|u| u.side);
    match record.kind {
        Kind::Span(KIND_SERVER) => by_cluster.or(Some(Side::Server)),
        Kind::Span(KIND_CLIENT) => Some(Side::Client),
        Kind::Span(_) => None,
        Kind::Log => by_cluster.or_else(|| log_side(record)),
    }
}

/// The side of an access log whose cluster does not tell, for example of a connection that failed before any
/// request; `None` if it is not an access log.
fn log_side(record: &Record<'_>) -> Option<Side> {
    const ACCESS_LOG: [Role; 5] =
        [Role::UpstreamCluster, Role::Flags, Role::DownstreamFailure, Role::ClientId, Role::ClientAddress];
    if !ACCESS_LOG.into_iter().any(|role| record.has(role)) {
        return None;
    }
    let says = |role| record.get(role).is_some();
    let of_the_callee = says(Role::DownstreamFailure)
        || record.get(Role::Sni).is_some_and(|sni| sni.starts_with("outbound_."))
        || says(Role::DownstreamPeerSan)
        || says(Role::DownstreamLocalSan);
    let of_the_caller = says(Role::UpstreamLocalSan)
        || says(Role::UpstreamPeerSan)
        || record.get(Role::DownstreamLocalAddress).is_some_and(|a| a.ends_with(":15001"));
    Some(if of_the_caller && !of_the_callee { Side::Client } else { Side::Server })
}

fn signal(kind: Kind, side: Option<Side>) -> Signal {
    match (kind, side) {
        (Kind::Log, Some(Side::Client)) => Signal::LogClient,
        (Kind::Log, _) => Signal::LogServer,
        (Kind::Span(_), Some(Side::Client)) | (Kind::Span(KIND_PRODUCER), None) => Signal::SpanClient,
        (Kind::Span(_), _) => Signal::SpanServer,
    }
}

/// The workload that reports: by its resource, by what Istio adds to its spans, by the address in the
/// proxy's node id.
fn own(record: &Record<'_>, resource: &Resource, mesh: &Mesh) -> Option<Arc<str>> {
    resource.own.clone().or_else(|| {
        let (namespace, service) = (record.get(Role::IstioNamespace), record.get(Role::IstioService));
        let by_istio =
            namespace.zip(service).and_then(|(namespace, service)| service_name(namespace, service));
        by_istio.or_else(|| mesh.peer(record.get(Role::NodeId).and_then(|id| id.split('~').nth(1))))
    })
}

/// The callee of a client's span without a cluster: whom the caller says it dialled.
fn dialled(record: &Record<'_>, resource: &Resource, mesh: &Mesh) -> Option<Arc<str>> {
    if let Some((namespace, service)) = record.get(Role::PeerNamespace).zip(record.get(Role::PeerService)) {
        return service_name(namespace, service);
    }
    let url_host = record.get(Role::Url).and_then(url_host);
    let names = [
        record.get(Role::PeerService),
        record.get(Role::ServerAddress),
        record.get(Role::Authority),
        url_host,
    ];
    names.into_iter().flatten().find_map(|host| {
        if let Some((namespace, service)) = host.split_once('/') {
            return service_name(namespace, service);
        }
        Dialled { host, configured: false, namespace: resource.namespace.as_deref() }.service(&mesh.inventory)
    })
}

fn url_host(url: &str) -> Option<&str> {
    url.split_once("://")?.1.split(['/', '?', '#']).next()
}

/// The name if its standing is one of those trusted here, else as a claim, for when nothing better is known.
fn weigh(named: Option<Named>, trusted: &[Standing]) -> (Option<Arc<str>>, Option<Arc<str>>) {
    match named {
        Some(Named { service, standing }) if trusted.contains(&standing) => (service, None),
        Some(Named { service, .. }) => (None, service),
        None => (None, None),
    }
}
