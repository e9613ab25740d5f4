//! ECS documents for Elasticsearch and OpenSearch: the `_bulk` API.
//!
//! <https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-bulk>. A finding's revision is
//! created under its own id, so one that is sent again is answered with 409 and counts as there: effectively
//! once. Status 200 says nothing by itself; each document has a status of its own.

use http::header::{ACCEPT, HeaderValue};
use lapwing_telemetry::{Fate, Finding};
use serde::Deserialize;
use serde_json::json;

use crate::http::{Answer, Dialect, HttpSettings, HttpSink, Request, Step, Verdict};
use crate::{Context, ecs};

/// What is particular to the `_bulk` API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BulkSettings {
    /// Index or data stream, for example `logs-lapwing.finding-default`. Data streams take only `create`,
    /// which is what is sent.
    pub index: String,
    /// An ingest pipeline to run on each document.
    pub pipeline: Option<String>,
}

/// Makes a sink that creates one ECS document for each revision.
///
/// Durable means: the primary shard and the replicas that are in sync have it (`index.translog.durability`
/// decides what a shard calls durable).
pub fn bulk_sink(http: HttpSettings, settings: BulkSettings, context: Context) -> HttpSink {
    let http = HttpSettings { url: http.url.ending("/_bulk"), ..http };
    HttpSink::with(http, Box::new(Bulk { settings, context }))
}

struct Bulk {
    settings: BulkSettings,
    context: Context,
}

/// The answer, without what `filter_path` leaves out: reasons quote the document.
#[derive(Deserialize)]
struct BulkAnswer {
    #[serde(default)]
    errors: bool,
    #[serde(default)]
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    create: Created,
}

#[derive(Deserialize)]
struct Created {
    status: u16,
    #[serde(default)]
    error: Option<Cause>,
}

#[derive(Deserialize)]
struct Cause {
    #[serde(default, rename = "type")]
    kind: String,
}

impl Dialect for Bulk {
    fn part(&self, finding: &Finding) -> Result<Vec<u8>, String> {
        let action = json!({ "create": { "_index": self.settings.index, "_id": finding.event_id() } });
        Ok(format!("{action}\n{}\n", ecs(finding, &self.context)).into_bytes())
    }

    fn request(&mut self, _findings: &[Finding], parts: &[Vec<u8>]) -> Request {
        let filter = "filter_path=errors,items.create.status,items.create.error.type";
        let pipeline = self.settings.pipeline.iter().map(|name| format!("&pipeline={name}"));
        let query = std::iter::once(filter.to_owned()).chain(pipeline).collect();
        let mut request = Request { query, ..Request::new("application/x-ndjson", parts.concat()) };
        request.headers.push((ACCEPT, HeaderValue::from_static("application/json")));
        request
    }

    fn judge(&mut self, answer: &Answer, count: usize) -> Step {
        let Ok(body) = serde_json::from_slice::<BulkAnswer>(&answer.body) else {
            return Step::Known(Verdict::Busy("an answer that is not one of `_bulk`".to_owned()));
        };
        if body.items.len() != count {
            let reason = format!("{} answers for {count} documents", body.items.len());
            return Step::Known(Verdict::Busy(reason));
        }
        if !body.errors {
            return Step::Known(Verdict::Taken);
        }
        let mut reason = String::new();
        let mut fate = |created: &Created| {
            let kind = created.error.as_ref().map_or("no reason", |error| error.kind.as_str());
            let said = format!("status {} ({kind})", created.status);
            let fate = match created.status {
                // 409: a document of that id is there, from an attempt whose answer was lost.
                200..=299 | 409 => Fate::Taken,
                401 | 403 | 404 => Fate::Refused,
                429 | 500..=599 => Fate::Busy,
                _ => return Fate::Rejected(said),
            };
            if fate != Fate::Taken {
                reason = format!("a document got {said}");
            }
            fate
        };
        let each = body.items.iter().map(|item| fate(&item.create)).collect();
        Step::Known(Verdict::Each(each, reason))
    }

    fn answers_one_by_one(&self) -> bool {
        true
    }
}
