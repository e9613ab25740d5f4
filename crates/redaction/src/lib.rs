//! Removes secrets and personal data from calls.
