//! Tasks of a contributor; see `cargo xtask --help`.
fn main() {}
