//! The engine from the outside: calls in, findings out.

mod lifecycle;
mod limits;
mod parity;
mod scenes;
