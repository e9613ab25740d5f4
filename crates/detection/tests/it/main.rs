//! The engine from the outside: calls in, findings out.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod lifecycle;
mod limits;
mod parity;
mod scenes;
