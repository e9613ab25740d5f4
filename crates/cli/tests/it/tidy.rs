//! The house keeps its shape: crate edges, file lengths, fresh schema.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cargo_metadata::MetadataCommand;

/// Every edge there may be, as drawn in ARCHITECTURE.md. Benches may use anything.
const EDGES: &[(&str, &[&str])] = &[
    ("telemetry", &[]),
    ("redaction", &["telemetry"]),
    ("detection", &["telemetry"]),
    ("otlp", &["telemetry"]),
    ("kafka", &["telemetry"]),
    ("storage", &["telemetry"]),
    ("siem", &["telemetry"]),
    ("pipeline", &["telemetry", "redaction", "detection", "otlp", "kafka", "storage", "siem"]),
    ("training", &["telemetry", "detection", "pipeline"]),
    ("cli", &["telemetry", "pipeline", "training"]),
];

/// Which crate alone may use a dependency.
const CONFINED: &[(&str, &str)] = &[
    ("rdkafka", "kafka"),
    ("linfa", "training"),
    ("tonic", "otlp"),
    ("parquet", "storage"),
    ("clap", "cli"),
    ("anyhow", "cli"),
];

/// What pure crates must never know.
const IMPURE: &[&str] = &["tokio", "rdkafka", "tonic", "hyper", "tracing", "clap", "linfa"];

const MAX_LINES: usize = 600;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Normal dependencies of each of our crates, by short name.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec().unwrap();
    let ours = metadata.packages.iter().filter_map(|package| {
        let name = package.name.strip_prefix("lapwing-")?.to_owned();
        let normal = package.dependencies.iter().filter(|d| d.kind == cargo_metadata::DependencyKind::Normal);
        Some((name, normal.map(|d| d.name.clone()).collect()))
    });
    ours.collect()
}

#[test]
fn crates_depend_on_each_other_only_as_drawn() {
    let dependencies = dependencies();
    let edges: BTreeMap<_, _> = EDGES.iter().copied().collect();
    for (name, all) in &dependencies {
        if name == "benches" {
            continue;
        }
        let allowed =
            edges.get(name.as_str()).unwrap_or_else(|| panic!("crate `{name}` is not in ARCHITECTURE.md"));
        for dependency in all.iter().filter_map(|d| d.strip_prefix("lapwing-")) {
            assert!(
                allowed.contains(&dependency),
                "`{name}` must not depend on `{dependency}`: a new edge needs an ADR"
            );
        }
    }
    assert!(
        EDGES.iter().all(|(name, _)| dependencies.contains_key(*name)),
        "an edge names a crate that is gone"
    );
}

#[test]
fn heavy_dependencies_stay_in_their_crate_and_pure_crates_stay_pure() {
    for (name, all) in dependencies().iter().filter(|(name, _)| *name != "benches") {
        for (dependency, home) in CONFINED {
            assert!(
                name == home || !all.contains(*dependency),
                "`{dependency}` belongs to `{home}`, not to `{name}`"
            );
        }
        if ["telemetry", "redaction", "detection"].contains(&name.as_str()) {
            let known: Vec<_> = IMPURE.iter().filter(|d| all.contains(**d)).collect();
            assert!(known.is_empty(), "pure crate `{name}` must not know {known:?}");
        }
    }
}

#[test]
fn no_source_file_is_too_long_to_be_one_idea() {
    let mut long = Vec::new();
    for folder in ["crates", "benches"] {
        visit(&root().join(folder), &mut |path| {
            let lines = std::fs::read_to_string(path).unwrap().lines().count();
            if lines > MAX_LINES {
                long.push(format!("{} has {lines} lines", path.display()));
            }
        });
    }
    assert!(long.is_empty(), "split by idea, not by count: {long:#?}");
}

#[test]
fn the_checked_in_schema_is_the_one_that_the_code_says() {
    let checked_in = std::fs::read_to_string(root().join("pipelines/schema.json")).unwrap();
    let code = serde_json::to_string_pretty(&lapwing_pipeline::config::schema()).unwrap();
    assert_eq!(checked_in.trim_end(), code, "run `lapwing schema > pipelines/schema.json`");
}

#[test]
fn every_example_pipeline_is_valid() {
    let folder = root().join("pipelines");
    let mut seen = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "yaml") {
            seen += 1;
            let sets = [format!("inventory.file={}", root().join("datasets/mesh/inventory.yaml").display())];
            // Credentials and addresses that the examples refer to are not on this machine.
            let env = |name: &str| match name {
                "CHAT_WEBHOOK_URL" => Some("https://chat.example/T/B/x".to_owned()),
                name => name.ends_with("_PASSWORD").then(|| "secret".to_owned()),
            };
            let file = |_: &str| Ok("secret".to_owned());
            let text = std::fs::read_to_string(&path).unwrap();
            let text = text.replace("pipelines/templates", &folder.join("templates").display().to_string());
            let sources = lapwing_pipeline::config::Sources { env: &env, file: &file };
            let config = lapwing_pipeline::config::Config::parse(&[(path.clone(), text)], &sets, &sources);
            let config = config.unwrap_or_else(|problems| panic!("{}: {problems:#?}", path.display()));
            let known: Vec<_> =
                lapwing_pipeline::settings::Settings::of(&config).err().into_iter().flatten().collect();
            assert!(known.is_empty(), "{}: {known:#?}", path.display());
        }
    }
    assert!(seen >= 2, "the example pipelines are gone");
}

#[test]
fn the_page_on_redaction_names_every_built_in_rule() {
    let page = std::fs::read_to_string(root().join("docs/redaction.md")).unwrap();
    let rules = lapwing_pipeline::redaction::BUILTINS.iter().map(|rule| format!("`{}`", rule.name));
    let missing: Vec<_> = rules.filter(|name| !page.contains(name)).collect();
    assert!(missing.is_empty(), "docs/redaction.md does not name {missing:?}");
}

fn visit(folder: &Path, each: &mut impl FnMut(&Path)) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if path.file_name().is_some_and(|n| n != "target") {
                visit(&path, each);
            }
        } else if path.extension().is_some_and(|e| e == "rs") {
            each(&path);
        }
    }
}
