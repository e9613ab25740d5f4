//! A finding as a Kafka record: CloudEvents 1.0 in binary mode.
//!
//! <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md>

use std::fmt;
use std::sync::Arc;

use lapwing_telemetry::{Exemplar, Finding};
use rdkafka::message::{Header, OwnedHeaders};

/// What the value of a record is. The caller knows the formats; this crate does not.
#[derive(Clone)]
pub struct Encoding {
    /// The value of a finding's record.
    pub encode: Encode,
    /// The address of the value's schema, for `ce_dataschema`.
    pub schema_url: Option<String>,
    /// Further headers, for example `ocsf-version`.
    pub headers: Vec<(String, String)>,
}

/// Makes the value of a finding's record.
pub type Encode = Arc<dyn Fn(&Finding) -> Vec<u8> + Send + Sync>;

impl Encoding {
    /// The native format: the finding as flat JSON.
    #[expect(
        clippy::missing_panics_doc,
        reason = "it cannot: a finding has string keys and no fallible parts"
    )]
    pub fn native() -> Encoding {
        let encode = |finding: &Finding| {
            serde_json::to_vec(finding).expect("a finding has string keys and no fallible parts")
        };
        Encoding { encode: Arc::new(encode), schema_url: None, headers: Vec::new() }
    }
}

impl fmt::Debug for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoding")
            .field("schema_url", &self.schema_url)
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}

/// The headers of a finding's record, in the order they are written.
pub(crate) fn headers(finding: &Finding, encoding: &Encoding) -> Vec<(String, String)> {
    let mut headers = vec![
        ("content-type".to_owned(), "application/json".to_owned()),
        ("ce_specversion".to_owned(), "1.0".to_owned()),
        ("ce_id".to_owned(), finding.event_id()),
        ("ce_source".to_owned(), format!("/lapwing/{}", finding.cluster)),
        ("ce_type".to_owned(), "lapwing.finding.v1".to_owned()),
        ("ce_subject".to_owned(), subject(finding)),
        ("ce_time".to_owned(), finding.revised_at().to_string()),
        // The extension `partitionkey` must say what the record's key is.
        ("ce_partitionkey".to_owned(), finding.id.clone()),
    ];
    if let Some(url) = &encoding.schema_url {
        headers.push(("ce_dataschema".to_owned(), url.clone()));
    }
    if let Some(context) = finding.exemplars.iter().find_map(Exemplar::traceparent) {
        headers.push(("traceparent".to_owned(), context));
    }
    headers.extend(encoding.headers.iter().cloned());
    headers
}

pub(crate) fn owned(headers: &[(String, String)]) -> OwnedHeaders {
    headers.iter().fold(OwnedHeaders::new_with_capacity(headers.len()), |all, (key, value)| {
        all.insert(Header { key, value: Some(value) })
    })
}

fn subject(finding: &Finding) -> String {
    match (&finding.source, &finding.destination) {
        (Some(source), Some(destination)) => format!("{source}->{destination}"),
        (Some(one), None) | (None, Some(one)) => one.clone(),
        (None, None) => finding.cluster.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_a_cloud_event() {
        let finding: Finding = serde_json::from_str(include_str!("../tests/finding.json")).unwrap();
        let encoding = Encoding {
            schema_url: Some("https://schema.example/finding".to_owned()),
            headers: vec![("ocsf-version".to_owned(), "1.8.0".to_owned())],
            ..Encoding::native()
        };
        let lines: Vec<String> =
            headers(&finding, &encoding).iter().map(|(k, v)| format!("{k}: {v}")).collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        content-type: application/json
        ce_specversion: 1.0
        ce_id: lw-9b1cfc32eb2fe6001d77a3be9fd87dc6.1
        ce_source: /lapwing/prod-eu1
        ce_type: lapwing.finding.v1
        ce_subject: shop/frontend->pay/ledger
        ce_time: 2026-11-02T10:15:00.000000Z
        ce_partitionkey: lw-9b1cfc32eb2fe6001d77a3be9fd87dc6
        ce_dataschema: https://schema.example/finding
        traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4731-00f067aa0ba902b1-01
        ocsf-version: 1.8.0
        ");
        let value = String::from_utf8((encoding.encode)(&finding)).unwrap();
        assert_eq!(value, include_str!("../tests/finding.json").trim_end());
    }
}
