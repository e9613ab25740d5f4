//! Policies by service, kind of field and time: what holds where, and what is counted.

use std::sync::Arc;

use lapwing_redaction::{Count, PseudonymKey, PseudonymKeys, Redactor, RuleFile, Rules};
use lapwing_telemetry::{Builders, Call, Calls, EventTime, RawCalls, Signal};

use crate::batches::{attributes, everything};

fn key(id: &str, byte: u8, from: Option<i64>, until: Option<i64>) -> PseudonymKey {
    PseudonymKey::new(id, &[byte; 32]).unwrap().valid(from.map(EventTime), until.map(EventTime))
}

fn rules(yaml: &str, keys: Vec<PseudonymKey>) -> Arc<Rules> {
    let file: RuleFile = serde_saphyr::from_str(yaml).unwrap();
    let keys = PseudonymKeys::new(keys).unwrap();
    Arc::new(Rules::compile(&[file], Some(keys)).unwrap_or_else(|p| panic!("{p:?}")))
}

/// A call with its source, destination, arrival and attributes.
type Row<'a> = (Option<&'a str>, Option<&'a str>, i64, &'a [(&'a str, &'a str)]);

fn batch(rows: &[Row<'_>]) -> RawCalls {
    let mut builders = Builders::new(1);
    for (source, destination, at, attributes) in rows {
        let mut call = Call::new(EventTime(*at), EventTime(0), Signal::LogServer, "prod");
        (call.source, call.destination) = (*source, *destination);
        call.path = attributes.iter().find(|(name, _)| *name == "path").map(|(_, path)| *path);
        call.operation = call.path;
        builders.append(&call, attributes.iter().copied());
    }
    builders.finish().remove(0).1
}

fn values(calls: &Calls, row: usize) -> Vec<String> {
    attributes(calls, row).into_iter().map(|(_, value)| value).collect()
}

/// Each action in one attribute, and what is left of it. Nothing is found in what is left.
#[test]
fn each_action_leaves_what_it_says_and_nothing_that_is_found_again() {
    for (rule, action, value, want) in [
        ("email", "replace", "to ann@mail.example.org now", "to {email} now"),
        ("email", "keep_part", "to Ann@Mail.example.org now", "to {email:mail.example.org} now"),
        ("email", "keep_part", "?to=ann%40example.org&x=1", "?to={email:example.org}&x=1"),
        ("email", "drop", "to ann@mail.example.org now", ""),
        ("email", "keep", "to ann@mail.example.org now", "to ann@mail.example.org now"),
        ("card", "keep_part", "pan 4111 1111 1111 1111", "pan {card:1111}"),
        ("card", "keep_part", r#"{"card":4111111111111111,"n":2}"#, r#"{"card":"{card:1111}","n":2}"#),
        ("postcode", "keep_part", "deliver to SW1A 1AA", "deliver to {postcode:sw1a}"),
        ("postcode", "keep_part", "?zip=90210-1234", "?zip={postcode}"),
        ("date_of_birth", "generalise", "dob=1940-06-23", "dob={date_of_birth:1940}"),
        ("date_of_birth", "generalise", "dob=23/06/40", "dob={date_of_birth}"),
        ("location", "generalise", "lat_lng=51.507351,-0.127758", "lat_lng={location:51.5_-0.1}"),
        (
            "public_ip",
            "generalise",
            "peer 81.2.3.4 and 2a02:14b9:35d6::2aea",
            "peer 81.2.3.0 and 2a02:14b9:35d6::",
        ),
        ("public_ip", "replace", "peer 81.2.3.4", "peer {ip}"),
        ("phone", "pseudonymise", "call 07700900123", "call {phone:k1.*}"),
        ("person_name", "drop", "full_name=Ann Example", ""),
    ] {
        let rules = rules(
            &format!("{{version: 1, builtin: {{actions: {{{rule}: {action}}}}}}}"),
            vec![key("k1", 1, None, None)],
        );
        let mut redactor = Redactor::new(rules.clone());
        let once = redactor.redact_text(None, value).into_owned();
        let (start, end) = want.split_once('*').unwrap_or((want, ""));
        assert!(once.starts_with(start) && once.ends_with(end), "{rule} {action}: {once:?}");
        assert!(want.contains('*') || once == want, "{rule} {action}: {once:?}");
        let mut again = Redactor::new(rules);
        assert_eq!(again.redact_text(None, &once), once, "{rule} {action}");
        assert_eq!(again.hits(), [], "{rule} {action}: {once:?}");
        let counted = redactor.hits();
        if action == "keep" {
            assert_eq!(counted, []);
        } else {
            let want = Count { rule: rule.into(), action, field: "text", count: counted[0].count };
            assert_eq!(counted, [want]);
        }
    }
}

#[test]
fn a_dropped_value_takes_its_entry_with_it_and_empties_a_column() {
    let yaml = "{version: 1, builtin: {actions: {nhs_number: drop}}, policies: [{name: n, fields: [body], drop: true}]}";
    let mut redactor = Redactor::new(rules(yaml, vec![]));
    let nhs = "nhs 943 476 5919";
    let calls = redactor.redact(batch(&[
        (None, None, 1, &[("a", "1"), ("note", nhs), ("b", "2")]),
        (None, None, 1, &[("note", nhs)]),
        (None, None, 1, &[]),
        (
            None,
            None,
            1,
            &[("path", "/patients/9690319388/letters"), ("body", "anything"), ("body.user", "x"), ("c", "3")],
        ),
        (None, None, 1, &[("943 476 5919", "keyed by it"), ("d", "4")]),
        (None, None, 1, &[("body", ""), ("e", "5")]),
    ]));
    let entry = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(attributes(&calls, 0), [entry("a", "1"), entry("b", "2")]);
    assert_eq!(attributes(&calls, 1), []);
    assert_eq!(attributes(&calls, 2), []);
    assert_eq!(attributes(&calls, 3), [entry("c", "3")]);
    assert_eq!(attributes(&calls, 4), [entry("d", "4")]);
    assert_eq!(attributes(&calls, 5), [entry("body", ""), entry("e", "5")]);
    assert_eq!(calls.columns().path().get(3), Some(""));
    let text = everything(&calls);
    assert!(!text.contains("9690319388") && !text.contains("5919") && !text.contains("anything"), "{text}");
    let of = |rule: &str, field: &str| {
        redactor.hits().iter().filter(|h| h.rule == rule && h.field == field).map(|h| h.count).sum::<u64>()
    };
    assert_eq!((of("nhs_number", "attribute"), of("nhs_number", "url"), of("nhs_number", "name")), (2, 2, 1));
    assert_eq!((of("field", "body"), of("nhs_number", "operation")), (2, 1));
}

#[test]
fn a_policy_holds_for_its_services_and_fields_and_the_stricter_end_decides() {
    let yaml = r"
        version: 1
        keys: [{name: employee, keys: [employee_id]}]
        policies:
          - {name: pay, namespaces: [pay], fields: [attribute], actions: {email: drop}}
          - {name: lab, services: ['lab/*'], disable: [email, employee, phone]}
          - {name: lab front, services: [lab/front], enable: [phone]}
    ";
    let mut redactor = Redactor::new(rules(yaml, vec![]));
    let row: &[(&str, &str)] = &[
        ("note", "ann@example.org"),
        ("url.full", "/u?e=ann@example.org"),
        ("employee_id", "E77x"),
        ("t", "07700900123"),
    ];
    let (web, pay, lab, front) = (Some("shop/web"), Some("pay/api"), Some("lab/a"), Some("lab/front"));
    let rows = [
        (web, web, 1, row),
        (web, pay, 1, row),
        (pay, None, 1, row),
        (lab, lab, 1, row),
        (lab, None, 1, row),
        (lab, web, 1, row),
        (lab, front, 1, row),
        (pay, lab, 1, row),
        (None, None, 1, row),
    ];
    let calls = redactor.redact(batch(&rows));
    let (url, kept_url) = ("/u?e={email}", "/u?e=ann@example.org");
    let usual: &[&str] = &["{email}", url, "{employee}", "{phone}"];
    let open: &[&str] = &["ann@example.org", kept_url, "E77x", "07700900123"];
    let paid: &[&str] = &[url, "{employee}", "{phone}"];
    let half: &[&str] = &["ann@example.org", kept_url, "E77x", "{phone}"];
    for (n, want) in [usual, paid, paid, open, open, usual, half, paid, usual].into_iter().enumerate() {
        assert_eq!(values(&calls, n), want, "row {n}");
    }
    // The other way round, and alone.
    for (n, (source, destination, ..)) in rows.iter().enumerate() {
        let swapped = redactor.redact(batch(&[(*destination, *source, 1, row)]));
        assert_eq!(values(&swapped, 0), values(&calls, n), "row {n}");
    }
}

#[test]
fn a_rule_that_is_off_does_not_hide_one_that_is_on() {
    let yaml =
        "{version: 1, policies: [{name: p, services: ['lab/*'], disable: [phone, username, person_name]}]}";
    let lab = Some("lab/a");
    let mut redactor = Redactor::new(rules(yaml, vec![]));
    for (name, value, want) in [
        ("note", r#"{"phone":"password=hunter2x"}"#, r#"{"phone":"password={password}"}"#),
        ("phone", "4111 1111 1111 1111", "{card}"),
        ("note", "phone=4111111111111111", "phone={card}"),
        ("note", "username=ann@example.org", "username={email}"),
        ("enduser.id", "ann@example.org", "{email}"),
        (
            "note",
            "INSERT INTO t (username, password) VALUES ('ann', 'hunter2')",
            "INSERT INTO t (username, password) VALUES ('ann', '{password}')",
        ),
        ("note", "blob dXNlcm5hbWU9YW5uIHBhc3N3b3JkPWh1bnRlcjI= end", "blob {password} end"),
    ] {
        let calls = redactor.redact(batch(&[(lab, None, 1, &[(name, value)])]));
        assert_eq!(values(&calls, 0), [want], "{name}: {value}");
    }
}

#[test]
fn a_value_is_judged_for_each_call_by_its_own_policy_whatever_was_remembered() {
    let yaml = "{version: 1, policies: [{name: p, services: ['pay/*'], actions: {email: drop}}]}";
    let mut redactor = Redactor::new(rules(yaml, vec![]));
    let mail: &[(&str, &str)] = &[("note", "ann@example.org"), ("path", "/u/ann@example.org")];
    for _ in 0..2 {
        let rows: Vec<Row<'_>> =
            (0..40).map(|n| (Some(if n % 3 == 0 { "pay/api" } else { "shop/web" }), None, n, mail)).collect();
        let calls = redactor.redact(batch(&rows));
        for n in 0..40 {
            let want: &[&str] = if n % 3 == 0 { &[] } else { &["{email}", "/u/{email}"] };
            assert_eq!(values(&calls, n), want);
            assert_eq!(calls.columns().path().get(n), Some(if n % 3 == 0 { "" } else { "/u/{email}" }));
        }
        assert!(!everything(&calls).contains("ann@"));
    }
}

#[test]
fn tokens_are_the_same_after_a_restart_and_elsewhere_and_carry_both_keys_while_both_hold() {
    let keys = || vec![key("k1", 1, None, Some(200)), key("k2", 2, Some(100), None)];
    let row: &[(&str, &str)] = &[
        ("mail", "ann@example.org"),
        ("url.full", "/u/ann@example.org?e=ann@example.org"),
        ("path", "/u/ann@example.org"),
    ];
    let times = [1, 99, 100, 150, 199, 200, 300];
    let token = |redactor: &mut Redactor, at: i64| {
        let calls = redactor.redact(batch(&[(None, None, at, row)]));
        values(&calls, 0).remove(0)
    };
    let mut one = Redactor::new(rules("{version: 1}", keys()));
    let by_time: Vec<String> = times.iter().map(|at| token(&mut one, *at)).collect();
    let (old, new) = (&by_time[0], &by_time[6]);
    let letters = |token: &str| token["{email:k1.".len()..token.len() - 1].to_owned();
    assert!(old.starts_with("{email:k1.") && new.starts_with("{email:k2."));
    let both = format!("{{email:k2.{}.k1.{}}}", letters(new), letters(old));
    assert_eq!(by_time, [old, old, &both, &both, &both, new, new].map(String::clone));

    // All in one batch, elsewhere, in another order of batches: replay is live.
    let mut other = Redactor::new(rules("{version: 1}", keys()));
    let rows: Vec<Row<'_>> = times.iter().map(|at| (None, None, *at, row)).collect();
    let calls = other.redact(batch(&rows));
    for (n, token) in by_time.iter().enumerate() {
        let url = format!("/u/{{email}}?e={token}");
        assert_eq!(values(&calls, n), [token.as_str(), &url, "/u/{email}"]);
        assert_eq!(calls.columns().operation().get(n), Some("/u/{email}"), "baselines do not see keys");
        assert_eq!(calls.columns().path().get(n), Some("/u/{email}"));
    }
    // Tokens are not redacted again, with whatever keys.
    let mut third = Redactor::new(rules("{version: 1}", vec![key("z9", 9, None, None)]));
    for token in &by_time {
        assert_eq!(third.redact_text(Some("user.email"), token), *token);
    }
    assert_eq!(third.hits(), []);
    assert_ne!(letters(&token(&mut third, 1)), letters(old), "another key, another token");
}

#[test]
fn where_no_key_holds_a_bare_placeholder_stands() {
    let mut redactor = Redactor::new(rules("{version: 1}", vec![key("k1", 1, Some(100), Some(200))]));
    for (at, bare) in [(1, true), (100, false), (200, true)] {
        redactor.set_time(EventTime(at));
        assert_eq!(redactor.redact_text(None, "ann@example.org") == "{email}", bare, "{at}");
    }
}

#[test]
fn values_that_were_no_texts_are_redacted_whatever_their_key() {
    // As decode renders them: integers and floats in digits, arrays and maps as JSON, bytes in base64.
    let mut redactor = Redactor::new(rules("{version: 1}", vec![]));
    for (name, value, want) in [
        ("a", "4111111111111111", "{card}"),
        ("app.value", "4111111111111111", "{card}"),
        ("http.status_code", "4111111111111111", "{card}"),
        ("k8s.pod.name", "4111111111111111", "{card}"),
        ("a", "[4111111111111111,7]", "[{card},7]"),
        ("a", r#"["x","ann@example.org",["ben@example.org"]]"#, r#"["x","{email}",["{email}"]]"#),
        (
            "a",
            r#"{"b":{"c":[{"password":"hunter2"},4111111111111111]}}"#,
            r#"{"b":{"c":[{"password":"{password}"},{card}]}}"#,
        ),
        ("a", "YW5uQGV4YW1wbGUub3Jn", "{email}"),
    ] {
        let calls = redactor.redact(batch(&[(None, None, 1, &[(name, value)])]));
        assert_eq!(values(&calls, 0), [want], "{name}: {value}");
    }
}

#[test]
fn counts_go_on_under_new_rules_by_rule_action_and_field() {
    let mut redactor = Redactor::new(rules("{version: 1}", vec![]));
    redactor.redact_text(None, "ann@example.org");
    redactor.redact_text(Some("http.request.header.x-user"), "ann@example.org");
    redactor.set_rules(rules("{version: 1, builtin: {actions: {email: drop}}}", vec![]));
    redactor.redact_text(None, "ann@example.org");
    redactor.redact_text(None, &"x ".repeat(40_000));
    let counted: Vec<_> = redactor
        .hits()
        .into_iter()
        .map(|h| format!("{} {} {} {}", h.rule, h.action, h.field, h.count))
        .collect();
    assert_eq!(
        counted,
        ["email drop text 1", "email replace header 1", "email replace text 1", "unscanned replace text 1"]
    );
    assert_eq!(redactor.counts()["email"], 3);
}
