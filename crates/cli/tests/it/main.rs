//! What the command says, and the house's own hygiene.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod command;
mod readouts;
mod scan;
mod tidy;
