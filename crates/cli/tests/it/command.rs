//! The command as outside tools see it: exit codes, messages, output formats.

use std::io::Write;
use std::process::{Command, Output, Stdio};

pub(crate) fn lapwing(args: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_lapwing"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn every_command_has_help_with_an_example() {
    for command in [
        "run",
        "replay",
        "train",
        "backtest",
        "baseline",
        "explain",
        "feedback",
        "warm-start",
        "simulate",
        "redact",
        "validate",
        "schema",
        "retention",
        "demo",
        "version",
    ] {
        let help = lapwing(&[command, "--help"], "");
        assert!(help.status.success(), "{command}");
        assert!(text(&help.stdout).contains("Example"), "{command} --help has no example");
    }
}

#[test]
fn a_wrong_configuration_names_every_problem_with_line_reason_and_hint_and_exits_78() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bad.yaml");
    let bad = "receivers:\n  otlp:\n    protocols:\n      grpc:\n        endpont: 127.0.0.1:4317\nretention:\n  max_age: 30 days\nlog:\n  partitions: many\n";
    std::fs::write(&path, bad).unwrap();
    let output = lapwing(&["validate", path.to_str().unwrap()], "");
    assert_eq!(output.status.code(), Some(78));
    let said = text(&output.stderr).replace(path.to_str().unwrap(), "bad.yaml");
    for expected in [
        "bad.yaml:5:",
        "did you mean `endpoint`?",
        "bad.yaml:7:",
        "`30 days` is not a duration",
        "bad.yaml:9:",
        "hint:",
    ] {
        assert!(said.contains(expected), "`{expected}` is not in:\n{said}");
    }
}

#[test]
fn redact_keeps_lines_ids_and_order() {
    let output = lapwing(&["redact"], "mail jo.bloggs@example.org now\nnothing here\n");
    let said = text(&output.stdout);
    assert!(output.status.success());
    assert_eq!(said.lines().count(), 2);
    assert!(!said.contains("bloggs") && said.contains("mail ") && said.ends_with("nothing here\n"), "{said}");

    let lines = "{\"id\":\"a\",\"text\":\"jo.bloggs@example.org\"}\n{\"id\":7,\"text\":\"hunter2hunter2\",\"key\":\"password\"}\n";
    let output = lapwing(&["redact", "--jsonl", "--stats"], lines);
    let said = text(&output.stdout);
    let lines: Vec<serde_json::Value> = said.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!((lines[0]["id"].as_str(), lines[1]["id"].as_u64()), (Some("a"), Some(7)));
    assert!(!said.contains("bloggs") && !said.contains("hunter2"), "{said}");
    assert!(!text(&output.stderr).is_empty(), "--stats prints hits per rule");
}

#[test]
fn redact_errors_name_the_line_and_never_its_content() {
    let output = lapwing(&["redact", "--jsonl"], "{\"id\":1,\"text\":\"fine\"}\nsecret-value-here\n");
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("line 2") && !said.contains("secret-value"), "{said}");
}

#[test]
fn the_schema_is_json_and_the_version_is_a_line() {
    let schema: serde_json::Value = serde_json::from_slice(&lapwing(&["schema"], "").stdout).unwrap();
    assert!(schema["properties"]["receivers"].is_object());
    assert_eq!(text(&lapwing(&["version"], "").stdout), format!("lapwing {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn explanations_are_for_people_and_pipes_and_repeat_no_value() {
    let texts = "pan 4111111111111112 of planted@example.org\n";
    let page = text(&lapwing(&["redact", "--explain"], texts).stdout);
    assert!(page.contains("not card") && page.contains("Luhn") && page.contains("-> {email}"), "{page}");
    let json =
        lapwing(&["redact", "--explain", "--format", "json", "--key", "password", "hunter2hunter2"], "");
    let told: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(
        (told["claims"][0]["rule"].as_str(), told["claims"][0]["proof"].as_str()),
        (Some("password"), Some("name"))
    );
    assert!(!page.contains("planted") && !told.to_string().contains("hunter2"), "{page}{told}");
}
