//! Fits models on recorded datasets and scores findings against labels.

pub mod manifest;
