//! What was asked and how it was answered.

use lapwing_telemetry::{Authn, Outcome};

use super::{bits, number};
use crate::attributes::Role;
use crate::names::Side;
use crate::path;
use crate::record::{Kind, Record};
use crate::verdict::{Answer, grpc_status, tls_failure};

/// What was asked for.
#[derive(Default)]
pub(super) struct Request {
    pub(super) has_method: bool,
    pub(super) path: String,
    pub(super) operation: String,
    pub(super) held: u64,
    /// The path of the record before.
    last_path: String,
}

impl Request {
    /// What it is read from.
    const ROLES: u64 = bits(&[Role::Method, Role::RpcService, Role::RpcMethod]) | Request::TARGET;
    /// What the path is read from.
    const TARGET: u64 = bits(&[Role::Path, Role::Url]);

    pub(super) fn clear(&mut self) {
        self.path.clear();
        self.operation.clear();
        (self.has_method, self.held) = (false, 0);
    }

    /// Reads method, path template and operation, if they may be others than those of the record before, as
    /// far as the roles in `changed` are those whose values are. Returns whether anything is another.
    pub(super) fn read(&mut self, record: &Record<'_>, changed: u64) -> bool {
        let changed = changed & Request::ROLES;
        if changed & Request::TARGET != 0 {
            self.last_path.clear();
            if let Some(target) = record.get(Role::Path).or_else(|| record.get(Role::Url)) {
                path::template(target, &mut self.last_path);
            }
            std::mem::swap(&mut self.path, &mut self.last_path);
        }
        // Most targets differ in what the template leaves out.
        if changed & !Request::TARGET == 0 && (changed == 0 || self.path == self.last_path) {
            return false;
        }
        self.operation.clear();
        (self.has_method, self.held) = (false, 0);
        let method = record.get(Role::Method).filter(|m| is_method(m));
        if method.is_some() {
            self.has_method = true;
            self.hold(Role::Method);
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
        true
    }

    fn hold(&mut self, role: Role) {
        self.held |= 1 << role as u32;
    }
}

/// Sizes of the bodies.
#[derive(Default)]
pub(super) struct Sizes {
    pub(super) bytes_in: Option<i64>,
    pub(super) bytes_out: Option<i64>,
    pub(super) held: u64,
}

impl Sizes {
    pub(super) fn read(record: &Record<'_>) -> Sizes {
        let (bytes_in, bytes_out) = (number(record.get(Role::BytesIn)), number(record.get(Role::BytesOut)));
        let held = u64::from(bytes_in.is_some()) << Role::BytesIn as u32
            | u64::from(bytes_out.is_some()) << Role::BytesOut as u32;
        Sizes { bytes_in, bytes_out, held }
    }
}

/// How it was answered.
pub(super) struct Response {
    pub(super) status: Option<i16>,
    pub(super) outcome: Outcome,
    pub(super) authn: Option<&'static str>,
    pub(super) authz: String,
    pub(super) tls: String,
    pub(super) held: u64,
}

impl Default for Response {
    fn default() -> Response {
        let (authz, tls) = (String::new(), String::new());
        Response { status: None, outcome: Outcome::Unknown, authn: None, authz, tls, held: 0 }
    }
}

// Numbers of opentelemetry/proto/trace/v1/trace.proto.
const STATUS_OK: i32 = 1;
const STATUS_ERROR: i32 = 2;

impl Response {
    /// What it is read from, beside the record's kind and status and the side that it tells of.
    pub(super) const ROLES: u64 = bits(&[
        Role::Status,
        Role::GrpcStatus,
        Role::Flags,
        Role::Details,
        Role::UpstreamFailure,
        Role::DownstreamFailure,
        Role::DryRunDenyResult,
        Role::DryRunDenyName,
        Role::DryRunAllowResult,
        Role::DryRunAllowName,
        Role::UpstreamTlsVersion,
        Role::DownstreamTlsVersion,
        Role::TlsProtocolVersion,
    ]);

    pub(super) fn clear(&mut self) {
        self.authz.clear();
        self.tls.clear();
        (self.status, self.outcome, self.authn, self.held) = (None, Outcome::Unknown, None, 0);
    }

    fn hold(&mut self, role: Role) {
        self.held |= 1 << role as u32;
    }

    /// Status, outcome, and what was decided about token, policy and TLS.
    /// It was cleared before.
    pub(super) fn read(&mut self, record: &Record<'_>, side: Side) {
        self.status =
            record.get(Role::Status).and_then(|s| s.parse().ok()).filter(|s| (0..1_000).contains(s));
        if self.status.is_some() {
            self.hold(Role::Status);
        }
        let details = record.get(Role::Details);
        let is_callers = side == Side::Client;
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
        self.authn = answer.authn().map(Authn::as_str);
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
}

/// An HTTP method as registered ones look (<https://www.iana.org/assignments/http-methods>).
fn is_method(text: &str) -> bool {
    text.len() <= 20 && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'-' || b == b'_')
}

fn is_rpc_name(text: &str) -> bool {
    text.len() <= 200
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'/' | b'$'))
}
