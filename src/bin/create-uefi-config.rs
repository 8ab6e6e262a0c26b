//! The program `create-uefi-config`.

use std::process::ExitCode;

fn main() -> ExitCode {
    encrypt_cloud_image::cli::run_create_uefi_config()
}
