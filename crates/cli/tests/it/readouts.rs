//! What can be asked of findings: on six recorded minutes of a mesh, with a minute of learning.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::command::{lapwing, text};

const CONFIG: &str = "detectors: { learning: 1m }\nreceivers: { otlp: { default_cluster: cluster-lon-1 } }\n";

fn mesh(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/mesh").join(name);
    path.to_str().unwrap().to_owned()
}

/// A configuration file, and the options that name the recording.
fn recorded(dir: &Path) -> (PathBuf, Vec<String>) {
    let config = dir.join("lapwing.yaml");
    std::fs::write(&config, CONFIG).unwrap();
    let options = ["--input", &mesh("raw/traces.otlp.pb.zst"), "--inventory", &mesh("inventory.yaml")]
        .map(str::to_owned);
    (config, options.to_vec())
}

fn run(args: &[&str], options: &[String]) -> std::process::Output {
    let all: Vec<&str> = args.iter().copied().chain(options.iter().map(String::as_str)).collect();
    lapwing(&all, "")
}

#[test]
fn a_finding_is_explained_and_what_cannot_be_shown_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let (config, recording) = recorded(dir.path());
    let (config, findings) = (config.to_str().unwrap(), dir.path().join("out.ndjson"));
    let out = findings.to_str().unwrap();
    assert!(run(&["replay", "--config", config, "--findings", out], &recording).status.success());
    let lines = std::fs::read_to_string(&findings).unwrap();
    let mut parsed = lines.lines().map(|l| serde_json::from_str::<Value>(l).unwrap());
    let finding = parsed.find(|f| f["kind"] == "new_pair").unwrap();
    let id = finding["id"].as_str().unwrap();
    let base = ["explain", id, "--config", config, "--findings", out];
    let page = run(&base, &recording);
    let said = text(&page.stdout);
    assert!(page.status.success(), "{}", text(&page.stderr));
    // Six minutes hold no window of ten.
    for expected in
        ["new_pair by detector novelty", "observed", "expected  0", "no window of this pair", "made by"]
    {
        assert!(said.contains(expected), "`{expected}` is not in:\n{said}");
    }
    let svg = dir.path().join("finding.svg");
    let plot = run(&[&base[..], &["--output", svg.to_str().unwrap()]].concat(), &recording);
    assert_eq!((plot.status.code(), svg.exists()), (Some(1), false), "{}", text(&plot.stderr));
    let json = run(&[&base[..], &["--format", "json"]].concat(), &recording);
    let told: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(told["opened"]["id"], finding["id"]);
    let unknown = run(&["explain", "lw-none", "--config", config, "--findings", out], &recording);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(text(&unknown.stderr).contains("no finding `lw-none`"));
}

#[test]
fn a_policy_that_silences_a_kind_is_seen_to_do_so_before_it_is_rolled_out() {
    let dir = tempfile::tempdir().unwrap();
    let (config, recording) = recorded(dir.path());
    let planned = dir.path().join("planned.yaml");
    let silent = "detectors: { learning: 1m, sensitivity: [{ kinds: [new_pair], factor: 0 }] }\nreceivers: { otlp: { default_cluster: cluster-lon-1 } }\n";
    std::fs::write(&planned, silent).unwrap();
    let (a, b) = (config.to_str().unwrap(), planned.to_str().unwrap());
    let output =
        run(&["simulate", "--config", a, "--config", b, "--format", "json", "--exit-code"], &recording);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let kind = &told["kinds"]["new_pair"];
    assert!(kind["a"].as_u64().unwrap() > 0);
    assert_eq!((&kind["b"], &kind["vanished"]), (&Value::from(0), &kind["a"]));
    assert_eq!(told["settings"][0]["key"], "detectors.sensitivity");
    let same = run(&["simulate", "--config", a], &recording);
    assert!(text(&same.stderr).contains("--set-b"), "{}", text(&same.stderr));
}

