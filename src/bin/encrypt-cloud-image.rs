//! The program `encrypt-cloud-image`.

fn main() {}
