//! Promises of the training crate, checked from outside.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod backtest;
mod datasets;
mod models;
