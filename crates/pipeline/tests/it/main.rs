//! The whole pipeline on loopback and temporary directories, one file per promise.
//!
//! Time is data here, too: each test moves the pipeline's clock itself. Where a test waits, it is for a
//! socket, a disk or a thread that only real time moves, always for a condition and never for a time.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod ack;
mod canaries;
mod crash;
mod drain;
mod faults;
mod help;
mod parity;
mod privacy;
mod reload;
mod series;
