//! Running programs: each command is shown as one would type it before it runs.

use std::env;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// Where a program lies. Ordinary users of Debian have no `/usr/sbin` on their `PATH`.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// A command for a program that may lie in `/usr/sbin`, in the C locale.
pub fn program(name: &str) -> Command {
    let mut command = Command::new(find(name).unwrap_or_else(|| PathBuf::from(name)));
    command.env("LC_ALL", "C");
    command
}

/// One of the programs that `cargo build --bins` has built.
pub fn built(name: &str) -> Result<Command> {
    let folder = crate::target_folder()?.join("debug");
    let mut command = Command::new(folder.join(name));
    command.env("LC_ALL", "C");
    Ok(command)
}

/// One of the programs that [`release_build`] has built.
pub fn released(name: &str) -> Result<Command> {
    let folder = crate::target_folder()?.join("release");
    let mut command = Command::new(folder.join(name));
    command.env("LC_ALL", "C");
    Ok(command)
}

/// Builds the programs as they are used.
pub fn release_build() -> Command {
    cargo(&["build", "--release", "--locked", "--bins"])
}

/// The cargo that started this program, at the top of the checkout.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(crate::project_folder());
    command
}

/// Shows and runs a command on our own terminal.
pub fn run(command: &mut Command) -> Result<()> {
    println!("$ {}", shown(command));
    let status = command.status().with_context(|| cannot_start(command))?;
    if !status.success() {
        bail!("`{}` failed ({status})", shown(command));
    }
    Ok(())
}

/// Shows and runs a command, and returns what it wrote to its standard output.
pub fn output(command: &mut Command) -> Result<String> {
    println!("$ {}", shown(command));
    quiet_output(command)
}

/// Runs a command unseen, and returns what it wrote to its standard output.
pub fn quiet_output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| cannot_start(command))?;
    if !output.status.success() {
        let talk = String::from_utf8_lossy(&output.stderr);
        bail!(
            "`{}` failed ({}): {}",
            shown(command),
            output.status,
            talk.trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command unseen that gets `input` on its standard input.
pub fn fed(command: &mut Command, input: &[u8]) -> Result<()> {
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.stderr(Stdio::piped()).spawn();
    let child = child.as_mut().map_err(|_| cannot_start(command));
    let child = child.map_err(anyhow::Error::msg)?;
    let written = child.stdin.take().map(|mut pipe| pipe.write_all(input));
    let mut talk = String::new();
    if let Some(mut errors) = child.stderr.take() {
        errors.read_to_string(&mut talk)?;
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("`{}` failed ({status}): {}", shown(command), talk.trim());
    }
    written.transpose()?;
    Ok(())
}

/// Tries a command unseen, together with what it starts: an error where it fails, or has not ended after `limit`.
///
/// What then still runs of its process group is killed. A helper that is left behind keeps the pipes open, so
/// reading them to their end, as [`quiet_output`] does, could wait for ever.
pub fn attempt(command: &mut Command, limit: Duration) -> Result<()> {
    let mut child = command
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| cannot_start(command))?;
    let start = Instant::now();
    let ended = loop {
        let status = child.try_wait()?;
        if status.is_some() || start.elapsed() > limit {
            break status;
        }
        thread::sleep(Duration::from_millis(10));
    };
    let group = format!("kill -s KILL -- -{} 2>/dev/null", child.id());
    // Fails where nothing is left, as it should be.
    let _ = Command::new("sh").args(["-c", &group]).status();
    let status = child.wait()?;
    let mut talk = Vec::new();
    if let Some(mut errors) = child.stderr.take() {
        errors.read_to_end(&mut talk)?;
    }
    if ended.is_none() {
        bail!("`{}` has not ended after {limit:?}", shown(command));
    }
    if !status.success() {
        let talk = String::from_utf8_lossy(&talk);
        bail!("`{}` failed ({status}): {}", shown(command), talk.trim());
    }
    Ok(())
}

/// The bytes that a program printed in hexadecimal.
pub fn bytes(text: &str) -> Result<Vec<u8>> {
    let digits = (0..text.len() / 2).map(|i| text.get(2 * i..2 * i + 2).unwrap_or_default());
    let bytes: Result<_, _> = digits.map(|two| u8::from_str_radix(two, 16)).collect();
    bytes.context("what should be a key is not in hexadecimal")
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// True where the command runs and exits with 0; what it writes is not shown.
pub fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// True for root.
pub fn is_root() -> Result<bool> {
    let this = std::fs::metadata("/proc/self").context("/proc is not mounted")?;
    Ok(this.uid() == 0)
}

fn cannot_start(command: &Command) -> String {
    format!("cannot start `{}`", command.get_program().display())
}

/// The variable that tells tpm2-tools where their TPM is.
pub const TCTI: &str = "TPM2TOOLS_TCTI";

/// The command line as one would type it: program names without their folder, paths below the current
/// folder relative to it. What one would export before is left out.
pub fn shown(command: &Command) -> String {
    let name = Path::new(command.get_program())
        .file_name()
        .unwrap_or(command.get_program());
    let mut line = String::new();
    for (variable, value) in command.get_envs() {
        if let Some(value) = value.filter(|_| variable != "LC_ALL" && variable != TCTI) {
            let _ = write!(line, "{}={} ", variable.display(), quoted(value));
        }
    }
    line.push_str(&quoted(name));
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&quoted(argument));
    }
    line
}

/// A path as [`shown`] shows it.
pub fn shown_path(path: &Path) -> String {
    quoted(path.as_os_str())
}

fn quoted(word: &OsStr) -> String {
    let here = env::current_dir().unwrap_or_default();
    let word = word
        .to_string_lossy()
        .replace(&format!("{}/", here.display()), "");
    let is_plain = |c: char| c.is_alphanumeric() || "-_./=:,+@%^".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word;
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_one_would_type_it() {
        let mut command = Command::new("/usr/sbin/sgdisk");
        command
            .args(["-n", "1:0:0", "it's here", ""])
            .env("RUSTDOCFLAGS", "-D warnings");
        command.env("LC_ALL", "C");
        assert_eq!(
            shown(&command),
            "RUSTDOCFLAGS='-D warnings' sgdisk -n 1:0:0 'it'\\''s here' ''"
        );
    }

    #[test]
    fn a_failing_command_is_named() {
        let error = run(Command::new("sh").args(["-c", "exit 3"])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`sh -c 'exit 3'` failed (exit status: 3)"
        );
    }

    /// As `unshare --map-auto` of util-linux 2.38 does in a chroot: it fails, and its helper waits for ever.
    #[test]
    fn a_helper_that_is_left_behind_is_not_waited_for() {
        let mut leaves_one = Command::new("sh");
        leaves_one.args(["-c", "sleep 1000 & echo no >&2; exit 1"]);
        let start = Instant::now();
        let error = attempt(&mut leaves_one, Duration::from_secs(100)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`sh -c 'sleep 1000 & echo no >&2; exit 1'` failed (exit status: 1): no"
        );
        assert!(start.elapsed() < Duration::from_secs(50));
    }

    #[test]
    fn what_does_not_end_is_killed_and_named() {
        let mut waits = Command::new("sh");
        waits.args(["-c", "sleep 1000; true"]);
        let error = attempt(&mut waits, Duration::from_millis(50)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`sh -c 'sleep 1000; true'` has not ended after 50ms"
        );
        attempt(&mut Command::new("true"), Duration::from_secs(100)).unwrap();
    }
}
