#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| drop(lapwing_otlp::Inventory::parse(text)));
