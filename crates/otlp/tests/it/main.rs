//! Decoding from outside: what real and made-up telemetry becomes.

mod dataset;
mod door;
mod help;
