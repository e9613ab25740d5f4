#![no_main]

use lapwing_otlp::access_log::{read_json, read_text};

libfuzzer_sys::fuzz_target!(|line: &str| {
    read_text(line, |_, _| ());
    read_json(line, |_, _| ());
});
