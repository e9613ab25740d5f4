//! Works out from a record what call it tells of.
//!
//! The rules, and why they are so, are in the module documentation of [`crate`] and at each function.

use std::sync::Arc;

use lapwing_telemetry::{Call, Entry, EventTime, Key, Outcome, Signal};

use crate::attributes::Role;
use crate::context::Resource;
use crate::inventory::{Named, Standing};
use crate::known_names::NameTable;
use crate::mesh::{Half, Mesh};
use crate::names::{Dialled, Side, Upstream, is_name, service_name, sni_host};
use crate::path;
use crate::record::{Kind, Record};
use crate::verdict::{Answer, grpc_status, tls_failure};

/// What a record says of its call; reused from record to record.
pub(crate) struct Derived {
    pub(crate) signal: Signal,
    /// `None` if the record is not of a call between services.
    pub(crate) side: Option<Side>,
    started_at: EventTime,
    pub(crate) duration_ns: Option<i64>,
    pub(crate) source: Option<Arc<str>>,
    pub(crate) destination: Option<Arc<str>>,
    source_identity: Option<Role>,
    destination_identity: Option<Role>,
    has_method: bool,
    path: String,
    operation: String,
    status: Option<i16>,
    outcome: Outcome,
    bytes_in: Option<i64>,
    bytes_out: Option<i64>,
    authn: Option<&'static str>,
    authz: String,
    tls: String,
    ids: Ids,
    /// Roles whose first attribute is held by a column whole, as bits.
    held: u64,
}

/// W3C ids, `None` where absent, of a wrong length, or all zero.
#[derive(Clone, Copy, Default)]
struct Ids {
    trace: Option<[u8; 16]>,
    span: Option<[u8; 8]>,
    parent: Option<[u8; 8]>,
}

impl Default for Derived {
    fn default() -> Derived {
        Derived {
            signal: Signal::LogServer,
            side: None,
            started_at: EventTime::MIN,
            duration_ns: None,
            source: None,
            destination: None,
            source_identity: None,
            destination_identity: None,
            has_method: false,
            path: String::new(),
            operation: String::new(),
            status: None,
            outcome: Outcome::Unknown,
            bytes_in: None,
            bytes_out: None,
            authn: None,
            authz: String::new(),
            tls: String::new(),
            ids: Ids::default(),
            held: 0,
        }
    }
}

impl Derived {
    /// Reads `record`, of `resource`, into this. Takes and gives callers in `mesh`.
    pub(crate) fn read(&mut self, record: &Record<'_>, resource: &Resource, mesh: &mut Mesh) {
        let (mut path, mut operation) = (std::mem::take(&mut self.path), std::mem::take(&mut self.operation));
        let (mut authz, mut tls) = (std::mem::take(&mut self.authz), std::mem::take(&mut self.tls));
        [&mut path, &mut operation, &mut authz, &mut tls].into_iter().for_each(String::clear);
        *self = Derived { path, operation, authz, tls, ..Derived::default() };

        self.read_ids(record);
        self.read_times(record);
        let upstream = record.get(Role::UpstreamCluster).map(|cluster| mesh.upstream(cluster));
        self.side = side(record, upstream.as_ref());
        self.signal = signal(record.kind, self.side);
        self.read_pair(record, resource, upstream, mesh);
        if self.side.is_some() {
            self.read_request(record);
            self.read_answer(record);
        }
        self.hold_duplicates(record, resource);
    }

