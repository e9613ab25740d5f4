//! What each attribute means that lapwing understands, once, with its source.
//!
//! Sources, by the letter that ends each description:
//! - **S**: OpenTelemetry semantic conventions, <https://opentelemetry.io/docs/specs/semconv/registry/attributes/>,
//!   with the names they had before 1.23.
//! - **E**: Envoy's span tags and access-log operators, <https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage>
//!   and <https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/observability/tracing>.
//! - **I**: Istio's access-log labels and span tags, <https://istio.io/latest/docs/tasks/observability/logs/access-log/>
//!   and <https://istio.io/latest/docs/tasks/security/authorization/authz-dry-run/>. Consul's JSON access log has the same names.
//! - **L**: Linkerd's access log (`linkerd/http/access-log/src/lib.rs` of linkerd2-proxy) and its span labels.
//!
//! An attribute with no role is kept in the map under its own name. One with a role is kept too, unless a
//! column holds all that it says. Envoy writes `-` for what it does not know; such attributes are not kept.

macro_rules! roles {
    ($(#[doc = $doc:literal] $role:ident = $($name:literal)|+;)+) => {
        /// What an attribute tells of a call.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Role {
            /// Nothing that lapwing knows.
            Other,
            $(#[doc = $doc] $role,)+
        }

        /// Every known attribute name with its role and meaning, in order of declaration.
        pub const ATTRIBUTES: &[(&str, Role, &str)] = &[$($(($name, Role::$role, $doc),)+)+];
    };
}

roles! {
    /// HTTP request method. (S, E, I, L)
    Method = "http.request.method" | "http.method" | "method";
    /// Path with the query; Envoy logs the path before any rewrite. (S, E, I, L)
    Path = "path" | "url.path" | "http.target" | "http.path" | "grpc.path";
    /// Whole URL, or what the request line held. (S, E, L)
    Url = "http.url" | "url.full" | "uri";
    /// HTTP status; 0 if no answer was sent. (S, E, I, L)
    Status = "http.status_code" | "http.response.status_code" | "response_code" | "status";
    /// gRPC status, as number or name. (S, E)
    GrpcStatus = "grpc.status_code" | "rpc.grpc.status_code" | "rpc.response.status_code" | "grpc_status";
    /// RPC system, for example `grpc`. (S)
    RpcSystem = "rpc.system" | "rpc.system.name";
    /// Full name of the RPC service. (S)
    RpcService = "rpc.service";
    /// Name of the RPC method, in newer conventions with the service before it. (S)
    RpcMethod = "rpc.method";
    /// Envoy's response flags, for example `UF,URX`. (E, I)
    Flags = "response_flags";
    /// Why the response has its code, for example `via_upstream` or `jwt_authn_access_denied{…}`. (E, I)
    Details = "response_code_details";
    /// Body bytes from source to destination. (S, E, I, L)
    BytesIn = "request_size" | "bytes_received" | "http.request.body.size" | "http.request_content_length" | "request_bytes";
    /// Body bytes from destination to source. (S, E, I, L)
    BytesOut = "response_size" | "bytes_sent" | "http.response.body.size" | "http.response_content_length" | "response_bytes";
    /// Milliseconds from the request's first byte to the response's last. (E, I)
    DurationMs = "duration";
    /// The same in nanoseconds. (L)
    DurationNs = "total_ns";
    /// RFC 3339 time at which the request began. (E, I, L)
    StartTime = "start_time" | "timestamp";
    /// Envoy's cluster: `outbound|port|subset|host` on the caller's side, `inbound|port||` on the callee's. (E, I)
    UpstreamCluster = "upstream_cluster";
    /// The same under the name that newer Envoys add. (E)
    UpstreamClusterName = "upstream_cluster.name";
    /// Address of the host that was chosen. (E, I)
    UpstreamHost = "upstream_host";
    /// SNI; in Istio `outbound_.port_.subset_.host`. (E, I)
    Sni = "requested_server_name";
    /// Host header of the request. (E, I, L)
    Authority = "authority" | "http.host" | "http.authority" | "host";
    /// Host name or address that the caller dialled. (S)
    ServerAddress = "server.address" | "net.peer.name";
    /// Name of the called service, by the caller's knowledge. (S)
    PeerService = "peer.service" | "service.peer.name";
    /// Namespace of the called service. (S)
    PeerNamespace = "service.peer.namespace";
    /// Caller's certificate, URI SAN, as the callee's proxy saw it. (E)
    DownstreamPeerSan = "downstream_peer_uri_san";
    /// Callee's own certificate, URI SAN, on its own record. (E)
    DownstreamLocalSan = "downstream_local_uri_san";
    /// Callee's certificate, URI SAN, as the caller's proxy saw it. (E)
    UpstreamPeerSan = "upstream_peer_uri_san";
    /// Caller's own certificate, URI SAN, on its own record. (E)
    UpstreamLocalSan = "upstream_local_uri_san";
    /// Address at which the proxy was reached. (E, I)
    DownstreamLocalAddress = "downstream_local_address";
    /// Address the request came from; the end client's, with port 0, where X-Forwarded-For is trusted. (E, I)
    DownstreamRemoteAddress = "downstream_remote_address";
    /// Local address of the connection to the chosen host. (E, I)
    UpstreamLocalAddress = "upstream_local_address";
    /// TLS version towards the caller; `-` if the connection was plain. (E)
    DownstreamTlsVersion = "downstream_tls_version";
    /// TLS version towards the callee. (E)
    UpstreamTlsVersion = "upstream_tls_version";
    /// TLS version, bare number. (S)
    TlsProtocolVersion = "tls.protocol.version";
    /// Why the caller's connection failed, for example `TLS_error:|…CERTIFICATE_VERIFY_FAILED…`. (E)
    DownstreamFailure = "downstream_transport_failure_reason";
    /// Why the connection to the callee failed. (E, I)
    UpstreamFailure = "upstream_transport_failure_reason";
    /// W3C trace context header. (<https://www.w3.org/TR/trace-context/>)
    Traceparent = "traceparent";
    /// Name of the cluster that the proxy runs in. (I)
    IstioCluster = "istio.cluster_id";
    /// Namespace of the proxy's workload. (I)
    IstioNamespace = "istio.namespace";
    /// Service name of the proxy's workload. (I)
    IstioService = "istio.canonical_service";
    /// `sidecar~ip~pod.namespace~domain` of the reporting proxy. (I)
    NodeId = "node_id";
    /// What a deny policy on trial would have done. (I)
    DryRunDenyResult = "istio.authorization.dry_run.deny_policy.result";
    /// Which deny policy on trial. (I)
    DryRunDenyName = "istio.authorization.dry_run.deny_policy.name";
    /// What an allow policy on trial would have done. (I)
    DryRunAllowResult = "istio.authorization.dry_run.allow_policy.result";
    /// Which allow policy on trial. (I)
    DryRunAllowName = "istio.authorization.dry_run.allow_policy.name";
    /// Caller's verified name, or `-`. (L)
    ClientId = "client.id";
    /// Caller's socket address. (L)
    ClientAddress = "client.addr";
}

/// How many roles there are, [`Role::Other`] included.
pub(crate) const ROLES: usize = Role::ClientAddress as usize + 1;
const _: () = assert!(ROLES <= 64, "a record keeps its roles in the bits of a u64");

/// The role of the attribute `name`.
pub fn role_of(name: &str) -> Role {
    let name = name.as_bytes();
    if name.is_empty() {
        return Role::Other;
    }
    let mut slot = hash(name);
    while TABLE[slot] != EMPTY {
        let (known, role, _) = ATTRIBUTES[TABLE[slot] as usize];
        if known.as_bytes() == name {
            return role;
        }
        slot = (slot + 1) % SLOTS;
    }
    Role::Other
}

/// Four times the names, so that most names that are not known meet an empty slot at once.
const SLOTS: usize = 256;
const EMPTY: u8 = u8::MAX;

// An open-addressed table, made at compile time.
static TABLE: [u8; SLOTS] = {
    assert!(ATTRIBUTES.len() < SLOTS / 2 && ATTRIBUTES.len() < EMPTY as usize);
    let (mut table, mut i) = ([EMPTY; SLOTS], 0);
    while i < ATTRIBUTES.len() {
        let mut slot = hash(ATTRIBUTES[i].0.as_bytes());
        while table[slot] != EMPTY {
            slot = (slot + 1) % SLOTS;
        }
        table[slot] = i as u8;
        i += 1;
    }
    table
};

/// Mixes the length and three characters, of a name that is not empty.
const fn hash(name: &[u8]) -> usize {
    let n = name.len();
    let mix = n * 31 + name[0] as usize * 7 + name[n / 2] as usize * 61 + name[n - 1] as usize * 131;
    (mix ^ mix >> 8) % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_name_has_one_role_and_others_have_none() {
        for (name, role, meaning) in ATTRIBUTES {
            assert_eq!(role_of(name), *role, "{name}");
            assert!(meaning.contains('('), "{name} does not say its source");
            assert_eq!(role_of(&format!("{name}x")), Role::Other);
            assert_eq!(ATTRIBUTES.iter().filter(|(n, ..)| n == name).count(), 1, "{name} is listed twice");
        }
        assert_eq!(role_of(""), Role::Other);
        assert_eq!(role_of("user_agent"), Role::Other);
    }
}
