//! Batches: distinct values once, values by the name they stand under, columns without a change shared.

use arrow::array::Array;
use lapwing_redaction::{Redactor, Rules};
use lapwing_telemetry::{Builders, Call, Calls, EventTime, RawCalls, Signal};
use std::sync::Arc;

use crate::redactor;

/// One call for each list of attributes, with `adjust` for the columns.
fn batch(rows: &[&[(&str, &str)]], adjust: impl Fn(usize, &mut Call<'_>)) -> RawCalls {
    let mut builders = Builders::new(1);
    for (n, attributes) in rows.iter().enumerate() {
        let mut call = Call::new(EventTime(1), EventTime(0), Signal::LogServer, "prod");
        call.source = Some("shop/cart");
        call.destination = Some("data/orders");
        adjust(n, &mut call);
        builders.append(&call, attributes.iter().copied());
    }
    builders.finish().remove(0).1
}

pub(crate) fn attributes(calls: &Calls, row: usize) -> Vec<(String, String)> {
    calls.columns().attributes().row(row).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

/// Every string anywhere in the batch, dictionary values included, used or not.
pub(crate) fn everything(calls: &Calls) -> String {
    let c = calls.columns();
    let words = [
        c.cluster(),
        c.source(),
        c.destination(),
        c.source_identity(),
        c.destination_identity(),
        c.operation(),
        c.method(),
        c.path(),
        c.outcome(),
        c.authn(),
        c.authz(),
        c.tls(),
        c.flags(),
        c.attributes().keys,
        c.attributes().values,
    ];
    words.iter().flat_map(|w| w.values.iter().flatten()).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_value_is_judged_under_each_name_it_stands_under() {
    let rows: [&[(&str, &str)]; 3] = [
        &[("request_id", "4111111"), ("app.pin", "4111111")],
        &[("other", "4111111"), ("app.pin", "x")],
        &[],
    ];
    let mut redactor = redactor();
    let calls = redactor.redact(batch(&rows, |_, _| {}));
    assert_eq!(
        attributes(&calls, 0),
        [("request_id".into(), "4111111".into()), ("app.pin".into(), "{password}".into())]
    );
    assert_eq!(
        attributes(&calls, 1),
        [("other".into(), "4111111".into()), ("app.pin".into(), "{password}".into())]
    );
    assert_eq!(redactor.counts().get("password"), Some(&2));
}

#[test]
fn every_column_of_text_is_looked_at() {
    let raw = batch(&[&[("body", "ann7@example.org"), ("visits[ann8@example.org]", "1")]], |_, call| {
        call.source_identity = Some("spiffe://cluster.local/ns/shop/sa/cart");
        call.destination_identity = Some("CN=ann0@example.org");
        call.operation = Some("GET /users/ann1@example.org");
        call.method = Some("GET");
        call.path = Some("/users/ann2@example.org");
        call.authn = Some("denied:ann3@example.org");
        call.authz = Some("denied:ann4@example.org");
        call.tls = Some("failed:ann5@example.org");
        call.flags = Some("ann6@example.org");
    });
    let mut redactor = redactor();
    let calls = redactor.redact(raw);
    let text = everything(&calls);
    assert!(!text.contains("ann"), "{text}");
    assert!(text.contains("spiffe://cluster.local/ns/shop/sa/cart"));
    assert_eq!(attributes(&calls, 0)[1].0, "visits[{email}]");
    assert_eq!(redactor.counts().get("email"), Some(&9));
}

#[test]
fn a_batch_without_findings_shares_its_arrays() {
    let raw =
        batch(&[&[("path", "/items/7"), ("k8s.pod.name", "cart-7f9-x")], &[("path", "/items/8")]], |_, _| {});
    let before = raw.columns().attributes().values.values.value_data().as_ptr();
    let calls = redactor().redact(raw);
    assert_eq!(calls.columns().attributes().values.values.value_data().as_ptr(), before);
}

#[test]
fn values_of_calls_that_were_rolled_back_do_not_stay_in_the_dictionary() {
    let mut builders = Builders::new(1);
    let call = Call::new(EventTime(1), EventTime(0), Signal::LogServer, "prod");
    builders.append(&call, [("path", "/items")].into_iter());
    let checkpoint = builders.checkpoint();
    builders.append(&call, [("password", "hunter2"), ("path", "/torn")].into_iter());
    builders.rollback(&checkpoint);
    let calls = redactor().redact(builders.finish().remove(0).1);
    assert_eq!(calls.len(), 1);
    let text = everything(&calls);
    assert!(!text.contains("hunter2") && !text.contains("/torn"), "{text}");
}

#[test]
fn many_rows_keep_their_order_and_count_every_occurrence() {
    let emails: Vec<String> = (0..50).map(|n| format!("user{n}@example.org")).collect();
    let rows: Vec<Vec<(&str, &str)>> = (0..500)
        .map(|n| vec![("path", if n % 3 == 0 { emails[n % 50].as_str() } else { "/items" }), ("n", "7")])
        .collect();
    let rows: Vec<&[(&str, &str)]> = rows.iter().map(Vec::as_slice).collect();
    let mut redactor = Redactor::new(Arc::new(Rules::builtin()));
    for _ in 0..2 {
        let calls = redactor.redact(batch(&rows, |_, _| {}));
        for n in 0..500 {
            let want = if n % 3 == 0 { "{email}" } else { "/items" };
            assert_eq!(attributes(&calls, n), [("path".into(), want.into()), ("n".into(), "7".into())]);
        }
    }
    assert_eq!(redactor.counts().get("email"), Some(&(2 * 167)), "once for each row");
}

#[test]
fn an_empty_map_stays_empty() {
    let calls = redactor().redact(batch(&[&[], &[]], |_, _| {}));
    assert_eq!(calls.len(), 2);
    assert_eq!(calls.columns().attributes().values.values.len(), 0);
}
