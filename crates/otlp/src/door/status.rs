//! `google.rpc.Status` and `RetryInfo`, with which OTLP says why and when to retry.
//!
//! Sources: the OTLP specification, "Failures" of both transports; `google/rpc/status.proto` and
//! `google/rpc/error_details.proto`.

use std::time::Duration;

use prost::Message;

use super::refusal::Refused;

/// `google.rpc.Status`, protobuf-encoded, with a `RetryInfo` if the sender should retry.
pub(super) fn encode(refused: &Refused) -> Vec<u8> {
    let details = refused.retry_after.map(|delay| Any {
        type_url: RETRY_INFO_TYPE.to_owned(),
        value: RetryInfo { retry_delay: Some(delay.into()) }.encode_to_vec(),
    });
    Status {
        code: refused.refusal.grpc_code() as i32,
        message: refused.short_message().to_owned(),
        details: details.into_iter().collect(),
    }
    .encode_to_vec()
}

/// The same in ProtoJSON.
pub(super) fn encode_json(refused: &Refused) -> Vec<u8> {
    let mut status = serde_json::json!({
        "code": refused.refusal.grpc_code() as i32,
        "message": refused.short_message(),
    });
    if let Some(delay) = refused.retry_after {
        let delay = format!("{}.{:09}s", delay.as_secs(), delay.subsec_nanos());
        status["details"] = serde_json::json!([{ "@type": RETRY_INFO_TYPE, "retryDelay": delay }]);
    }
    status.to_string().into_bytes()
}

#[derive(Clone, PartialEq, prost::Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, prost::Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

impl From<Duration> for Delay {
    fn from(delay: Duration) -> Delay {
        Delay {
            seconds: i64::try_from(delay.as_secs()).unwrap_or(i64::MAX),
            nanos: delay.subsec_nanos() as i32,
        }
    }
}

const RETRY_INFO_TYPE: &str = "type.googleapis.com/google.rpc.RetryInfo";

#[cfg(test)]
mod tests {
    use super::super::refusal::Refusal;
    use super::*;

    #[test]
    fn both_forms_say_the_same() {
        let busy = Refused::busy(Refusal::QueueFull, "full", Duration::from_millis(1500));
        insta::assert_snapshot!(
            String::from_utf8(encode_json(&busy)).unwrap(),
            @r#"{"code":14,"details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"1.500000000s"}],"message":"full"}"#
        );
        let decoded = Status::decode(&encode(&busy)[..]).unwrap();
        assert_eq!((decoded.code, decoded.message.as_str()), (14, "full"));
        assert_eq!(decoded.details[0].type_url, RETRY_INFO_TYPE);
        let info = RetryInfo::decode(&decoded.details[0].value[..]).unwrap();
        assert_eq!(info.retry_delay, Some(Delay { seconds: 1, nanos: 500_000_000 }));

        let malformed = Refused::for_good(Refusal::Malformed, "bad");
        insta::assert_snapshot!(
            String::from_utf8(encode_json(&malformed)).unwrap(),
            @r#"{"code":3,"message":"bad"}"#
        );
        assert_eq!(Status::decode(&encode(&malformed)[..]).unwrap().details, vec![]);
    }
}
