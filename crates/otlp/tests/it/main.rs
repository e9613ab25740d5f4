//! Decoding from outside: what real and made-up telemetry becomes.
#![allow(clippy::unwrap_used, clippy::panic, dead_code, reason = "helpers of tests fail by panicking")]

mod dataset;
mod door;
mod help;
mod limits;
mod meaning;
mod smoke;
mod surprises;
