//! Keys and tokens that providers mark with a prefix, so that they prove themselves.
//!
//! Sources are the providers' own documents of their formats; where a provider publishes no length, the
//! shortest one ever issued is asked for.

use crate::builtin::Rule;

/// A marked token: what it begins with and what may follow.
#[derive(Clone, Copy)]
pub(crate) struct Token {
    /// Case-sensitive.
    pub(crate) prefix: &'static str,
    rule: Rule,
    body: Body,
    /// Length of the body.
    min: usize,
    max: usize,
}

#[derive(Clone, Copy)]
enum Body {
    /// Letters and digits.
    Alnum,
    /// And `-` and `_`.
    Word,
    /// And `.`.
    Dotted,
    /// And `+`, `/`, `=`, `%`.
    Base64,
    /// Upper-case letters and digits 2 to 7.
    Upper,
    Hex,
}

impl Body {
    fn has(self, byte: u8) -> bool {
        match self {
            Body::Alnum => byte.is_ascii_alphanumeric(),
            Body::Word => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'),
            Body::Dotted => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'),
            Body::Base64 => {
                byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'+' | b'/' | b'=' | b'%' | b'.')
            }
            Body::Upper => byte.is_ascii_uppercase() || byte.is_ascii_digit(),
            Body::Hex => byte.is_ascii_hexdigit(),
        }
    }
}

/// Where the token that begins at `start` with the prefix of `TOKENS[index]` ends, and whose it is.
pub(crate) fn end_of(index: usize, text: &[u8], start: usize) -> Option<(usize, Rule)> {
    let token = &TOKENS[index];
    let body = text.get(start..)?.strip_prefix(token.prefix.as_bytes())?;
    if start > 0 && (text[start - 1].is_ascii_alphanumeric() || matches!(text[start - 1], b'_' | b'-')) {
        return None;
    }
    let mut length = body.iter().take_while(|b| token.body.has(**b)).count();
    while length > 0 && matches!(body[length - 1], b'.' | b'%') {
        length -= 1;
    }
    let digits = body[..length].iter().any(u8::is_ascii_digit);
    let mixed = digits || body[..length].iter().any(u8::is_ascii_uppercase);
    // `sk-learn-something-long-in-words` is a name; tokens have digits or capitals, or are very long.
    let fits = (token.min..=token.max).contains(&length) && (mixed || token.min >= 20);
    fits.then_some((start + token.prefix.len() + length, token.rule))
}

/// Where the webhook's address ends whose `://` begins at `colon`: who knows it may post.
pub(crate) fn webhook(text: &[u8], colon: usize) -> Option<(usize, Rule)> {
    const HOOKS: &[(&[u8], Rule, usize)] = &[
        (b"hooks.slack.com/services/", Rule::SlackToken, 30),
        (b"hooks.slack.com/workflows/", Rule::SlackToken, 30),
        (b"hooks.slack.com/triggers/", Rule::SlackToken, 30),
        (b"discord.com/api/webhooks/", Rule::VendorToken, 40),
        (b"discordapp.com/api/webhooks/", Rule::VendorToken, 40),
    ];
    let host = colon + 3;
    let (prefix, rule, min) = HOOKS.iter().find(|(prefix, ..)| text[host..].starts_with(prefix))?;
    let path = host + prefix.len();
    let allowed = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'-');
    let length = text[path..].iter().take(200).take_while(|b| allowed(b)).count();
    (length >= *min).then_some((path + length, *rule))
}

