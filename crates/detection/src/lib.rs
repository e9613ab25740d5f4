//! Windows, baselines and detectors: calls in, findings out.
