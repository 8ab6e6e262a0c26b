//! A virtual machine with Secure Boot and a TPM: QEMU, edk2's firmware, swtpm.
//!
//! Both programs run as the user that runs this one, and end with it. Software emulation, unless a run shows that
//! KVM works here: that its device is there says nothing.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::process;

/// Debian's and Ubuntu's firmware with Secure Boot, which needs System Management Mode.
const FIRMWARE: &str = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd";

/// A machine to be switched on.
pub struct Machine<'a> {
    pub acceleration: Acceleration,
    pub disk: &'a Path,
    /// Whether the disk keeps what the guest writes.
    pub keeps_changes: bool,
    /// The variable store. The guest's firmware gets a copy.
    pub variables: &'a Path,
    /// The folder with the TPM's state. Its path is short, as that of a socket has to be.
    pub tpm: &'a Path,
    /// The file that gets what the guest writes to port 0x403.
    pub told: Option<&'a Path>,
}

/// What runs the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acceleration {
    Kvm,
    /// QEMU's own emulation. Of its processors Nehalem took the least time in one boot each.
    ///
    /// One processor: with two, in a thread each, one guest of some forty died of a breakpoint that the kernel had
    /// just taken back from its own code (QEMU 7.2).
    Emulation,
}

impl fmt::Display for Acceleration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kvm => "KVM",
            Self::Emulation => "software emulation",
        })
    }
}

impl Acceleration {
    fn arguments(self) -> [&'static str; 6] {
        let (machine, cpu, count) = match self {
            Self::Kvm => ("q35,smm=on,accel=kvm", "host", "2"),
            Self::Emulation => ("q35,smm=on,accel=tcg", "Nehalem", "1"),
        };
        ["-machine", machine, "-cpu", cpu, "-smp", count]
    }

    /// KVM where the firmware comes to its console under it.
    pub fn probe(folder: &Path) -> Self {
        const LIMIT: Duration = Duration::from_secs(20);
        let opened = File::options().read(true).write(true).open("/dev/kvm");
        if opened.is_err() {
            return Self::Emulation;
        }
        let variables = folder.join("kvm.fd");
        let machine = Machine {
            acceleration: Self::Kvm,
            disk: Path::new("/dev/null"),
            keeps_changes: false,
            variables: Path::new(crate::guest::STORE),
            tpm: folder,
            told: None,
        };
        let came = machine
            .start(&variables)
            .is_ok_and(|mut running| matches!(running.wait(LIMIT), Ok(Heard::Bytes(_))));
        let _ = fs::remove_file(&variables);
        if came { Self::Kvm } else { Self::Emulation }
    }
}

/// A machine that runs; switched off when it goes out of scope.
pub struct Running {
    qemu: Child,
    swtpm: Child,
    input: ChildStdin,
    output: Receiver<Vec<u8>>,
    talk: PathBuf,
}

/// What a machine's console had to say.
pub enum Heard {
    Bytes(Vec<u8>),
    /// Nothing for so long.
    Silence,
    /// The machine is off.
    End,
}

