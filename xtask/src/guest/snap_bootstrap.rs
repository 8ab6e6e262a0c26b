//! `snap-bootstrap`, the reader of Ubuntu's initramfs, built by the Go client from the module
//! `interop/snap-bootstrap`, which pins its version.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::process;

/// The module, which is part of what a cached guest depends on.
pub const SOURCE: &str = include_str!("../../../interop/snap-bootstrap/go.mod");

/// Builds the program in `folder`. The first time its modules are downloaded.
pub fn build(folder: &Path) -> Result<PathBuf> {
    const PACKAGE: &str = "github.com/snapcore/snapd/cmd/snap-bootstrap";
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let program = folder.join("snap-bootstrap");
    let mut go = process::program("go");
    go.current_dir(crate::project_folder().join("interop/snap-bootstrap"))
        // No other version of Go is fetched.
        .env("GOTOOLCHAIN", "local")
        .env("CGO_ENABLED", "1")
        .args(["build", "-trimpath", "-mod=readonly", "-buildvcs=false"])
        // Without the C library's user and host databases, which a static program cannot have.
        .args(["-tags", "osusergo,netgo"])
        .arg("-ldflags=-s -w -linkmode external -extldflags -static")
        .arg("-o")
        .arg(&program)
        .arg(PACKAGE);
    process::run(&mut go)?;
    Ok(program)
}
