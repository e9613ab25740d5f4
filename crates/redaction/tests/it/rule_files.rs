//! Rule files: what they can say, and how wrong ones are refused.

use std::sync::Arc;

use lapwing_redaction::{PseudonymKey, Redactor, RuleFile, RuleProblem, Rules};

fn parse(yaml: &str) -> RuleFile {
    serde_saphyr::from_str(yaml).unwrap()
}

fn compile(yaml: &str) -> Redactor {
    Redactor::new(Arc::new(Rules::compile(&[parse(yaml)], None).unwrap_or_else(|p| panic!("{p:?}"))))
}

fn problems(yaml: &str) -> Vec<RuleProblem> {
    Rules::compile(&[parse(yaml)], None).err().unwrap_or_default()
}

#[test]
fn the_documented_file_compiles_and_does_what_its_comments_say() {
    let file = parse(include_str!("../../../../pipelines/rules/default.yaml"));
    let mut redactor =
        Redactor::new(Arc::new(Rules::compile(&[file], None).unwrap_or_else(|p| panic!("{p:?}"))));
    let mut check =
        |key: Option<&str>, text: &str, want: &str| assert_eq!(redactor.redact_text(key, text), want);
    check(None, "x-employee-number: 00412-B", "x-employee-number: {employee_number}");
    check(Some("app.internal.note"), "anything", "{internal_note}");
    check(None, "member M-1234567890128 joined", "member {member_number} joined");
    check(None, "mail from noreply@example.com", "mail from noreply@example.com");
    check(Some("build.label"), "943-476-5919", "943-476-5919");
}

#[test]
fn built_in_rules_can_be_switched_off_and_given_other_actions() {
    let mut redactor = compile("{version: 1, builtin: {disable: [phone], actions: {public_ip: replace}}}");
    assert_eq!(redactor.redact_text(None, "call 07700900123 from 81.2.3.4"), "call 07700900123 from {ip}");
    let mut redactor = compile("{version: 1, ip: {public: keep, private: generalise}}");
    assert_eq!(redactor.redact_text(None, "81.2.3.4 10.1.2.3"), "81.2.3.4 10.1.2.0");
}

#[test]
fn pseudonyms_are_equal_for_all_spellings_of_a_value_and_secrets_have_none() {
    let key = PseudonymKey::new("k1", &[9; 32]).unwrap();
    let mut redactor =
        Redactor::new(Arc::new(Rules::compile(&[], Some(key.into())).unwrap_or_else(|p| panic!("{p:?}"))));
    let mut redact = |text: &str| redactor.redact_text(None, text).into_owned();
    let one = redact("ann@example.org");
    assert!(one.starts_with("{email:k1.") && one.len() == "{email:k1.}".len() + 20, "{one}");
    assert_eq!(redact("/users/Ann%40Example.org/x"), format!("/users/{one}/x"));
    assert_ne!(redact("ben@example.org"), one);
    assert_eq!(redact("card 4111 1111 1111 1111"), redact("card 4111111111111111"));
    assert_eq!(redact("password=ann@example.org"), "password={password}");
    assert_eq!(redact(&one), one, "a pseudonym is not redacted again");
}

