//! Foreign code in the process of a program under test, and what it gets at (`intruder.c`).

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::workshop::Workshop;
use super::{command, exits};

/// No such thing is allowed.
const FORBIDDEN: &str = "13";
/// There is no server, which is told to those who may ask.
const NOBODY_LISTENS: &str = "111";

/// The intruder, built. It reads `prey/secret` in the program's folder, and makes `prey/loot`.
pub struct Intruder {
    library: PathBuf,
}

/// What it got at in one place.
#[derive(Debug, PartialEq, Eq)]
pub enum Got {
    Everything,
    Nothing,
    Else(String),
}

impl Intruder {
    /// Builds it in the folder.
    pub fn new(workshop: &Workshop) -> Self {
        let library = workshop.path("intruder.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/intruder.c");
        let mut compiler = command("cc");
        compiler.args(["-shared", "-fPIC", "-Wall", "-Werror", "-o"]);
        exits(compiler.args([&library, &source]), 0);
        Self { library }
    }

    /// The built program, as the ordinary user, with the intruder in it.
    pub fn program(&self, workshop: &Workshop) -> Command {
        let mut preload = OsString::from("LD_PRELOAD=");
        preload.push(&self.library);
        let mut prey = OsString::from("INTRUDER=");
        prey.push(workshop.path("prey"));
        let mut program = workshop.command("env");
        program.args([preload, prey]).arg(workshop.program());
        program
    }
}

/// Makes an empty folder `made`, and `prey` with a file for the intruder to read.
pub fn lay_out(workshop: &Workshop) {
    for folder in ["made", "prey"] {
        exits(workshop.command("mkdir").arg(folder), 0);
    }
    workshop.write("prey/secret", b"of another");
}

/// What the intruder got at in the places where it was, in their order.
pub fn got(stderr: &str) -> Vec<(String, Got)> {
    let said = stderr
        .lines()
        .filter_map(|line| line.strip_prefix("intruder at "));
    said.map(|line| {
        let (place, result) = line.split_once(": ").unwrap();
        let everything = format!("read 0, make 0, start 0, connect {NOBODY_LISTENS}");
        let nothing =
            format!("read {FORBIDDEN}, make {FORBIDDEN}, start {FORBIDDEN}, connect {FORBIDDEN}");
        let got = match result {
            _ if result == everything => Got::Everything,
            _ if result == nothing => Got::Nothing,
            _ => Got::Else(result.to_owned()),
        };
        (place.to_owned(), got)
    })
    .collect()
}

/// What it gets at in these places of a process that gave up what it does not need: it is there before that, too.
pub fn nothing_at(places: &[&str]) -> Vec<(String, Got)> {
    let start = [("start".to_owned(), Got::Everything)].into_iter();
    let place = |place: &&str| ((*place).to_owned(), Got::Nothing);
    start.chain(places.iter().map(place)).collect()
}

/// True where the kernel can confine a process; elsewhere nothing can be shown.
pub fn kernel_can_confine() -> bool {
    let can = landlock_version() >= 4;
    if !can {
        println!("SKIPPED: this kernel has no Landlock, or an early one");
    }
    can
}

fn landlock_version() -> i64 {
    // The call answers with the version; python3 makes calls by their number.
    let call = "import ctypes; print(ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), ctypes.c_uint(1)))";
    let output = exits(command("python3").args(["-c", call]), 0);
    String::from_utf8(output.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap()
}
