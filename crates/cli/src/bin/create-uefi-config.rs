//! The program `create-uefi-config`.

use std::process::ExitCode;

fn main() -> ExitCode {
    encrypt_cloud_image::run_create_uefi_config()
}
