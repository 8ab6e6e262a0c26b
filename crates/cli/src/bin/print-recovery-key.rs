//! The program `print-recovery-key`.

use std::process::ExitCode;

fn main() -> ExitCode {
    encrypt_cloud_image::run_print_recovery_key()
}
