//! No text panics, and redacting twice changes nothing.
#![no_main]
libfuzzer_sys::fuzz_target!(|text: &str| {
    let mut redactor = lapwing_redaction::Redactor::new(std::sync::Arc::new(lapwing_redaction::Rules::builtin()));
    let once = redactor.redact_text(None, text).into_owned();
    assert_eq!(redactor.redact_text(None, &once), once);
});