#[test]
fn baselines_are_learned_from_a_recording_once_shown_and_exported_with_their_hash() {
    let dir = tempfile::tempdir().unwrap();
    let (config, recording) = recorded(dir.path());
    let (config, data) = (config.to_str().unwrap(), dir.path().join("data"));
    let place = ["--config", config, "--data-dir", data.to_str().unwrap()];
    let learned = run(&[&["warm-start"], &place[..]].concat(), &recording);
    assert!(text(&learned.stdout).contains("on the way, not published"), "{}", text(&learned.stderr));
    let again = run(&[&["warm-start"], &place[..]].concat(), &recording);
    assert!(text(&again.stderr).contains("there is a state file"), "{}", text(&again.stderr));

    let json = lapwing(&[&["baseline", "show", "--format", "json"], &place[..]].concat(), "");
    let told: Value = serde_json::from_slice(&json.stdout).unwrap();
    let pair = told["pairs"].as_array().unwrap().iter().find(|p| p["source"] == "shop/cart").unwrap();
    assert_eq!(pair["hours"].as_array().unwrap().len(), 48);
    assert!(pair["missing"][0].as_str().unwrap().contains("first hour"), "{pair}");
    let report = dir.path().join("audit.md");
    let export = lapwing(
        &[&["baseline", "export", "--source", "shop/*", "--output", report.to_str().unwrap()], &place[..]]
            .concat(),
        "",
    );
    assert!(export.status.success(), "{}", text(&export.stderr));
    let markdown = std::fs::read_to_string(&report).unwrap();
    assert!(
        markdown.contains(told["state_sha256"].as_str().unwrap()) && markdown.contains("## Not learned yet")
    );
    assert!(!markdown.contains("ops/reporting →"), "only the pairs asked for");
}

#[test]
fn a_finding_marked_false_is_not_made_again_and_nothing_else_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (config, recording) = recorded(dir.path());
    let data = format!("data_dir={}", dir.path().join("data").display());
    let (config, out) = (config.to_str().unwrap(), dir.path().join("out.ndjson"));
    let replay = ["replay", "--config", config, "--set", &data, "--findings", out.to_str().unwrap()];
    let ids = || -> std::collections::BTreeSet<String> {
        assert!(run(&replay, &recording).status.success());
        let lines = std::fs::read_to_string(&out).unwrap();
        let id = |line: &str| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned();
        lines.lines().map(id).collect()
    };
    let before = ids();
    let lines = std::fs::read_to_string(&out).unwrap();
    let mut parsed = lines.lines().map(|l| serde_json::from_str::<Value>(l).unwrap());
    let id = parsed.find(|f| f["kind"] == "new_pair").unwrap()["id"].as_str().unwrap().to_owned();
    let mark = |more: &[&str]| {
        let base = ["feedback", &id, "--config", config, "--set", &data, "--findings", out.to_str().unwrap()];
        lapwing(&[&base[..], more].concat(), "")
    };
    let nobody = mark(&["--by", "soc"]);
    assert_eq!(nobody.status.code(), Some(2), "true or false must be said");
    let reason = "job of planted@example.org";
    let said = mark(&["--false", "--by", "soc", "--reason", reason, "--from", "2026-11-01T00:00:00Z"]);
    assert!(text(&said.stdout).contains("must go farther than"), "{}", text(&said.stderr));
    let kept = std::fs::read_to_string(dir.path().join("data/feedback.ndjson")).unwrap();
    assert!(kept.contains("\"by\":\"soc\"") && !kept.contains("planted"), "{kept}");

    let after = ids();
    assert_eq!(before.difference(&after).collect::<Vec<_>>(), [&id]);
    assert!(after.is_subset(&before));
    // The latest word counts.
    std::fs::write(&out, &lines).unwrap();
    assert!(mark(&["--true", "--by", "soc"]).status.success());
    assert_eq!(ids(), before);
    let listed = lapwing(&["feedback", "--list", "--config", config, "--set", &data], "");
    assert!(text(&listed.stdout).contains("new_pair"), "{}", text(&listed.stderr));
}