impl Machine<'_> {
    /// Switches it on, with a copy of the variables in the file `store`.
    pub fn start(&self, store: &Path) -> Result<Running> {
        fs::copy(self.variables, store)
            .with_context(|| format!("cannot copy {}", self.variables.display()))?;
        let socket = self.tpm.join("qemu");
        let swtpm = self.start_swtpm(&socket)?;
        let talk = store.with_extension("qemu");
        let mut command = self.command(store, &socket);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut qemu = command
            .stderr(File::create(&talk)?)
            .spawn()
            .context("cannot start `qemu-system-x86_64`")?;
        let input = qemu.stdin.take().context("QEMU has no input")?;
        let mut console = qemu.stdout.take().context("QEMU has no output")?;
        let (sender, output) = mpsc::channel();
        // Reads without gaps: a guest whose console is full stands still.
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = console.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Ok(Running {
            qemu,
            swtpm,
            input,
            output,
            talk,
        })
    }

    fn start_swtpm(&self, socket: &Path) -> Result<Child> {
        let _ = fs::remove_file(socket); // of an earlier boot
        let mut swtpm = process::program("swtpm");
        swtpm
            .args(["socket", "--tpm2", "--terminate", "--tpmstate"])
            .arg(format!("dir={}", self.tpm.display()))
            .arg("--ctrl")
            .arg(format!("type=unixio,path={}", socket.display()));
        let mut child = swtpm
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start `swtpm`")?;
        let start = Instant::now();
        while !socket.exists() {
            if let Some(status) = child.try_wait()? {
                bail!("swtpm ended at once ({status}) with {}", self.tpm.display());
            }
            if start.elapsed().as_secs() > 60 {
                let _ = child.kill();
                bail!("swtpm does not listen");
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(child)
    }

    fn command(&self, store: &Path, socket: &Path) -> Command {
        let mut qemu = process::program("qemu-system-x86_64");
        qemu.args(self.acceleration.arguments());
        qemu.args(["-m", "1024", "-nodefaults", "-display", "none"]);
        qemu.args(["-monitor", "none", "-serial", "stdio"]);
        qemu.args(["-global", "driver=cfi.pflash01,property=secure,value=on"]);
        qemu.args(["-global", "ICH9-LPC.disable_s3=1"]);
        let mut option = |name: &str, before: &str, path: &Path, after: &str| {
            let mut value = OsString::from(before);
            value.push(path);
            value.push(after);
            qemu.arg(name).arg(value);
        };
        let snapshot = if self.keeps_changes {
            ""
        } else {
            ",snapshot=on"
        };
        let flash = "if=pflash,format=raw,unit=";
        option(
            "-drive",
            &format!("{flash}0,readonly=on,file="),
            Path::new(FIRMWARE),
            "",
        );
        option("-drive", &format!("{flash}1,file="), store, "");
        option(
            "-drive",
            "if=none,id=disk,format=raw,file=",
            self.disk,
            snapshot,
        );
        option("-chardev", "socket,id=tpm,path=", socket, "");
        qemu.args(["-device", "virtio-blk-pci,drive=disk"]);
        qemu.args([
            "-tpmdev",
            "emulator,id=tpm,chardev=tpm",
            "-device",
            "tpm-crb,tpmdev=tpm",
        ]);
        if let Some(told) = self.told {
            let mut file = OsString::from("file,id=told,path=");
            file.push(told);
            qemu.arg("-chardev").arg(file);
            qemu.args(["-device", "isa-debugcon,iobase=0x403,chardev=told"]);
        }
        qemu.args(["-object", "rng-random,id=random,filename=/dev/urandom"]);
        qemu.args(["-device", "virtio-rng-pci,rng=random"]);
        qemu
    }
}

impl Running {
    /// Waits for the console's next bytes, up to `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<Heard> {
        match self.output.recv_timeout(limit) {
            Ok(bytes) => Ok(Heard::Bytes(bytes)),
            Err(RecvTimeoutError::Timeout) => Ok(Heard::Silence),
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.qemu.wait()?;
                if !status.success() {
                    let talk = fs::read_to_string(&self.talk).unwrap_or_default();
                    bail!("QEMU failed ({status}): {}", talk.trim());
                }
                Ok(Heard::End)
            }
        }
    }

    /// Types a line.
    pub fn type_line(&mut self, line: &str) -> Result<()> {
        writeln!(self.input, "{line}").context("cannot type into the guest's console")?;
        self.input.flush()?;
        Ok(())
    }

    /// Waits until a machine that was told to switches itself off.
    pub fn wait_for_end(mut self, limit: Duration) -> Result<()> {
        loop {
            match self.wait(limit)? {
                Heard::Bytes(_) => {}
                Heard::End => break,
                Heard::Silence => bail!("the guest does not switch itself off"),
            }
        }
        // Ends with QEMU, once its state is written.
        self.swtpm.wait()?;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for child in [&mut self.qemu, &mut self.swtpm] {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_file(&self.talk);
    }
}
