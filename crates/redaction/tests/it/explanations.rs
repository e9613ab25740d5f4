//! An explanation tells what happened and why, and holds no value.

use lapwing_redaction::{BUILTINS, Explanation, shape};

use crate::redactor;

fn explain(key: Option<&str>, text: &str) -> Explanation {
    redactor().explain(key, text)
}

/// Rule, proof and shape of every claim.
fn claims(key: Option<&str>, text: &str) -> Vec<(String, &'static str, String)> {
    explain(key, text).claims.into_iter().map(|c| (c.rule, c.proof, c.shape)).collect()
}

fn check(key: Option<&str>, text: &str, rule: &str, proof: &str, form: &str) {
    assert_eq!(claims(key, text), [(rule.to_owned(), proof, form.to_owned())], "{text}");
}

#[test]
fn a_claim_says_what_proves_it() {
    check(None, "mail jo9@ex.org now", "email", "itself", "aa9@aa.aaa");
    check(None, "pan 4111 1111 1111 1111", "card", "itself", "9999 9999 9999 9999");
    check(None, "passport_number=568627504", "passport", "context", "999999999");
    check(Some("passport_number"), "568627504", "passport", "name", "999999999");
    check(Some("password"), "hunter2hunter2", "password", "name", "aaaaaa9aaaaaa9");
    check(None, "/users/ann%40example.org/orders", "email", "itself", "aaa%99aaaaaaa.aaa");
    let told = explain(None, "/users/ann%40example.org/orders").claims.remove(0).because;
    assert!(told.contains("read through its encoding"), "{told}");
    let told = explain(None, "the UTR 8431418219 of").claims.remove(0).because;
    assert!(told.contains("`UTR`"), "{told}");
}

#[test]
fn a_near_miss_says_what_is_missing() {
    let cases = [
        ("card 4111 1111 1111 1112", "card", "Luhn"),
        ("order=4000474494280914", "card", "check digit"),
        ("see 943 476 5918 there", "nhs_number", "modulus 11"),
        ("batch 8431418219", "utr", "`utr`"),
        ("sku QQ123456C here", "nino", "never given out"),
        ("acct GB29NWBK60161331926818", "iban", "modulus 97"),
        ("peer 10.0.0.7 and", "private_ip", "switched off"),
    ];
    for (text, rule, because) in cases {
        let told = explain(None, text);
        assert!(told.claims.is_empty(), "{text}: {told:?}");
        let miss = told.near_misses.iter().find(|m| m.rule == rule && m.because.contains(because));
        assert!(miss.is_some(), "{text}: {told:?}");
    }
    assert_eq!(explain(None, "GET /stock took 12 ms, 9510 bytes").near_misses, []);
}

#[test]
fn a_name_that_keeps_values_from_being_looked_at_is_told() {
    let told = explain(Some("k8s.pod.name"), "cart-7d9f8b6c5-x2x4z");
    assert!(told.name.unwrap().contains("stays; this one is left alone") && told.claims.is_empty());
}

/// Over every example of every rule: the text explained is the text redacted, in parts, and no value of three
/// bytes or more that is claimed stands anywhere in what is said.
#[test]
fn explanations_agree_with_redaction_and_hold_no_value() {
    let mut redactor = redactor();
    for text in BUILTINS.iter().flat_map(|b| b.finds.iter().chain(b.leaves)) {
        let told = redactor.explain(None, text);
        assert_eq!(told.redacted, redactor.redact_text(None, text), "{text}");
        assert_eq!(told.claims.is_empty(), told.redacted == *text, "{text}");
        for claim in &told.claims {
            let value = &text[claim.start..claim.end];
            assert_eq!(claim.shape, shape(value));
            let said = format!("{} {} {}", claim.because, claim.action, claim.replacement);
            assert!(value.len() < 3 || !said.contains(value), "{said}");
        }
        let places: Vec<_> = redactor.places(None, text).iter().map(|p| (p.start, p.end)).collect();
        assert_eq!(places, told.claims.iter().map(|c| (c.start, c.end)).collect::<Vec<_>>());
    }
}
