//! The journal, the Parquet archive, retention, recordings and saved state.
