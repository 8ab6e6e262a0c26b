//! The program `print-recovery-key`.

fn main() {}
