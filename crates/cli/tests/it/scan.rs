//! `redact scan` says where what was planted stands, and nothing where nothing was.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::command::{lapwing, text};

const MESH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../datasets/mesh");

fn scan(paths: &[&Path]) -> (Option<i32>, Value, String) {
    let mut args = vec!["redact", "scan", "--format", "json"];
    args.extend(paths.iter().map(|path| path.to_str().unwrap()));
    let output = lapwing(&args, "");
    let report = serde_json::from_slice(&output.stdout).unwrap();
    (output.status.code(), report, text(&output.stderr))
}

#[test]
fn an_archive_of_the_recorded_mesh_holds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("archive");
    let inventory = format!("{MESH}/inventory.yaml");
    let findings = dir.path().join("findings.ndjson");
    let args = ["replay", "--input", &format!("{MESH}/raw"), "--inventory", &inventory];
    let args =
        [&args[..], &["--archive", archive.to_str().unwrap(), "--findings", findings.to_str().unwrap()]];
    assert!(lapwing(&args.concat(), "").status.success());
    let (code, report, said) = scan(&[dir.path()]);
    assert!(report["texts"].as_u64().unwrap() > 100_000, "{report}");
    assert_eq!((code, report["found"].as_u64()), (Some(0), Some(0)), "{said}{}", report["places"]);

    // The recording itself, which it was made of, is full of what the archive lacks.
    let (code, report, _) = scan(&[&Path::new(MESH).join("raw/logs.otlp.pb.zst")]);
    assert!(code == Some(1) && report["found"].as_u64().unwrap() > 10_000, "{}", report["by_rule"]);
}

#[test]
fn every_planted_place_is_told_without_its_value_and_a_broken_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
    fs::create_dir(dir.path().join("logs")).unwrap();
    file("logs/a.log", b"all is well\nmail planted.one@example.org now\n");
    file("logs/b.ndjson", b"{\"ok\":1}\n{\"user\":{\"password\":\"plantedtwo2\"}}\n");
    file("c.bin", b"\0\x01\x02planted.three@example.org\0");
    file("d.parquet", b"PAR1 but nothing else");
    file("clean.txt", b"GET /stock 200\n");
    file(".hidden", b"planted.four@example.org\n");
    let (code, report, said) = scan(&[dir.path()]);
    assert_eq!(code, Some(1));
    let places = report["places"].as_array().unwrap().iter().map(|p| {
        let name = Path::new(p["file"].as_str().unwrap()).file_name().unwrap().to_str().unwrap();
        let at = [&p["row"], &p["line"], &p["byte"]].map(Value::as_u64);
        (name.to_owned(), at, p["rule"].as_str().unwrap().to_owned(), p["start"].as_u64().unwrap())
    });
    let places: Vec<_> = places.collect();
    let planted = |name: &str, at, rule: &str, start| (name.to_owned(), at, rule.to_owned(), start);
    assert_eq!(
        places,
        [
            planted("c.bin", [None, None, Some(3)], "email", 0),
            planted("a.log", [None, Some(2), None], "email", 5),
            planted("b.ndjson", [None, Some(2), None], "password", 0),
        ]
    );
    assert_eq!(report["unread"].as_array().unwrap().len(), 1);
    assert!(said.contains("d.parquet") && report["files"] == 4, "{said}");
    assert!(!report.to_string().contains("planted"), "no value is repeated: {report}");

    let args = ["redact", "scan", dir.path().to_str().unwrap()];
    let page = text(&lapwing(&args, "").stdout);
    assert!(
        page.contains("line 2") && page.contains("3 values found") && !page.contains("planted"),
        "{page}"
    );
}

#[test]
fn what_was_archived_under_looser_rules_is_found_by_its_row_column_and_name() {
    let dir = tempfile::tempdir().unwrap();
    let rules = dir.path().join("loose.yaml");
    fs::write(&rules, "version: 1\nbuiltin:\n  disable: [email]\n").unwrap();
    let archive = dir.path().join("archive");
    let output = lapwing(
        &[
            "replay",
            "--input",
            &format!("{MESH}/raw"),
            "--archive",
            archive.to_str().unwrap(),
            "--set",
            &format!("redaction.rules=[{}]", rules.display()),
        ],
        "",
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    let (code, report, _) = scan(&[&archive]);
    assert_eq!(code, Some(1));
    assert!(report["by_rule"]["email"].as_u64().unwrap() > 1_000, "{}", report["by_rule"]);
    let place = &report["places"][0];
    assert!(place["row"].is_u64() && place["column"] == "attributes" && place["key"].is_string(), "{place}");
}
