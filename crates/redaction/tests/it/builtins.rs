//! Each built-in rule, by its examples and in the notations that carry telemetry.

use lapwing_redaction::BUILTINS;

use crate::{redact, redact_under, redactor};

#[test]
fn every_rule_finds_its_examples_and_leaves_what_looks_alike() {
    let mut wrong = Vec::new();
    for rule in BUILTINS {
        for text in rule.finds {
            let mut redactor = redactor();
            let out = redactor.redact_text(None, text).into_owned();
            if !redactor.counts().contains_key(rule.name) {
                wrong.push(format!("{} does not find {text:?}: {out:?}, {:?}", rule.name, redactor.counts()));
            }
        }
        for text in rule.leaves {
            let out = redact(text);
            if out != *text {
                wrong.push(format!("beside {}: {text:?} became {out:?}", rule.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn check(cases: &[(&str, &str)]) {
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|(text, want)| {
            let got = redact(text);
            (got != *want).then(|| format!("{text:?}\n   became {got:?}\n   not    {want:?}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_url_keeps_its_shape() {
    check(&[
        ("/users/ann%40example.org/orders?page=2", "/users/{email}/orders?page=2"),
        ("GET /q/users?nhs=4023148105&batch=4250963603", "GET /q/users?nhs={nhs_number}&batch=4250963603"),
        (
            "/checkout/1?postcode=G15%207WX&phone=%2B447021667022",
            "/checkout/1?postcode={postcode}&phone={phone}",
        ),
        (
            "/q/report?name=Amelia%20Abernathy&dob=1942-04-28",
            "/q/report?name={person_name}&dob={date_of_birth}",
        ),
        (
            "/pay/status?iban=GB74NEPM20492976368408&sort_code=20-49-29&card=4420207333935125&not_nino=BG020653E",
            "/pay/status?iban={iban}&sort_code={bank_account}&card={card}&not_nino=BG020653E",
        ),
        (
            "https://b.s3.amazonaws.com/x.csv?X-Amz-Date=20260412T101112Z&X-Amz-Signature=12730c957f10b519bf8b5de49164",
            "https://b.s3.amazonaws.com/x.csv?X-Amz-Date=20260412T101112Z&X-Amz-Signature={signature}",
        ),
        ("redis://:hunter2@cache.data:6379/0", "redis://:{credentials}@cache.data:6379/0"),
        (
            "/login?phone=07700900123&ip=2a02:14b9:35d6::2aea&device=ios",
            "/login?phone={phone}&ip=2a02:14b9:35d6::&device=ios",
        ),
        (
            "redirect to /login?next=%2Fbasket%2F1%3Femail%3Da%2540b.example",
            "redirect to /login?next=%2Fbasket%2F1%3Femail%3D{email}",
        ),
    ]);
}

#[test]
fn every_notation_of_pairs_is_read() {
    check(&[
        (r#"{"password":"a b\"c","n":1}"#, r#"{"password":"{password}","n":1}"#),
        (
            r#"{"request":"{\"client_secret\":\"9a9973151cb0\",\"order\":\"ORD-1\"}"}"#,
            r#"{"request":"{\"client_secret\":\"{secret}\",\"order\":\"ORD-1\"}"}"#,
        ),
        (
            r#"{"key":"app.passport_number","value":{"stringValue":"568627504"}}"#,
            r#"{"key":"app.passport_number","value":{"stringValue":"{passport}"}}"#,
        ),
        (r#"{"card":4111111111111111,"n":2}"#, r#"{"card":"{card}","n":2}"#),
        (
            "<user><Password>abc</Password><nino>AB123456C</nino></user>",
            "<user><Password>{password}</Password><nino>{nino}</nino></user>",
        ),
        ("level=warn user_email=\"ann@example.org\" took=3ms", "level=warn user_email=\"{email}\" took=3ms"),
        (
            "INSERT INTO people (id, full_name, passport_no, created_at) VALUES (7, 'Ann Example', 'HL9688441', '2026-01-01')",
            "INSERT INTO people (id, full_name, passport_no, created_at) VALUES (7, '{person_name}', '{passport}', '2026-01-01')",
        ),
        ("UPDATE t SET password='it''s me' WHERE id=1", "UPDATE t SET password='{password}' WHERE id=1"),
        (
            "cookie: JSESSIONID=qvwluamn4ftjdwnhsh5cyvc99x; theme=dark",
            "cookie: JSESSIONID={session}; theme=dark",
        ),
        (
            "mysql --user app --password hunter22 --port 3306",
            "mysql --user app --password {password} --port 3306",
        ),
        (
            "action=save&api_key=9QACeBUci9NGW2rxf0jzWJriyiEgVsjQ&submit=1",
            "action=save&api_key={api_key}&submit=1",
        ),
        ("basic_auth=dXNlcjpodW50ZXIy ok", "basic_auth={credentials} ok"),
        ("dob is 20/06/1940, retrying in 651ms", "dob is {date_of_birth}, retrying in 651ms"),
    ]);
}

#[test]
fn every_number_of_a_list_is_taken() {
    check(&[
        ("07700900123 07700900456 07700900789", "{phone} {phone} {phone}"),
        ("call 0116 496 0149, 0116 496 0150", "call {phone}, {phone}"),
        ("+44 (0)20 7946 0123 +442079460124", "{phone} {phone}"),
        ("002-36-5196 002-36-5197 002-36-5198", "{us_ssn} {us_ssn} {us_ssn}"),
        ("4111 1111 1111 1111 5454 5454 5454 5454", "{card} {card}"),
        ("Key (phone)=(07700900123) exists", "Key (phone)=({phone}) exists"),
        ("lat=51.5074&lon=-0.1278", "lat={location}&lon={location}"),
        ("a@b.example,c@d.example;e@f.example", "{email},{email};{email}"),
    ]);
}

#[test]
fn disguises_are_seen_through() {
    check(&[
        ("user=ann%2540example.org", "user={email}"),
        (r#"{"m":"ann\u0040example.org"}"#, r#"{"m":"{email}"}"#),
        ("card ４１１１１１１１１１１１１１１１ ok", "card {card} ok"),
        ("card 4111\u{200b}1111\u{a0}1111\u{2011}1111 ok", "card {card} ok"),
        ("blob YW5uQGV4YW1wbGUub3Jn end", "blob {email} end"),
        ("hex 616e6e406578616d706c652e6f7267 end", "hex {email} end"),
        ("ann&#64;example.org", "{email}"),
    ]);
}

#[test]
fn an_access_log_keeps_its_columns() {
    let line = "[2026-11-22T01:23:27.403Z] \"GET /cart/2d7207bc-3a06-49da-bd02-5c0bc57a1359?email=george@mail.example.net HTTP/2\" \
                200 - via_upstream - \"-\" 0 1887 20 20 \"81.41.159.210,127.9.9.9\" \"frontend/2.4.1 aiohttp\" \
                \"0a9ace44-cdd1-9cf7-a040-f077cdf308fa\" \"cart.shop.svc.cluster.local:8080\" \"127.31.1.12:9080\" inbound|9080|| \
                127.0.0.6:46140 127.31.1.12:8080 127.9.9.9:0 outbound_.8080_._.cart.shop.svc.cluster.local default\n";
    let want = line.replace("george@mail.example.net", "{email}").replace("81.41.159.210", "81.41.159.0");
    check(&[(line, &want)]);
}

#[test]
fn the_name_of_an_attribute_decides_first() {
    for (key, value, want) in [
        ("http.request.header.authorization", "Bearer abc", "Bearer {credentials}"),
        ("http.request.header.authorization", "opaque", "{credentials}"),
        ("authorization", "-", "-"),
        ("http.request.header.cookie", "theme=dark", "{cookie}"),
        ("db.password", "x", "{password}"),
        ("enduser.id", "kharris", "{username}"),
        ("user.date_of_birth", "1940-06-23", "{date_of_birth}"),
        ("customer.phone", "555-0123 9", "555-0123 9"),
        ("customer.phone", "0289018153", "{phone}"),
        ("http.request.header.x-api-key", "abc", "{api_key}"),
        // Left alone by name, whatever digits they hold.
        ("request_id", "943-476-5919", "943-476-5919"),
        ("upstream_cluster", "outbound|8080||cart.shop", "outbound|8080||cart.shop"),
        ("service.version", "1.11.22.161", "1.11.22.161"),
        // A caller may write what it likes into a request id.
        ("x-request-id", "ann@example.org", "{email}"),
        ("thread.id", "4023148105", "4023148105"),
    ] {
        assert_eq!(redact_under(key, value), want, "{key}");
    }
}

#[test]
fn jwts_are_taken_whole_with_the_claims_in_them() {
    let jwt = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJ1MSIsImVtYWlsIjoiYUBiLmV4YW1wbGUifQ.c2lnbmF0dXJlLXNpZ25hdHVyZQ";
    assert_eq!(redact_under("authorization", &format!("Bearer {jwt}")), "Bearer {jwt}");
    assert_eq!(redact(&format!("token {jwt} expired")), "token {jwt} expired");
}
