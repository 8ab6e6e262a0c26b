//! A program that runs beside the test.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// What no program needs that ends at once, however busy the machine is; a costly derivation takes far longer.
const AT_ONCE: Duration = Duration::from_secs(20);
/// How long a test waits for a program to come to a place.
const PATIENCE: Duration = Duration::from_secs(120);

/// A program that runs, killed at the end.
pub struct Running(Child);

impl Running {
    /// Starts it; it has nothing on its standard input.
    pub fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        Self(command.stderr(Stdio::piped()).spawn().unwrap())
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Waits until a process has used so many ticks of a processor (100 a second), or has ended.
    pub fn wait_for_work(&mut self, process: u32, ticks: u64) {
        self.wait_until(|| {
            stat(process).is_none_or(|stat| {
                let ticks_of = |index: usize| stat[index].parse::<u64>().unwrap();
                ticks_of(11) + ticks_of(12) >= ticks
            })
        });
    }

    /// Waits until a process waits for something itself, or has ended.
    pub fn wait_for_sleep(&mut self, process: u32) {
        let mut asleep = 0;
        self.wait_until(|| {
            let is_asleep = stat(process).is_none_or(|stat| stat[0] == "S" || stat[0] == "Z");
            asleep = if is_asleep { asleep + 1 } else { 0 };
            asleep > 4
        });
    }

    fn wait_until(&mut self, mut is_there: impl FnMut() -> bool) {
        let began = Instant::now();
        while self.0.try_wait().unwrap().is_none() && !is_there() {
            assert!(began.elapsed() < PATIENCE);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends a signal to a process, and waits for the program's end, which comes at once. Returns what was told, too.
    #[track_caller]
    pub fn ends_by(mut self, process: u32, signal: Signal) -> (ExitStatus, String) {
        let process = Pid::from_raw(i32::try_from(process).unwrap()).unwrap();
        let _ = kill_process(process, signal); // it may have refused by now
        let began = Instant::now();
        while self.0.try_wait().unwrap().is_none() {
            assert!(began.elapsed() < AT_ONCE, "it goes on");
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut told = String::new();
        std::io::Read::read_to_string(self.0.stderr.as_mut().unwrap(), &mut told).unwrap();
        let status = self.0.wait().unwrap();
        assert!(!status.core_dumped());
        (status, told)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What `/proc` tells of a process behind its name: its state first.
fn stat(process: u32) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, behind) = stat.rsplit_once(") ")?;
    Some(behind.split(' ').map(str::to_owned).collect())
}

/// The child of a process that runs one of our commands, as soon as it is there.
pub fn child_of(process: u32) -> u32 {
    let children = format!("/proc/{process}/task/{process}/children");
    let is_ours = |child: &u32| {
        let line = std::fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
        let program = line.split(|byte| *byte == 0).next().unwrap_or_default();
        program.ends_with(b"encrypt-cloud-image") || program.ends_with(b"/.program")
    };
    let began = Instant::now();
    loop {
        let text = std::fs::read_to_string(&children).unwrap_or_default();
        let mut found = text
            .split_whitespace()
            .filter_map(|child| child.parse().ok());
        if let Some(child) = found.find(is_ours) {
            return child;
        }
        assert!(began.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(5));
    }
}
