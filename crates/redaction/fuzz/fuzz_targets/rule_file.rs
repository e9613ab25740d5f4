//! No text of a rule file panics.
#![no_main]
libfuzzer_sys::fuzz_target!(|text: &str| {
    let Ok(file) = serde_saphyr::from_str::<lapwing_redaction::RuleFile>(text) else { return };
    drop(lapwing_redaction::Rules::compile(&[file], None).map(|rules| rules.names().count()));
});
