//! The OTLP door: request bytes in, raw calls out.