/// Tokens known by their form though no prefix marks them: `text[start..end]` is a run of letters, digits,
/// `-` and `_`. Gives where the token ends.
pub(crate) fn unmarked(text: &[u8], start: usize, end: usize) -> Option<(usize, Rule)> {
    let run = &text[start..end];
    let hex = |t: &[u8]| t.iter().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'));
    let placeholder = |t: &[u8]| t.iter().all(|b| *b == b'x');
    match run.len() {
        // Twilio account and key SIDs.
        34 if matches!(&run[..2], b"AC" | b"SK") && (hex(&run[2..]) || placeholder(&run[2..])) => {
            Some((end, Rule::TwilioKey))
        }
        // Terraform: fourteen letters, the version, sixty and more.
        14 if text[end..].starts_with(b".atlasv1.") => {
            let body = text[end + 9..].iter().take_while(|b| Body::Word.has(**b)).count();
            (body >= 60).then_some((end + 9 + body, Rule::VendorToken))
        }
        // Airtable: an id, a dot, 64 hexadecimal digits.
        17 if run.starts_with(b"pat") && text.get(end) == Some(&b'.') => {
            let body = text[end + 1..].iter().take_while(|b| b.is_ascii_hexdigit()).count();
            (body == 64).then_some((end + 65, Rule::VendorToken))
        }
        // Secrets of applications in Microsoft Entra: three letters, a digit, `Q~`, the rest.
        _ if text.get(end) == Some(&b'~') && run.ends_with(b"Q") && run.len() <= 12 => {
            let body = text[end + 1..].iter().take_while(|b| Body::Dotted.has(**b) || **b == b'~').count();
            (31..=34).contains(&body).then_some((end + 1 + body, Rule::VendorToken))
        }
        // Databricks.
        36 | 38 if run.starts_with(b"dapi") && run[4..36].iter().all(u8::is_ascii_hexdigit) => {
            Some((end, Rule::VendorToken))
        }
        // Discord: the bot's id in base64, a timestamp, a signature.
        24..=28 if text.get(end) == Some(&b'.') && !run.contains(&b'-') => {
            let word = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
            let middle = text[end + 1..].iter().take_while(|b| word(b)).count();
            let third = end + 1 + middle;
            if middle != 6 || text.get(third) != Some(&b'.') {
                return None;
            }
            let last = text[third + 1..].iter().take_while(|b| word(b)).count();
            (27..=40).contains(&last).then_some((third + 1 + last, Rule::VendorToken))
        }
        // Mailchimp: 32 hexadecimal digits and a data centre.
        36 | 37 if run[32..].starts_with(b"-us") && hex(&run[..32]) => Some((end, Rule::VendorToken)),
        // Telegram: the bot's id, a colon, 35 letters beginning with AA.
        8..=10 if text.get(end) == Some(&b':') && run.iter().all(u8::is_ascii_digit) => {
            let body = &text[end + 1..];
            let length = body.iter().take_while(|b| Body::Word.has(**b)).count();
            ((34..=36).contains(&length) && body.starts_with(b"AA"))
                .then_some((end + 1 + length, Rule::VendorToken))
        }
        _ => None,
    }
}

macro_rules! tokens {
    ($($rule:ident $body:ident $min:literal..=$max:literal [$($prefix:literal)+])+) => {
        /// Every marked token.
        pub(crate) const TOKENS: &[Token] = &[$($(Token {
            prefix: $prefix, rule: Rule::$rule, body: Body::$body, min: $min, max: $max,
        },)+)+];
    };
}

