//! What the command says, and the house's own hygiene.

mod command;
mod tidy;