#[test]
fn a_wrong_file_is_refused_with_all_its_problems() {
    let got = problems(
        r"
        version: 2
        builtin: {disable: [emial, email], actions: {password: pseudonymise, card: truncate, odd_x: replace}}
        keys:
          - {name: Bad Name, keys: [a]}
          - {name: email, keys: [a]}
          - {name: nothing}
          - {name: odd, pattern: '('}
        values:
          - {name: empty, pattern: 'a*', examples: {true: [a]}}
          - {name: huge, pattern: '(\w{200}){200}', examples: {true: [a]}}
          - {name: slow, pattern: '\bid\b', examples: {true: [id]}}
          - {name: unproven, pattern: 'x[0-9]'}
          - {name: misses, pattern: 'x[0-9]', examples: {true: ['y1'], false: ['x1']}}
        allow: [{rule: emails, value: a}, {}]
        limits: {value_bytes: 10}
        ",
    );
    let got: Vec<String> = got.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(got.join("\n"), @r"
    rule `version`: version 2 is not known (write `version: 1`)
    rule `card`: there is nothing coarser to put in its place (`generalise` is for date_of_birth, location, public_ip, private_ip; write `replace`)
    rule `odd_x`: there is no built-in rule of this name (`lapwing redact --stats` lists the names)
    rule `password`: secrets are always replaced whole (remove the action; `builtin.disable` switches a rule off)
    rule `emial`: there is no built-in rule of this name (did you mean `email`?)
    rule `Bad Name`: the name cannot stand in a placeholder (use 1 to 32 small letters, digits and `_`, a letter first)
    rule `email`: there is another rule of this name (choose another name)
    rule `nothing`: it names no key (give `keys`, `pattern`, or both)
    rule `odd`: unclosed group at position 0 (check the pattern against the syntax of Rust's `regex` crate; it has no look-around and no back-references)
    rule `empty`: the pattern matches the empty text, so it would match everywhere (make at least one part required, for example `+` in place of `*`)
    rule `huge`: the pattern compiles to more than 1048576 bytes (use smaller counted repetitions, and `(?-u)` for classes such as `\w` and `\d`)
    rule `slow`: `\b` follows Unicode here, which is up to 70 times slower on text with letters outside ASCII (write `(?-u:\b)` in place of `\b`)
    rule `unproven`: it has no example (give at least one text under `examples.true`)
    rule `emails`: there is no built-in rule of this name (did you mean `email`?)
    rule `allow`: an entry names no value (give `value` or `suffix`, not empty)
    rule `limits.value_bytes`: less than 256 would hide most values (write at least 256)
    rule `misses`: it finds nothing in `examples.true`, number 1 (correct the pattern, the validator or the example)
    rule `misses`: it finds something in `examples.false`, number 1 (make the pattern narrower, or correct the example)
    ");
}

#[test]
fn values_on_the_allow_list_stay_and_secrets_do_not() {
    let mut redactor =
        compile("{version: 1, allow: [{suffix: '@example.com'}, {rule: phone, value: '08001111'}]}");
    let mut check = |text: &str, want: &str| assert_eq!(redactor.redact_text(None, text), want);
    check("to ann@example.com, ben@example.org", "to ann@example.com, {email}");
    check("to ann%40example.com", "to ann%40example.com");
    check("call 08001111", "call 08001111");
    check("password=x@example.com", "password={password}");
}

#[test]
fn new_rules_take_effect_and_counts_go_on() {
    let mut redactor = compile("{version: 1}");
    redactor.redact_text(None, "ann@example.org");
    redactor.set_rules(Arc::new(
        Rules::compile(&[parse("{version: 1, builtin: {disable: [email]}}")], None)
            .unwrap_or_else(|p| panic!("{p:?}")),
    ));
    assert_eq!(redactor.redact_text(None, "ann@example.org"), "ann@example.org");
    assert_eq!(redactor.counts().get("email"), Some(&1));
}

#[test]
fn the_strict_profile_keeps_nothing_that_detection_does_not_need() {
    let file = parse(include_str!("../../../../pipelines/rules/strict.yaml"));
    let mut redactor =
        Redactor::new(Arc::new(Rules::compile(&[file], None).unwrap_or_else(|p| panic!("{p:?}"))));
    let mut check =
        |key: &str, text: &str, want: &str| assert_eq!(redactor.redact_text(Some(key), text), want);
    check("body", "cart is empty", "");
    check("http.request.header.accept", "text/html", "");
    check("db.statement", "SELECT 1", "");
    check("exception.message", "boom", "");
    check("enduser.id", "anything", "");
    check("app.note", "patient 943 476 5919 called", "");
    check("app.note", "from 81.2.3.4, dob=1940-06-23", "from {ip}, dob={date_of_birth}");
    // What detection joins by stays.
    check(
        "http.request.header.x-request-id",
        "0a9ace44-cdd1-9cf7-a040-f077cdf308fa",
        "0a9ace44-cdd1-9cf7-a040-f077cdf308fa",
    );
    check("k8s.pod.name", "cart-7f9-x", "cart-7f9-x");
}

#[test]
fn the_profile_for_the_uk_gdpr_keeps_joins_and_coarse_values() {
    let file = parse(include_str!("../../../../pipelines/rules/uk-gdpr.yaml"));
    let refused = Rules::compile(std::slice::from_ref(&file), None).err().unwrap_or_default();
    assert!(refused.iter().all(|p| p.reason.contains("no key")) && refused.len() == 3, "{refused:?}");
    let key = PseudonymKey::new("k1", &[9; 32]).unwrap();
    let mut redactor = Redactor::new(Arc::new(
        Rules::compile(&[file], Some(key.into())).unwrap_or_else(|p| panic!("{p:?}")),
    ));
    let mut redact = |key: &str, text: &str| redactor.redact_text(Some(key), text).into_owned();
    assert!(redact("note", "to ann@example.org").starts_with("to {email:k1."));
    assert_eq!(redact("error.message", "no mailbox ann@example.org"), "no mailbox {email:example.org}");
    assert_eq!(redact("note", "pan 4111 1111 1111 1111 to SW1A 1AA"), "pan {card:1111} to {postcode:sw1a}");
    assert_eq!(redact("note", "from 81.2.3.4, dob=1940-06-23"), "from 81.2.3.0, dob={date_of_birth:1940}");
    assert_eq!(redact("note", "patient 943 476 5919 called"), "");
}

#[test]
fn a_wrong_policy_is_refused_with_all_its_problems() {
    let got = problems(
        r"
        version: 1
        policies:
          - {name: a, services: [pay, 'b/*'], disable: [emial]}
          - {name: a, actions: {password: drop, jwt: keep, phone: keep_part, nino: generalise, email: pseudonymise}}
          - {name: nothing, fields: [body]}
          - {name: all, drop: true}
          - {name: joined, fields: [operation, body], drop: true}
        ",
    );
    let got: Vec<String> = got.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(got.join("\n"), @r"
    rule `policies.a`: there is another policy of this name (choose another name)
    rule `policies.a`: `pay` is no pattern for services (write `namespace/name`, with `*` for any characters of a part)
    rule `emial`: there is no built-in rule of this name (did you mean `email`?)
    rule `policies.a.email`: there is no key for pseudonyms (configure one, or write `replace`)
    rule `policies.a.jwt`: secrets are always replaced whole (remove the action; `builtin.disable` switches a rule off)
    rule `policies.a.nino`: there is nothing coarser to put in its place (`generalise` is for date_of_birth, location, public_ip, private_ip; write `replace`)
    rule `policies.a.password`: secrets are always replaced whole (remove the action; `builtin.disable` switches a rule off)
    rule `policies.a.phone`: no part of it can stay without saying who it is (`keep_part` is for email, card, postcode; write `replace`)
    rule `policies.nothing`: it changes nothing (give `disable`, `enable`, `actions` or `drop`)
    rule `policies.all`: operations, identities and names of attributes cannot be dropped whole: detection joins by them (list other kinds under `fields`, for example `[body, sql]`)
    rule `policies.joined`: operations, identities and names of attributes cannot be dropped whole: detection joins by them (list other kinds under `fields`, for example `[body, sql]`)
    ");
    let unknown = serde_saphyr::from_str::<RuleFile>(
        "{version: 1, policies: [{name: x, fields: [bodies], drop: true}]}",
    );
    assert!(unknown.unwrap_err().to_string().contains("bodies"));
}