tokens! {
    AwsAccessKey Upper 16..=16 ["AKIA" "ASIA" "ABIA" "ACCA"]
    GithubToken Alnum 30..=255 ["ghp_" "gho_" "ghu_" "ghs_" "ghr_"]
    GithubToken Word 40..=255 ["github_pat_"]
    GitlabToken Dotted 20..=300 ["glpat-" "gldt-" "glrt-" "glimt-" "glft-" "glsoat-" "glcbt-" "glffct-"]
    GitlabToken Word 40..=64 ["glptt-"]
    GitlabToken Word 50..=64 ["glagent-"]
    GitlabToken Word 64..=64 ["gloas-"]
    GitlabToken Word 20..=64 ["GR1348941"]
    VendorToken Word 60..=4000 ["ops_eyJ"]
    SlackToken Word 10..=255 ["xoxb-" "xoxp-" "xoxa-" "xoxr-" "xoxs-" "xoxo-" "xoxe-" "xoxc-" "xoxd-" "xapp-"]
    StripeKey Alnum 16..=255 ["sk_live_" "sk_test_" "rk_live_" "rk_test_" "sk_prod_" "whsec_"]
    GoogleKey Word 35..=35 ["AIza"]
    GoogleKey Dotted 30..=255 ["ya29."]
    GoogleKey Word 24..=40 ["GOCSPX-"]
    SendgridKey Dotted 60..=70 ["SG."]
    NpmToken Alnum 36..=36 ["npm_"]
    PypiToken Word 60..=255 ["pypi-AgEIcHlwaS5vcmc" "pypi-AgENdGVzdC5weXBpLm9yZ"]
    LlmKey Word 24..=255 ["sk-ant-" "sk-proj-" "sk-svcacct-" "sk-admin-" "sk-or-v1-"]
    LlmKey Alnum 40..=64 ["sk-"]
    LlmKey Alnum 40..=64 ["gsk_" "pplx-" "xai-" "fw_" "csk-"]
    LlmKey Alnum 30..=50 ["hf_" "r8_"]
    VendorToken Dotted 20..=255 ["hvs." "hvb." "hvr."]
    VendorToken Word 20..=64 ["dop_v1_" "doo_v1_" "dor_v1_" "dckr_pat_" "dckr_oat_" "lin_api_" "figd_" "rubygems_" "sntrys_" "sntryu_" "sbp_" "PMAK-" "NRAK-" "shpat_" "shpss_" "shpca_" "shppa_" "sq0atp-" "sq0csp-" "ATATT3" "ATCTT3" "pat-na1-" "fo1_" "CFPAT-" "phc_" "phx_" "pscale_tkn_" "pscale_pw_" "pul-" "glsa_" "cio_" "EZAK" "EZTK" "cfk_" "cfut_" "cfat_"]
    VendorToken Alnum 40..=64 ["secret_" "ntn_" "vca_" "vcp_" "vci_" "vcr_" "vck_"]
    VendorToken Base64 20..=400 ["glc_"]
    VendorToken Dotted 40..=64 ["dp.pt." "dp.st." "dp.ct."]
    VendorToken Word 32..=64 ["tskey-auth-" "tskey-api-" "tskey-client-" "tskey-scim-" "tskey-webhook-" "tskey-future-" "HRKU-"]
    VendorToken Alnum 58..=58 ["AGE-SECRET-KEY-1"]
    VendorToken Hex 32..=32 ["key-"]
    VendorToken Word 24..=64 ["nfp_" "rnd_" "sgp_" "napi_" "pcsk_" "tfp_" "rdme_" "pnu_" "bkua_" "CCIPAT_" "duffel_live_" "shippo_live_" "rzp_live_" "rzp_test_" "FLWSECK-" "FLWSECK_TEST-" "lsv2_pt_" "lsv2_sk_" "tr_prod_" "CLOJARS_" "dnkey-"]
    VendorToken Word 32..=255 ["xkeysib-" "xsmtpsib-" "mdb_sa_sk_" "sqp_" "squ_" "sqa_" "apify_api_" "aio_" "ATBB" "AKCp" "EAAA" "NRII-" "NRJS-" "NRRA-" "pubkey-" "fm2_"]
    VendorToken Word 70..=400 ["EAA"]
    VendorToken Base64 30..=400 ["1//0"]
    VendorToken Dotted 60..=200 ["dt0c01." "dt0s16."]
    VendorToken Alnum 24..=24 ["s."]
    LlmKey Word 40..=255 ["nvapi-" "sk-lf-"]
    AwsAccessKey Upper 16..=20 ["LTAI"]
    Crypto Hex 40..=40 ["0x"]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, want: Option<(&str, Rule)>) {
        let found = TOKENS.iter().enumerate().find_map(|(i, t)| {
            let at = text.find(t.prefix)?;
            end_of(i, text.as_bytes(), at).map(|(end, rule)| (&text[at..end], rule))
        });
        assert_eq!(found, want, "{text}");
    }

    #[test]
    fn a_token_ends_where_its_alphabet_ends() {
        check("key AKIAFRASMIJSPTR6T2IT.", Some(("AKIAFRASMIJSPTR6T2IT", Rule::AwsAccessKey)));
        check("t=glpat-aBcDeFgHiJkLmNoPqRsT&x", Some(("glpat-aBcDeFgHiJkLmNoPqRsT", Rule::GitlabToken)));
        check("AKIAFRASMIJSPTR6T2ITX", None);
        check("xAKIAFRASMIJSPTR6T2IT", None);
        check("sk-learn-models-are-not-a-key", None);
    }

    #[test]
    fn tokens_without_a_prefix_are_known_by_form() {
        let find = |text: &str, end| unmarked(text.as_bytes(), 0, end).map(|(end, _)| end);
        assert!(find("AC2fce3b07c5b6ea433d94e1482cb57932", 34).is_some());
        assert!(find("AC2fce3b07c5b6ea433d94e1482cb5793Z", 34).is_none());
        assert!(find("110201543:AAHdqTcvCH1vGWJxfSe1ofSAs0K5PALDsaw", 9).is_some());
        assert!(find("110201543:8080", 9).is_none());
        assert!(
            find("MTAyOTQ4MTN5OTU5MTDwMEcxNg.GSwJyi.sbaw8msOR3Wi6vPUzeIWy_P0vJbB0UuRVjH8l8", 26).is_some()
        );
        assert!(find("MTAyOTQ4MTN5OTU5MTDwMEcxNg.example.com", 26).is_none());
    }
}
