//! A software TPM (swtpm) of a test's own, on a unix socket, and tpm2-tools that talk to it.
//!
//! Its PCRs are at reset after every start. What persists lies in a folder: copied, it is the same TPM once
//! more, in which a test may do what it likes.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::{command, run};

/// Where the guests look for their SRK.
pub const SRK_HANDLE: &str = "0x81000001";

/// What persists in a TPM, in its folder.
const STATE: &str = "tpm2-00.permall";

/// The programs that the functions here call, for [`programs`](super::programs); tpm2-tools come together.
pub const PROGRAMS: [&str; 3] = ["python3", "swtpm", "tpm2_unseal"];

/// A running TPM, ended when it goes out of scope.
#[derive(Debug)]
pub struct Tpm {
    folder: PathBuf,
    process: Child,
}

impl Tpm {
    /// Starts the TPM whose state lies in `folder`; a new one where there is none.
    ///
    /// A path of 108 bytes or more is too long for a socket.
    pub fn start(folder: &Path) -> Self {
        if !folder.exists() {
            fs::create_dir(folder).unwrap();
        }
        let socket = folder.join("sock"); // and `sock.ctrl` beside it, where tpm2-tools look for it
        let _ = fs::remove_file(&socket); // of an earlier start
        let unixio = |path: &Path| format!("type=unixio,path={},mode=0600", path.display());
        let mut swtpm = command("swtpm");
        swtpm
            .args(["socket", "--tpm2", "--server", &unixio(&socket)])
            .args(["--ctrl", &unixio(&folder.join("sock.ctrl"))])
            .args(["--tpmstate", &format!("dir={}", folder.display())])
            .args(["--flags", "not-need-init,startup-clear"])
            .stdin(Stdio::null())
            .stderr(fs::File::create(folder.join("log")).unwrap());
        let mut process = swtpm
            .spawn()
            .unwrap_or_else(|error| panic!("swtpm: {error}"));
        let start = Instant::now();
        while UnixStream::connect(&socket).is_err() {
            let ended = process.try_wait().unwrap();
            assert!(ended.is_none(), "swtpm ended at once: {ended:?}");
            assert!(start.elapsed().as_secs() < 30, "swtpm does not listen");
            thread::sleep(Duration::from_millis(2));
        }
        Self {
            folder: folder.to_owned(),
            process,
        }
    }

    /// Starts a copy of the stopped TPM in `folder` from what persists in it.
    pub fn start_copy(folder: &Path, copy: &Path) -> Self {
        fs::create_dir(copy).unwrap();
        super::files::copy_file(&folder.join(STATE), &copy.join(STATE));
        Self::start(copy)
    }

    /// Starts a copy of a TPM whose state lies in the data of the tests.
    pub fn of_data(state: &str, copy: &Path) -> Self {
        Self::start_copy(&super::data(state), copy)
    }

    /// The socket that takes bare TPM commands, of one client at a time.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("sock")
    }

    /// A program of tpm2-tools that talks to this TPM.
    pub fn tool(&self, name: &str) -> Command {
        let mut tool = command(name);
        tool.env(
            "TPM2TOOLS_TCTI",
            format!("swtpm:path={}", self.socket().display()),
        );
        tool
    }

    /// Removes the objects that commands left in its three slots.
    pub fn flush_objects(&self) {
        run(self.tool("tpm2_flushcontext").arg("--transient-object"));
    }

    /// Makes a primary key (`tpm2_createprimary` with these arguments) persistent as the SRK, and writes
    /// its `TPM2B_PUBLIC` to `public`.
    pub fn make_srk(&self, arguments: &[&str], public: &Path) {
        let context = self.folder.join("srk.ctx");
        run(self
            .tool("tpm2_createprimary")
            .args(arguments)
            .arg("-c")
            .arg(&context));
        run(self
            .tool("tpm2_evictcontrol")
            .arg("-c")
            .arg(&context)
            .arg(SRK_HANDLE));
        self.flush_objects();
        run(self
            .tool("tpm2_readpublic")
            .args(["-c", SRK_HANDLE, "-o"])
            .arg(public));
    }

    /// Extends a PCR of the SHA-256 bank with a digest in hexadecimal.
    pub fn extend(&self, pcr: u32, digest: &str) {
        run(self
            .tool("tpm2_pcrextend")
            .arg(format!("{pcr}:sha256={digest}")));
    }

    /// Unseals a sealed key file with tpm2-tools alone (`unseal.py`, which shares no code with ours): the disk
    /// key, or what was refused.
    pub fn unseal(&self, file: &Path) -> Result<Vec<u8>, String> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/unseal.py");
        let output = self.tool("python3").arg(script).arg(file).output().unwrap();
        let talk = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() {
            return Err(talk);
        }
        let key = String::from_utf8_lossy(&output.stdout);
        Ok(hex::decode(key.trim()).expect("the key in hexadecimal"))
    }

    /// Ends it in order, so that the next start is not counted as an attack.
    pub fn stop(self) {
        run(self.tool("tpm2_shutdown").arg("--clear"));
    }
}

impl Drop for Tpm {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