    /// The row, borrowed from here and from the record that was read.
    pub(crate) fn call<'r>(
        &'r self,
        record: &'r Record<'_>,
        received_at: EventTime,
        cluster: &'r str,
    ) -> Call<'r> {
        let some = |text: &'r str| (!text.is_empty()).then_some(text);
        Call {
            received_at,
            started_at: self.started_at,
            duration_ns: self.duration_ns,
            signal: self.signal,
            cluster,
            source: self.source.as_deref(),
            destination: self.destination.as_deref(),
            source_identity: self.source_identity.and_then(|role| record.get(role)),
            destination_identity: self.destination_identity.and_then(|role| record.get(role)),
            operation: some(&self.operation),
            method: if self.has_method { record.get(Role::Method) } else { None },
            path: some(&self.path),
            status: self.status,
            outcome: self.outcome,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            authn: self.authn,
            authz: some(&self.authz),
            tls: some(&self.tls),
            trace_id: self.ids.trace.as_ref(),
            span_id: self.ids.span.as_ref(),
            parent_span_id: self.ids.parent.as_ref(),
            flags: if self.side.is_some() { record.get(Role::Flags) } else { None },
        }
    }

    /// The attributes that no column holds, in order of arrival. Of a proxy's record, those that say
    /// nothing (`-`) are left out.
    pub(crate) fn attributes<'r>(
        &self,
        record: &'r Record<'_>,
        names: &'r NameTable,
    ) -> impl Iterator<Item = Entry<'r>> {
        let (held, of_a_proxy, arena) =
            (self.held_places(record), self.side.is_some(), record.arena.as_str());
        record.attributes.iter().enumerate().filter_map(move |(place, attribute)| {
            let is_held = place < 64 && held >> place & 1 == 1;
            let value = attribute.value.get(arena);
            let says_nothing = of_a_proxy && value == "-";
            if is_held || says_nothing {
                return None;
            }
            let key = names.get(attribute.id).map_or_else(|| Key::Text(attribute.key.get(arena)), Key::Known);
            Some(Entry { key, value, known_as: attribute.known_as })
        })
    }

    /// Places of the attributes that are held by a column whole, as bits. An attribute beyond the 64th is
    /// kept even if one is.
    fn held_places(&self, record: &Record<'_>) -> u64 {
        let (mut roles, mut places) = (self.held, 0_u64);
        while roles != 0 {
            if let Some(place @ ..64) = record.place(roles.trailing_zeros() as usize) {
                places |= 1 << place;
            }
            roles &= roles - 1;
        }
        places
    }

    pub(crate) fn started_at(&self) -> EventTime {
        self.started_at
    }

    fn hold(&mut self, role: Role) {
        self.held |= 1 << role as u32;
    }

    /// Ids from the record's own fields, else from its `traceparent`.
    fn read_ids(&mut self, record: &Record<'_>) {
        let mut ids = Ids {
            trace: record.trace_id.try_into().ok().filter(|id| *id != [0; 16]),
            span: record.span_id.try_into().ok().filter(|id| *id != [0; 8]),
            parent: record.parent_span_id.try_into().ok().filter(|id| *id != [0; 8]),
        };
        if let Some((trace, span)) = record.get(Role::Traceparent).and_then(crate::traceparent::read) {
            ids.trace = ids.trace.or(Some(trace));
            ids.span = ids.span.or(Some(span));
            if (ids.trace, ids.span) == (Some(trace), Some(span)) {
                self.hold(Role::Traceparent);
            }
        }
        self.ids = ids;
    }

    /// When the call began and how long it took. A log record's own time is when the request began; one
    /// without a time may say it in an attribute; the last resort is when it was collected.
    fn read_times(&mut self, record: &Record<'_>) {
        self.started_at = EventTime::from_unix_nanos(record.start_ns);
        match record.kind {
            Kind::Span(_) => {
                let took = record.end_ns.checked_sub(record.start_ns).filter(|_| record.end_ns > 0);
                // One that does not fit ends far in the future, and the record is rejected for it.
                self.duration_ns = took.map(|ns| i64::try_from(ns).unwrap_or(i64::MAX));
            }
            Kind::Log => {
                if record.start_ns > 0 {
                    self.hold(Role::StartTime);
                } else {
                    let written = record.get(Role::StartTime).and_then(EventTime::parse_rfc3339);
                    self.started_at = written.unwrap_or(EventTime::from_unix_nanos(record.observed_ns));
                }
                let nanos = |role, unit: i64| number(record.get(role)).map(|n| n.saturating_mul(unit));
                if let Some(ns) = nanos(Role::DurationNs, 1) {
                    self.duration_ns = Some(ns);
                    self.hold(Role::DurationNs);
                } else if let Some(ns) = nanos(Role::DurationMs, 1_000_000) {
                    self.duration_ns = Some(ns);
                    self.hold(Role::DurationMs);
                }
            }
        }
    }

    fn read_pair(
        &mut self,
        record: &Record<'_>,
        resource: &Resource,
        upstream: Option<Upstream>,
        mesh: &mut Mesh,
    ) {
        let called = upstream.and_then(|u| u.service);
        match (self.side, record.kind) {
            (None, _) => self.source = own(record, resource, mesh),
            (Some(Side::Client), Kind::Span(_)) => {
                self.source = own(record, resource, mesh);
                self.destination = called.or_else(|| dialled(record, resource, mesh));
            }
            (Some(Side::Server), Kind::Span(_)) => {
                let by_parent = self.ids.parent.and_then(|id| mesh.callers.recall(Half::Client, id));
                let by_log = || self.ids.span.and_then(|id| mesh.callers.recall(Half::Server, id));
                self.source = by_parent.or_else(by_log);
                self.destination = own(record, resource, mesh);
            }
            (Some(Side::Client), Kind::Log) => self.read_client_log(record, resource, called, mesh),
            (Some(Side::Server), Kind::Log) => self.read_server_log(record, resource, mesh),
        }
        let half = match (self.side, record.kind) {
            (Some(Side::Client), _) => Half::Client,
            (Some(Side::Server), Kind::Log) => Half::Server,
            _ => return,
        };
        if let (Some(id), Some(source)) = (self.ids.span, &self.source) {
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

    /// Method, path template, operation, sizes.
    fn read_request(&mut self, record: &Record<'_>) {
        let method = record.get(Role::Method).filter(|m| is_method(m));
        if method.is_some() {
            self.has_method = true;
            self.hold(Role::Method);
        }
        if let Some(target) = record.get(Role::Path).or_else(|| record.get(Role::Url)) {
            path::template(target, &mut self.path);
        }
        let rpc_name = |role| record.get(role).filter(|name| is_rpc_name(name));
        match (rpc_name(Role::RpcService), rpc_name(Role::RpcMethod)) {
            (Some(service), Some(method)) if !method.contains('/') => {
                [service, "/", method].into_iter().for_each(|part| self.operation.push_str(part));
            }
            (_, Some(method)) if method.contains('/') => self.operation.push_str(method),
            // gRPC is always POST.
            _ if method == Some("POST") && path::is_rpc(&self.path) => {
                self.operation.push_str(&self.path[1..]);
            }
            _ => {
                let parts = [
                    method.unwrap_or(""),
                    if method.is_some() && !self.path.is_empty() { " " } else { "" },
                    &self.path,
                ];
                parts.into_iter().for_each(|part| self.operation.push_str(part));
            }
        }
        self.bytes_in = number(record.get(Role::BytesIn));
        self.bytes_out = number(record.get(Role::BytesOut));
        if self.bytes_in.is_some() {
            self.hold(Role::BytesIn);
        }
        if self.bytes_out.is_some() {
            self.hold(Role::BytesOut);
        }
    }

    /// Status, outcome, and what was decided about token, policy and TLS.
    fn read_answer(&mut self, record: &Record<'_>) {
        self.status =
            record.get(Role::Status).and_then(|s| s.parse().ok()).filter(|s| (0..1_000).contains(s));
        if self.status.is_some() {
            self.hold(Role::Status);
        }
        let details = record.get(Role::Details);
        let is_callers = self.side == Some(Side::Client);
        let failure = if is_callers {
            // Spans and older logs have the reason in the details only.
            record.get(Role::UpstreamFailure).or(details)
        } else {
            record.get(Role::DownstreamFailure)
        };
        let tls_failed = failure.and_then(tls_failure);
        let answer = Answer {
            status: self.status,
            grpc: record.get(Role::GrpcStatus).and_then(grpc_status),
            flags: record.get(Role::Flags),
            details,
            tls_failed: tls_failed.is_some(),
            span_error: match (record.kind, record.status_code) {
                (Kind::Span(_), STATUS_ERROR) => Some(true),
                (Kind::Span(_), STATUS_OK) => Some(false),
                _ => None,
            },
            is_callers,
        };
        self.outcome = answer.outcome();
        self.authn = answer.authn().map(lapwing_telemetry::Authn::as_str);
        self.read_policy(record, &answer);
        self.hold(Role::Flags);
        match tls_failed {
            Some(failed) => self.tls.push_str(failed),
            None => self.read_tls_version(record, is_callers),
        }
    }

    /// A denial, or what a policy on trial would have done
    /// (<https://istio.io/latest/docs/tasks/security/authorization/authz-dry-run/>).
    fn read_policy(&mut self, record: &Record<'_>, answer: &Answer<'_>) {
        let dry_run = || {
            let trials = [
                (Role::DryRunDenyResult, Role::DryRunDenyName),
                (Role::DryRunAllowResult, Role::DryRunAllowName),
            ];
            trials
                .into_iter()
                .find(|(result, _)| record.get(*result) == Some("denied"))
                .map(|(_, name)| record.get(name))
        };
        let (word, policy) = match answer.policy_denial() {
            Some(policy) => ("denied", policy),
            None => match dry_run() {
                Some(policy) => ("dry_run_denied", policy),
                None => return,
            },
        };
        self.authz.push_str(word);
        if let Some(policy) = policy {
            self.authz.push(':');
            self.authz.push_str(policy);
        }
    }

    /// The version, `plaintext`, or nothing. Only the callee's record can say that there was no TLS: in the
    /// caller's the downstream side is its own application.
    fn read_tls_version(&mut self, record: &Record<'_>, is_callers: bool) {
        let role = if is_callers { Role::UpstreamTlsVersion } else { Role::DownstreamTlsVersion };
        if let Some(version) = record.get(role) {
            self.tls.push_str(version);
            self.hold(role);
        } else if !is_callers && record.has(Role::DownstreamTlsVersion) {
            self.tls.push_str("plaintext");
        } else if let Some(version) =
            record.get(Role::TlsProtocolVersion).filter(|v| v.starts_with(|c: char| c.is_ascii_digit()))
        {
            self.tls.push_str("TLSv");
            self.tls.push_str(version);
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

/// The cluster that a record belongs to: its resource's, the one that Istio names, the inventory's, or the
/// configured default.
pub(crate) fn cluster<'r>(
    record: &'r Record<'_>,
    resource: &'r Resource,
    mesh: &'r Mesh,
    default: &'r str,
) -> &'r str {
    let istio = || record.get(Role::IstioCluster).filter(|name| is_name(name));
    let named = resource.cluster.as_deref().or_else(istio);
    named.or(mesh.inventory.cluster.as_deref().filter(|name| is_name(name))).unwrap_or(default)
}

// Numbers of opentelemetry/proto/trace/v1/trace.proto.
const KIND_SERVER: i32 = 2;
const KIND_CLIENT: i32 = 3;
const KIND_PRODUCER: i32 = 4;
const STATUS_OK: i32 = 1;
const STATUS_ERROR: i32 = 2;

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

/// A whole number that is not negative.
fn number(text: Option<&str>) -> Option<i64> {
    text?.parse().ok().filter(|n| *n >= 0)
}

/// An HTTP method as registered ones look (<https://www.iana.org/assignments/http-methods>).
fn is_method(text: &str) -> bool {
    text.len() <= 20 && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'-' || b == b'_')
}

fn is_rpc_name(text: &str) -> bool {
    text.len() <= 200
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'/' | b'$'))
}
