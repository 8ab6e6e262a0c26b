//! The program `encrypt-cloud-image`.

use std::process::ExitCode;

fn main() -> ExitCode {
    encrypt_cloud_image::run_encrypt_cloud_image()
}
