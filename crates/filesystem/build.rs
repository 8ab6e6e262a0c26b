//! Compiles the C side of the ext4 binding and links libext2fs.
//!
//! Both libraries are asked for by name: the dynamic form of `ext2fs` does not name `com_err`, and the link
//! fails on `error_message` without it. Debian and Ubuntu: package libext2fs-dev (it brings comerr-dev).

use std::process::ExitCode;

const SHIM: &str = "src/ext4/shim.c";

/// The first release that knows the feature `orphan_file`, which mke2fs sets by default since then.
const LIBEXT2FS: &str = "1.47";

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed={SHIM}");
    println!("cargo::rerun-if-changed=build.rs");
    let mut shim = cc::Build::new();
    shim.file(SHIM).warnings(true).extra_warnings(true);
    let is_static = std::env::var("CARGO_CFG_TARGET_FEATURE")
        .is_ok_and(|features| features.split(',').any(|feature| feature == "crt-static"));
    for (library, version) in [("ext2fs", LIBEXT2FS), ("com_err", "1.47")] {
        let mut config = pkg_config::Config::new();
        config.statik(is_static).atleast_version(version);
        match config.probe(library) {
            Ok(found) => {
                shim.includes(found.include_paths);
            }
            Err(error) => {
                eprintln!("{error}");
                println!(
                    "cargo::error=libext2fs {LIBEXT2FS} or newer with its C headers is needed; on Debian and Ubuntu: \
                     apt-get install libext2fs-dev pkg-config gcc"
                );
                return ExitCode::FAILURE;
            }
        }
    }
    shim.compile("eci_ext4");
    ExitCode::SUCCESS
}
