//! How we show an HTTP target who we are.

use std::fmt::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use serde_json::Value;
use tokio::time::Instant;

use super::client::{Client, Request};
use super::{HttpSettings, Url};
use crate::secret::Secret;
use crate::tls::{Failure, TlsSettings};

/// How we show who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Not at all, or by our certificate.
    None,
    /// `Authorization: <scheme> <secret>`, for example `Bearer`, `Splunk`, `ApiKey`.
    Scheme(&'static str, Secret),
    /// User and password (RFC 7617).
    Basic(String, Secret),
    /// A token that is fetched with a client's credentials (RFC 6749 section 4.4).
    OAuth2(OAuth2),
}

/// Where and with what a token is fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OAuth2 {
    /// The token endpoint.
    pub token_url: Url,
    /// Our client id.
    pub client_id: String,
    /// Our client secret.
    pub client_secret: Secret,
    /// What the token shall be good for.
    pub scope: String,
    /// Certificates of the token endpoint.
    pub tls: TlsSettings,
}

/// Makes the header's value; remembers a fetched token while it is good.
pub(super) struct Authority {
    auth: Auth,
    token: Option<(HeaderValue, Instant)>,
    issuer: Option<Client>,
}

/// Time before a token's end from which it is not used any more: it must outlive a request.
const MARGIN: Duration = Duration::from_secs(60);

impl Authority {
    pub(super) fn new(settings: &HttpSettings) -> Authority {
        let issuer = match &settings.auth {
            Auth::OAuth2(oauth) => Some(Client::new(&HttpSettings {
                tls: oauth.tls.clone(),
                connect_timeout: settings.connect_timeout,
                request_timeout: settings.request_timeout,
                gzip: false,
                ..HttpSettings::new(settings.name.clone(), oauth.token_url.clone())
            })),
            _ => None,
        };
        Authority { auth: settings.auth.clone(), token: None, issuer }
    }

    /// The value for `Authorization`; `None` if there is none.
    pub(super) async fn header(&mut self) -> Result<Option<HeaderValue>, Failure> {
        match &self.auth {
            Auth::None => Ok(None),
            Auth::Scheme(scheme, secret) => sensitive(&format!("{scheme} {}", read(secret)?)).map(Some),
            Auth::Basic(user, password) => {
                let pair = STANDARD.encode(format!("{user}:{}", read(password)?));
                sensitive(&format!("Basic {pair}")).map(Some)
            }
            Auth::OAuth2(oauth) => {
                if let Some((value, until)) = &self.token
                    && Instant::now() < *until
                {
                    return Ok(Some(value.clone()));
                }
                let issuer = self.issuer.as_mut().expect("made in `new` for this kind");
                let (value, lasts) = fetch(oauth, issuer).await?;
                self.token = Some((value.clone(), Instant::now() + lasts.saturating_sub(MARGIN)));
                Ok(Some(value))
            }
        }
    }

    /// Forgets a fetched token that was refused; says whether there was one, so that a new one may help.
    pub(super) fn forget(&mut self) -> bool {
        self.token.take().is_some()
    }
}

async fn fetch(oauth: &OAuth2, issuer: &mut Client) -> Result<(HeaderValue, Duration), Failure> {
    let secret = read(&oauth.client_secret)?;
    let form: Vec<String> = [
        ("grant_type", "client_credentials"),
        ("client_id", &oauth.client_id),
        ("client_secret", &secret),
        ("scope", &oauth.scope),
    ]
    .iter()
    .map(|(key, value)| format!("{key}={}", form_encoded(value)))
    .collect();
    let request = Request::new("application/x-www-form-urlencoded", form.join("&").into_bytes());
    let answer = issuer.call(&request, None).await?;
    let refused = |what: String| Failure {
        reason: format!("token endpoint {}: {what}; check client id, secret and scope", oauth.token_url),
        refused: true,
    };
    match answer.status {
        200 => {}
        400..=403 => return Err(refused(format!("status {}", answer.status))),
        status => {
            let reason = format!("token endpoint {}: status {status}", oauth.token_url);
            return Err(Failure { reason, refused: false });
        }
    }
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let token =
        body["access_token"].as_str().ok_or_else(|| refused("an answer without a token".to_owned()))?;
    // RFC 6749 section 5.1: seconds; without them an hour is what issuers give.
    let lasts = body["expires_in"].as_u64().or_else(|| body["expires_in"].as_str()?.parse().ok());
    Ok((sensitive(&format!("Bearer {token}"))?, Duration::from_secs(lasts.unwrap_or(3_600))))
}

fn read(secret: &Secret) -> Result<String, Failure> {
    secret.read().map_err(|reason| Failure { reason, refused: true })
}

fn sensitive(text: &str) -> Result<HeaderValue, Failure> {
    let value = HeaderValue::from_str(text);
    let mut value = value.map_err(|_not_a_value| Failure {
        reason: "a credential has characters that no header can hold".to_owned(),
        refused: true,
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// RFC 3986 section 2.3: unreserved characters stay, all others become `%XX`.
fn form_encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte as char),
            _ => write!(out, "%{byte:02X}").expect("writing to a string cannot fail"),
        }
    }
    out
}
