//! The three loops: receive, detect, archive; their configuration, supervision and health.
