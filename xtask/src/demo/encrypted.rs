//! The first part: a plain image becomes an encrypted one of a pool.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result};

use super::heading;
use crate::disk::Disk;
use crate::process;

/// An encrypted image, and how long it took.
pub struct Encrypted {
    pub image: PathBuf,
    pub seconds: f64,
}

/// Encrypts an image, and shows what sgdisk and cryptsetup say of the result.
pub fn encrypt(image: &Path, folder: &Path) -> Result<Encrypted> {
    heading("The image");
    let table = |image: &Path| {
        let mut sgdisk = process::program("sgdisk");
        process::output(sgdisk.arg("--print").arg(image)).map(|table| print!("{table}"))
    };
    table(image)?;

    let extension = image.extension().unwrap_or("img".as_ref());
    let encrypted = folder.join("encrypted").with_extension(extension);
    let encrypt = |options: &[&str]| {
        let mut command = process::released("encrypt-cloud-image")?;
        command
            .arg("encrypt")
            // The guest is Debian's, in the layout of Ubuntu's images and for its kind of key.
            .args(["--profile", "ubuntu"])
            .args(options)
            .args(["--overwrite", "-o"]);
        process::run(command.args([encrypted.as_path(), image]))
    };
    heading("What encrypt is going to do");
    encrypt(&["--dry-run"])?;

    heading("Encrypt");
    let start = Instant::now();
    encrypt(&[])?;
    let seconds = start.elapsed().as_secs_f64();

    heading("The result, as sgdisk and cryptsetup see it");
    table(&encrypted)?;
    show_container(&encrypted, folder)?;
    println!();
    for file in [image, &encrypted] {
        println!("{}", described(file)?);
    }
    Ok(Encrypted {
        image: encrypted,
        seconds,
    })
}

/// Shows the LUKS2 container of `disk`, and that the key in its token opens it: this image is one of a pool, not yet
/// bound to a guest.
fn show_container(disk: &Path, folder: &Path) -> Result<()> {
    let header = folder.join("header.luks");
    Disk::of(disk)?.copy_container_header(&header)?;
    let cryptsetup = |arguments: &[&str]| {
        let mut command = process::program("cryptsetup");
        // The directory of its locks belongs to root, and nobody else opens this copy.
        command.arg("--disable-locks").args(arguments).arg(&header);
        command
    };
    show_dump(&mut cryptsetup(&["luksDump"]))?;

    let token = process::output(&mut cryptsetup(&["token", "export", "--token-id=0"]))?;
    println!("{}", token.trim());
    let key = token.rsplit('"').nth(1).context("the token holds no key")?;
    let mut base64 = Command::new("base64")
        .arg("--decode")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start `base64`")?;
    if let Some(mut input) = base64.stdin.take() {
        input.write_all(key.as_bytes())?;
    }
    println!("This key, decoded, opens the container:");
    let mut open = cryptsetup(&["open", "--verbose", "--test-passphrase", "--key-file=-"]);
    open.stdin(base64.stdout.take().context("`base64` gives nothing")?);
    let opened = process::run(open.arg("--key-slot=0"));
    base64.wait()?;
    fs::remove_file(&header)?; // it holds the key as the image does
    opened
}

/// Runs `cryptsetup luksDump`, and shows what tells one container from another.
pub fn show_dump(dump: &mut Command) -> Result<()> {
    let dump = process::output(dump)?;
    let lines = dump.lines().filter(|line| is_worth_showing(line));
    lines.for_each(|line| println!("{line}"));
    Ok(())
}

/// Leaves out of what `cryptsetup luksDump` wrote the bytes of salts and digests, and what is the same
/// in every container.
fn is_worth_showing(line: &str) -> bool {
    let start = line.trim_start();
    let is_hex = |word: &str| word.len() == 2 && u8::from_str_radix(word, 16).is_ok();
    let is_bytes = start.split_whitespace().all(is_hex); // an empty line too
    let names = [
        "Salt:",
        "Digest:",
        "AF ",
        "Area ",
        "Subsystem:",
        "Flags:",
        "Priority:",
        "Epoch:",
    ];
    !is_bytes && !names.iter().any(|name| start.starts_with(name))
}

fn described(file: &Path) -> Result<String> {
    let found = fs::metadata(file).with_context(|| format!("cannot open {}", file.display()))?;
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let (length, space) = (mib(found.len()), mib(found.blocks() * 512));
    Ok(format!(
        "{}: {length} MiB, of which {space} MiB take space",
        file.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn salts_and_digests_are_left_out() {
        for line in [
            "\tSalt:       54 59 bc",
            "\t            08 2d fc 03 ",
            "",
            "\tAF hash:    sha256",
        ] {
            assert!(!is_worth_showing(line), "{line}");
        }
        for line in [
            "Keyslots:",
            "  0: luks2",
            "\tsector: 512 [bytes]",
            "\tKey:        512 bits",
        ] {
            assert!(is_worth_showing(line), "{line}");
        }
    }
}
