#![no_main]

libfuzzer_sys::fuzz_target!(|body: &[u8]| lapwing_otlp_fuzz::protobuf(lapwing_otlp::Payload::Traces, body));
