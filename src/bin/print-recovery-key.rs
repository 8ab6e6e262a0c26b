//! The program `print-recovery-key`.

use std::process::ExitCode;

fn main() -> ExitCode {
    encrypt_cloud_image::cli::run_print_recovery_key()
}
