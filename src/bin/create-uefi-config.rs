//! The program `create-uefi-config`.

fn main() {}
