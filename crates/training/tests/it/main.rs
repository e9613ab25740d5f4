//! Promises of the training crate, checked from outside.

mod backtest;
mod datasets;
mod models;
