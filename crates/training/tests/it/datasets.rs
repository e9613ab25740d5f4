//! The datasets in the repository are what their manifests say.

use std::fs;
use std::path::{Path, PathBuf};

use lapwing_training::{Manifest, ManifestError, data_hash};

fn mesh() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/mesh")
}

#[test]
fn every_file_of_the_mesh_dataset_has_the_hash_its_manifest_says() {
    let manifest = Manifest::load(&mesh()).unwrap();
    assert_eq!(manifest.name, "mesh");
    assert_eq!(manifest.licence, "Apache-2.0");
    assert_eq!(manifest.parts.keys().collect::<Vec<_>>(), ["raw", "stretched"]);
    manifest.verify(&mesh()).unwrap();
}

#[test]
fn a_changed_an_unlisted_and_a_missing_file_are_each_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("a.bin"), "abc").unwrap();
    let toml = |hash: &str| {
        format!(
            "name = 'x'\ndescription = ''\nsource = ''\nlicence = 'CC0-1.0'\n[sha256]\n'a.bin' = '{hash}'\n"
        )
    };
    // FIPS 180-2, appendix B.1: the hash of "abc".
    fs::write(at("dataset.toml"), toml("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"))
        .unwrap();
    let manifest = Manifest::load(folder.path()).unwrap();
    manifest.verify(folder.path()).unwrap();

    fs::write(at("b.bin"), "more").unwrap();
    assert!(matches!(manifest.verify(folder.path()), Err(ManifestError::Unlisted { .. })));
    fs::remove_file(at("b.bin")).unwrap();
    fs::write(at("a.bin"), "abd").unwrap();
    assert!(matches!(manifest.verify(folder.path()), Err(ManifestError::Changed { .. })));
    fs::remove_file(at("a.bin")).unwrap();
    assert!(matches!(manifest.verify(folder.path()), Err(ManifestError::Read { .. })));
    fs::write(at("dataset.toml"), "name = 3").unwrap();
    assert!(matches!(Manifest::load(folder.path()), Err(ManifestError::Malformed { .. })));
}

#[test]
fn a_data_hash_names_the_bytes_and_their_order_and_not_the_file_names() {
    let folder = tempfile::tempdir().unwrap();
    let [a, b, c] = ["a", "b", "c"].map(|name| folder.path().join(name));
    fs::write(&a, "one").unwrap();
    fs::write(&b, "two").unwrap();
    fs::write(&c, "one").unwrap();
    let hash =
        |paths: &[&PathBuf]| data_hash(&paths.iter().map(|p| (*p).clone()).collect::<Vec<_>>()).unwrap();
    assert_eq!(hash(&[&a, &b]), hash(&[&c, &b]));
    assert_ne!(hash(&[&a, &b]), hash(&[&b, &a]));
    let whole = folder.path().to_owned();
    assert_eq!(hash(&[&whole]), hash(&[&a, &b, &c]), "a folder stands for its files");
}
