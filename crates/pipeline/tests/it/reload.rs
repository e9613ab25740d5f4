//! Rules and keys change while the pipeline runs; what is wrong changes nothing, and is told without values.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lapwing_pipeline::config::{Config, Sources};
use lapwing_pipeline::rules::{RuleSources, RulesStatus};
use lapwing_pipeline::settings::Settings;
use tokio::time::{interval, timeout};

use crate::help::{Running, archived, send, settings, shot};

const PATIENCE: Duration = Duration::from_secs(40);

fn key_file(path: &Path, bytes: &[u8], mode: u32) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Lets the pipeline look at its files until `condition` holds.
async fn watched_until(running: &mut Running, condition: impl Fn(RulesStatus) -> bool) {
    let status = running.pipeline.gauges.rules.clone();
    let mut look = interval(Duration::from_millis(20));
    let reached = async {
        while !condition(*status.borrow()) {
            look.tick().await;
        }
    };
    tokio::select! {
        error = running.pipeline.watch() => panic!("{error}"),
        waited = timeout(PATIENCE, reached) => waited.unwrap(),
    }
}

async fn told(running: &mut Running, id: u64) {
    let mut one = shot(id);
    one.note = format!("{id}: mail ann@example.org");
    send(&mut running.sender, &[one]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_rules_take_effect_and_a_bad_file_leaves_the_old_ones_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let (rules, key) = (dir.path().join("rules.yaml"), dir.path().join("key"));
    fs::write(&rules, "version: 1\nbuiltin: {actions: {email: keep_part}}\n").unwrap();
    key_file(&key, &[1; 32], 0o600);
    let data = dir.path().join("data");
    let settings = settings(
        &data,
        &[
            &format!("redaction.rules=[{}]", rules.display()),
            &format!("redaction.pseudonym_keys=[{{id: k1, file: {}}}]", key.display()),
            "redaction.reload_interval=30ms",
        ],
    );
    let mut running = Running::start(&settings, false).await;
    told(&mut running, 1).await;

    fs::write(
        &rules,
        "version: 1\nbuiltin: {disable: [email, nothing]}\nallow: [{value: ann@example.org}]\n",
    )
    .unwrap();
    watched_until(&mut running, |status| status.refused == 1).await;
    told(&mut running, 2).await;
    let page = running.pipeline.gauges.text();
    assert!(page.contains("lapwing_redaction_rules_stale 1"), "{page}");
    assert!(running.pipeline.gauges.not_ready().is_empty());
    assert!(running.pipeline.gauges.details()[0].contains("1 problems"));

    fs::write(&rules, "version: 1\nbuiltin: {actions: {email: replace}}\n").unwrap();
    watched_until(&mut running, |status| status.applied == 1).await;
    told(&mut running, 3).await;
    assert!(running.pipeline.gauges.details().is_empty());

    fs::write(&rules, "version: 1\nbuiltin: {actions: {email: pseudonymise}}\n").unwrap();
    watched_until(&mut running, |status| status.applied == 2).await;
    told(&mut running, 4).await;
    // A key that others may read is not used, and the one in force is not forgotten.
    key_file(&key, &[2; 32], 0o640);
    running.pipeline.reload();
    told(&mut running, 5).await;
    key_file(&key, &[2; 32], 0o400);
    running.pipeline.reload();
    told(&mut running, 6).await;

    let hits = running.pipeline.gauges.intake.borrow().redactions.clone();
    let hit = hits.iter().find(|h| h.rule == "email" && h.action == "keep_part").unwrap();
    assert_eq!((hit.field, hit.count), ("attribute", 2));
    running.drain().await;
    let mut notes: Vec<String> = Vec::new();
    for calls in archived(&settings.archive_dir()) {
        let attributes = calls.columns().attributes();
        notes.extend((0..calls.len()).filter_map(|row| attributes.get(row, "note").map(str::to_owned)));
    }
    notes.sort();
    assert_eq!(notes[..3], ["1: mail {email:example.org}", "2: mail {email:example.org}", "3: mail {email}"]);
    let token = |n: usize| notes[n].split_once("{email:k1.").unwrap().1.to_owned();
    assert_eq!(token(3), token(4));
    assert_ne!(token(4), token(5), "another key");
}

fn problems(sets: &[String]) -> String {
    let env = |_: &str| None;
    let file = |path: &str| Err(format!("`{path}` is not for tests"));
    let config = Config::parse(&[], sets, &Sources { env: &env, file: &file }).unwrap();
    let problems = Settings::of(&config).err().unwrap_or_default();
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn keys_that_are_not_safe_are_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    for (name, length, mode) in [
        ("good", 32, 0o600),
        ("open", 32, 0o644),
        ("group", 32, 0o640),
        ("short", 31, 0o400),
        ("long", 5_000, 0o600),
    ] {
        let bytes: Vec<u8> = (0..length).map(|n| (n % 251) as u8 ^ name.as_bytes()[0]).collect();
        key_file(&dir.path().join(name), &bytes, mode);
    }
    let check = |key: &str, want: &str| {
        let got = problems(&[format!("redaction.pseudonym_keys=[{key}]")]);
        assert!(if want.is_empty() { got.is_empty() } else { got.contains(want) }, "{key}: {got:?}");
    };
    check(&format!("{{id: k1, file: {}}}", path("good")), "");
    check(&format!("{{id: k1, file: {}}}", path("open")), "others than its owner may use it (mode 0644)");
    check(&format!("{{id: k1, file: {}}}", path("group")), "(mode 0640); write `chmod 600`");
    check(&format!("{{id: k1, file: {}}}", path("short")), "shorter than 32 bytes");
    check(&format!("{{id: k1, file: {}}}", path("long")), "larger than 4096 bytes");
    check(&format!("{{id: k1, file: {}}}", path("absent")), "No such file");
    check(&format!("{{id: k1, file: {}}}", dir.path().display()), "not a file");
    check(&format!("{{id: K1, file: {}}}", path("good")), "small letters and digits");
    check(
        &format!("{{id: k1, file: {}, from: yesterday}}", path("good")),
        "pseudonym_keys[0].from: this is not a time",
    );
    let twice = format!("{{id: k1, file: {0}}}, {{id: k2, file: {0}}}", path("good"));
    check(&twice, "the bytes of another");
}

#[test]
fn the_files_of_the_repository_are_valid_and_a_wrong_one_is_told_without_what_it_holds() {
    let rules = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../pipelines/rules"));
    let all: Vec<PathBuf> = fs::read_dir(rules).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(all.len() >= 3);
    assert_eq!(RuleSources::check(&all), Ok(()));
    let dir = tempfile::tempdir().unwrap();
    let wrong = dir.path().join("wrong.yaml");
    for text in [
        "version: 1\nallow: ann@example.org\n",
        "version: 1\nallow: [{value: ann@example.org, suffix: [ben@example.org]}]\n",
        "version: ann@example.org\n",
        "version: 1\nlimits: {value_bytes: 4111111111111111}\n",
        "version: 1\nallow: [{value: 'ann@example.org]}\n",
    ] {
        fs::write(&wrong, text).unwrap();
        let problems = RuleSources::check(std::slice::from_ref(&wrong)).unwrap_err();
        let told: String = problems.iter().map(ToString::to_string).collect();
        assert!(!told.contains("ann@") && !told.contains("ben@") && !told.contains("4111"), "{told}");
    }
}
