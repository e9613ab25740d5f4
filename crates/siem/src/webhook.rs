//! A request of one's own for each finding: signed, and in any JSON shape.
//!
//! Signed as in Standard Webhooks (<https://www.standardwebhooks.com>, version 1): `webhook-signature` is
//! HMAC-SHA256 over `<webhook-id>.<webhook-timestamp>.<body>`. The headers are also those of CloudEvents 1.0 in
//! binary mode (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md>).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use http::header::{HeaderName, HeaderValue};
use lapwing_telemetry::{Clock, Finding};
use minijinja::{Environment, UndefinedBehavior, context};
use serde_json::Value;
use sha2::Sha256;

use crate::http::{Answer, Dialect, HttpSettings, HttpSink, Request, Step, Verdict};
use crate::kinds::facts;
use crate::secret::Secret;
use crate::{Context, Format, scales, subject};

/// What is particular to a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookSettings {
    /// The body, where there is no template.
    pub format: Format,
    /// The key that bodies are signed with; `whsec_` and base64, or any text.
    pub signing_key: Option<Secret>,
    /// A template of the body, see [`Template`].
    pub template: Option<Template>,
}

/// Makes a sink that posts one request for each revision.
///
/// Durable means: the receiver has answered with 2xx. `webhook-id` is the same when a revision is sent again.
pub fn webhook_sink(
    http: HttpSettings,
    settings: WebhookSettings,
    context: Context,
    clock: Clock,
) -> HttpSink {
    HttpSink::with(http, Box::new(Webhook { settings, context, clock }))
}

/// A template that makes the JSON of a body, in the language of Jinja.
///
/// It sees `finding` (the native format), `title`, `severity` (as `finding.severity`), `risk_score`, `event_id`,
/// `first_steps` and `runbook`. Values are written with the filter `tojson`, so that no text can break out of
/// its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(String);

impl Template {
    /// Reads a template and tries it on a finding.
    ///
    /// # Errors
    /// Says what is wrong with it, with the line.
    pub fn parse(text: &str) -> Result<Template, String> {
        let sample = serde_json::from_str(SAMPLE).map_err(|error| error.to_string())?;
        let template = Template(text.to_owned());
        let nobody = Context {
            product_version: String::new(),
            hostname: String::new(),
            process_id: 0,
            runbook_url: None,
        };
        template.render(&sample, &nobody)?;
        Ok(template)
    }

    fn render(&self, finding: &Finding, context: &Context) -> Result<String, String> {
        let mut environment = Environment::empty();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.add_filter("tojson", minijinja::filters::tojson);
        let facts = facts(finding.kind);
        let values = context! {
            finding => minijinja::value::Serde(finding),
            title => format!("{}: {}", facts.title, subject(finding)),
            event_id => finding.event_id(),
            risk_score => scales(finding.severity).risk_score,
            first_steps => facts.first_steps,
            runbook => context.runbook(finding),
        };
        let said = |error: minijinja::Error| {
            let line = error.line().map_or_else(String::new, |line| format!("line {line}: "));
            // Its own text may quote a value.
            format!("{line}{}", error.kind())
        };
        let text = environment.render_str(&self.0, values).map_err(said)?;
        match serde_json::from_str::<Value>(&text) {
            Ok(_) => Ok(text),
            Err(error) => Err(format!(
                "what it makes is no JSON at line {} column {}; write values with `| tojson`",
                error.line(),
                error.column()
            )),
        }
    }
}

/// A finding to try a template on, with every value there.
const SAMPLE: &str = r#"{"id":"lw-0","revision":1,"state":"open","kind":"new_pair","detector":"novelty",
"severity":"medium","score":0.9,"confidence":0.9,"cluster":"cluster","source":"shop/cart",
"destination":"pay/ledger","signal":"log_server","window_start":"2026-01-01T00:00:00Z",
"window_end":"2026-01-01T00:05:00Z","opened_at":"2026-01-01T00:05:00Z","closed_at":null,"observed":3.0,
"expected":0.0,"expected_low":null,"expected_high":0.0,"unit":"calls/5min","explanation":"a \"sample\"",
"exemplars":[],"incident":"lw-0","origins":[],"made_by":"lapwing"}"#;

