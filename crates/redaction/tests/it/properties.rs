//! Properties that hold for every text.

use proptest::prelude::*;

use crate::redactor;
use lapwing_redaction::{BUILTINS, PseudonymKey, PseudonymKeys, Redactor, RuleFile, Rules, UNSCANNED};
use std::sync::{Arc, LazyLock};

/// Pieces of which hostile texts are made: everything a rule looks at, and what joins them.
fn piece() -> impl Strategy<Value = String> {
    let examples: Vec<&str> = BUILTINS.iter().flat_map(|b| b.finds.iter().chain(b.leaves)).copied().collect();
    prop_oneof![
        4 => proptest::sample::select(examples).prop_map(str::to_owned),
        2 => "[ -~]{0,12}",
        1 => "\\PC{0,6}",
        3 => proptest::sample::select(vec![
            "password", "=", ":", " ", "\"", "\\\"", "'", "{", "}", "%", "%40", "%25", "&", "?", "/", "+", "-", ".", ",", ";", "@", "://",
            "Bearer ", "Basic ", "cookie: ", "dob", "born ", "card ", "account ", "{email}", "{email", "\\u0040", "&#64;", "\u{200b}",
            "０", "<", ">", "VALUES (", "INSERT INTO t (a, password) ", "authorization: ", "\"key\":\"", "\",\"value\":{\"stringValue\":\"",
            "user ", "for user ", " from ", "Failed password for ", "/home/", "/Users/", "C:\\Users\\", "curl -u ",
            "name", "is ", "eyJ", "-----BEGIN ", "PRIVATE KEY-----", "_", "4111", "0", "AB", "\n",
        ]).prop_map(str::to_owned),
    ]
}

fn text() -> impl Strategy<Value = String> {
    proptest::collection::vec(piece(), 0..12).prop_map(|pieces| pieces.concat())
}

/// Rules with each action wherever it makes sense; pseudonyms while two keys hold.
fn action_rules() -> &'static Vec<Arc<Rules>> {
    static RULES: LazyLock<Vec<Arc<Rules>>> = LazyLock::new(|| {
        let key = |id: &str, byte: u8| PseudonymKey::new(id, &[byte; 32]).unwrap();
        let keys = PseudonymKeys::new(vec![key("k1", 1), key("k2", 2)]).unwrap();
        let parts = "{email: keep_part, card: keep_part, postcode: keep_part, date_of_birth: generalise, location: generalise, private_ip: generalise}";
        let drops = "{email: drop, phone: drop, card: drop, person_name: drop, public_ip: drop}";
        let compiled = ["{}", parts, drops].map(|actions| {
            let file = format!("{{version: 1, builtin: {{actions: {actions}}}}}");
            let file: RuleFile = serde_saphyr::from_str(&file).unwrap();
            Arc::new(Rules::compile(&[file], Some(keys.clone())).unwrap_or_else(|p| panic!("{p:?}")))
        });
        compiled.into()
    });
    &RULES
}

/// Texts that each property is tried on; `PROPTEST_CASES` asks for another number.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(4_000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn redacting_twice_changes_nothing_and_finds_nothing(text in text()) {
        let once = redactor().redact_text(None, &text).into_owned();
        let mut second = redactor();
        let twice = second.redact_text(None, &once).into_owned();
        prop_assert_eq!(&once, &twice);
        prop_assert!(second.counts().is_empty(), "{:?} in {:?}", second.counts(), once);
    }

    #[test]
    fn the_same_holds_under_the_name_of_an_attribute(
        text in text(),
        key in proptest::sample::select(vec!["authorization", "user.email", "http.request.header.cookie", "password", "request_id", "phone", "name", "x"]),
    ) {
        let once = redactor().redact_text(Some(key), &text).into_owned();
        let mut second = redactor();
        prop_assert_eq!(&second.redact_text(Some(key), &once).into_owned(), &once);
        prop_assert!(second.counts().is_empty());
    }

    #[test]
    fn the_same_holds_with_every_action(
        text in text(),
        key in proptest::sample::select(vec![None, Some("user.date_of_birth"), Some("url.full"), Some("postcode"), Some("geo.location"), Some("client.address")]),
        actions in 0usize..3,
    ) {
        let rules = action_rules()[actions].clone();
        let once = Redactor::new(rules.clone()).redact_text(key, &text).into_owned();
        let mut second = Redactor::new(rules);
        prop_assert_eq!(&second.redact_text(key, &once).into_owned(), &once);
        prop_assert!(second.counts().is_empty(), "{:?} in {:?}", second.counts(), once);
    }

    #[test]
    fn a_remembered_decision_is_the_same_decision(texts in proptest::collection::vec(text(), 1..6)) {
        let mut redactor_with_memory = redactor();
        for _ in 0..2 {
            for text in &texts {
                let fresh = redactor().redact_text(None, text).into_owned();
                prop_assert_eq!(redactor_with_memory.redact_text(None, text).into_owned(), fresh);
            }
        }
    }

    #[test]
    fn an_address_leaves_no_trace_however_it_is_written(
        local in "[a-z]{3,12}", digits in "[0-9]{2,4}", domain in "[a-z]{3,10}\\.(org|co\\.uk)", layers in 0usize..4,
    ) {
        let mut text = format!("/users/{local}.{digits}@{domain}/orders");
        for _ in 0..layers {
            text = text.replace('%', "%25").replace('@', "%40");
        }
        let out = redactor().redact_text(None, &text).into_owned();
        prop_assert!(!out.contains(&format!("{local}.{digits}")), "{out}");
    }
}

#[test]
fn a_value_that_is_too_long_to_look_at_is_not_passed_on() {
    let long = "x ".repeat(40_000);
    let mut redactor = redactor();
    assert_eq!(redactor.redact_text(None, &long), UNSCANNED);
    assert_eq!(redactor.counts().get("unscanned"), Some(&1));
}
