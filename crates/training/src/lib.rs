//! Fits models on recorded datasets and scores findings against labels.

pub mod backtest;
pub mod labels;
pub mod manifest;