struct Webhook {
    settings: WebhookSettings,
    context: Context,
    clock: Clock,
}

impl Dialect for Webhook {
    fn part(&self, finding: &Finding) -> Result<Vec<u8>, String> {
        match &self.settings.template {
            None => Ok(self.settings.format.line(finding, &self.context).into_bytes()),
            Some(template) => {
                let body = template.render(finding, &self.context);
                body.map(String::into_bytes).map_err(|reason| format!("template: {reason}"))
            }
        }
    }

    fn ready(&self) -> Result<(), String> {
        self.settings.signing_key.as_ref().map_or(Ok(()), |key| key.read().map(drop))
    }

    fn request(&mut self, findings: &[Finding], parts: &[Vec<u8>]) -> Request {
        let (finding, body) = (&findings[0], parts[0].clone());
        let plain =
            self.settings.template.is_none() && matches!(self.settings.format, Format::Cef | Format::Leef);
        let content_type = if plain { "text/plain; charset=utf-8" } else { "application/json" };
        let id = finding.event_id();
        let timestamp = (self.clock)().unix_seconds().to_string();
        let mut headers = vec![
            ("webhook-id", id.clone()),
            ("webhook-timestamp", timestamp.clone()),
            ("ce-specversion", "1.0".to_owned()),
            ("ce-id", id.clone()),
            ("ce-source", format!("/lapwing/{}", finding.cluster)),
            ("ce-type", "lapwing.finding.v1".to_owned()),
            ("ce-time", finding.revised_at().to_string()),
        ];
        // One that has become unreadable since `ready` is noticed by the receiver, which refuses what is not signed.
        if let Some(Ok(key)) = self.settings.signing_key.as_ref().map(Secret::read) {
            headers.push(("webhook-signature", signature(&key, &id, &timestamp, &body)));
        }
        let mut request = Request::new(content_type, body);
        for (name, value) in headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                request.headers.push((HeaderName::from_static(name), value));
            }
        }
        request
    }

    fn judge(&mut self, _answer: &Answer, _count: usize) -> Step {
        Step::Known(Verdict::Taken)
    }

    fn most(&self) -> usize {
        1
    }
}

/// `v1,<base64>`; Standard Webhooks, "Signature scheme".
fn signature(key: &str, id: &str, timestamp: &str, body: &[u8]) -> String {
    let decoded = key.strip_prefix("whsec_").and_then(|rest| STANDARD.decode(rest).ok());
    let key = decoded.unwrap_or_else(|| key.as_bytes().to_vec());
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("HMAC takes keys of any length");
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{context, finding};

    #[test]
    fn the_signature_is_that_of_the_specification() {
        // The example of the specification's reference implementations.
        let got = signature(
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "1614265330",
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(got, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_template_makes_json_or_is_refused() {
        let text =
            r#"{"text": {{ (title ~ " (" ~ finding.severity ~ ")") | tojson }}, "risk": {{ risk_score }}}"#;
        let template = Template::parse(text).unwrap();
        let body = template.render(&finding(), &context()).unwrap();
        assert_eq!(body, r#"{"text": "New service pair: shop/frontend to pay/ledger (medium)", "risk": 47}"#);
        let mut hostile = finding();
        hostile.source = Some("\"}, {\"x\": \"".to_owned());
        let value: Value = serde_json::from_str(&template.render(&hostile, &context()).unwrap()).unwrap();
        assert_eq!(value.as_object().unwrap().len(), 2);
        for (bad, why) in [
            ("{{ finding.colour }}", "undefined"),
            ("{\"a\": 1}\n{% if %}", "line 2"),
            ("{{ finding.explanation }}", "no JSON"),
        ] {
            let error = Template::parse(bad).unwrap_err();
            assert!(error.contains(why) && !error.contains("14 days"), "{bad}: {error}");
        }
    }
}
