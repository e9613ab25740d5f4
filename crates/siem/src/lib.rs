//! A finding in a SIEM's format, delivered.
