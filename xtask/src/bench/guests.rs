//! `provision --guests`: what one guest costs, and what each further one does.
//!
//! The image is the one that `encrypt` is measured with. Its EFI system partition is empty, so the key goes into tokens, and
//! no PCR is predicted: what is measured is the pass over the data.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Arguments, Rival, build_image, run_quietly};

const COUNTS: [usize; 3] = [1, 2, 4];

/// The public area of a storage parent; whose it is does not matter.
const SRK: &str = "tests/data/sealed/soft-rsa.pub";

/// Measures in turns, and prints a line for each number of guests.
pub fn run(place: &str, folder: &Path, program: &Path, arguments: &Arguments) -> Result<()> {
    let image = folder.join("image.raw");
    let root = folder.join("root.ext4");
    build_image(folder, &image, &root, arguments.size)?;
    fs::remove_file(root)?;
    let mut rivals = COUNTS.map(|_| Rival {
        name: "provision",
        times: Vec::new(),
    });
    for _ in 0..=arguments.rounds {
        for (count, rival) in COUNTS.into_iter().zip(&mut rivals) {
            rival.times.push(timed(folder, program, &image, count)?);
        }
    }
    for rival in &mut rivals {
        // The first round warms the caches up.
        rival.times.remove(0);
    }
    let one = rivals[0].median();
    for (count, rival) in (COUNTS.into_iter()).zip(&rivals) {
        let time = rival.median();
        let times = u32::try_from(count).map_or(0.0, f64::from);
        println!(
            "| {place} | {count} | {time:.2} | {:.2} | {:.2} |",
            time / one,
            time / (one * times)
        );
    }
    Ok(())
}

/// The time of a run for so many guests, until all is on the disk. As in the other benches, the memory of the outputs
/// is made ready by copies that are removed again.
fn timed(folder: &Path, program: &Path, image: &Path, count: usize) -> Result<Duration> {
    let srk = crate::project_folder().join(SRK);
    let outputs: Vec<PathBuf> = (0..count)
        .map(|number| folder.join(format!("guest-{number}")))
        .collect();
    let line = |output: &PathBuf| {
        let (output, srk) = (output.display(), srk.display());
        format!("{{\"output\": \"{output}\", \"srk_pub\": \"{srk}\"}}\n")
    };
    let guests = folder.join("guests.jsonl");
    fs::write(&guests, outputs.iter().map(line).collect::<String>())?;
    for output in &outputs {
        let mut copy = Command::new("cp");
        run_quietly(copy.arg("--sparse=never").args([image, output]))?;
    }
    for output in &outputs {
        fs::remove_file(output)?;
    }
    run_quietly(Command::new("sync").arg("--file-system").arg(folder))?;
    let mut provision = Command::new(program);
    provision.args(["provision", "--profile", "generic", "--no-pcr-policy"]);
    provision.args(["--key-object", "systemd-tpm2", "--guests"]);
    let started = Instant::now();
    run_quietly(provision.args([guests.as_path(), image]))?;
    for output in &outputs {
        File::open(output)?.sync_all()?;
    }
    let took = started.elapsed();
    for output in &outputs {
        fs::remove_file(output)?;
    }
    Ok(took)
}
