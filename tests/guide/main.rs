//! The provisioning guide of the reference implementation, with the tools that it names. A user who comes
//! from there types these lines; here they run as they stand there.

#[path = "../support/mod.rs"]
mod support;

mod every_line_of_the_references_guide_works;
