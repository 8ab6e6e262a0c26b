//! A TPM that is extended with the predicted events has the predicted values.

use serde_json::Value;

use crate::command::{CONFIGURATION, laid_out, predict};
use crate::support::tpm::Tpm;
use crate::support::{exits, programs, run};

/// Values that a TPM shows, as `tpm2_pcrread` prints them: `  4 : 0x…` in capitals.
fn read(tpm: &Tpm, bank: &str, pcr: &str) -> String {
    let shown = run(tpm.tool("tpm2_pcrread").arg(format!("{bank}:{pcr}")));
    let (_, value) = shown.rsplit_once("0x").expect("a value");
    value.trim().to_ascii_lowercase()
}

#[test]
fn a_tpm_that_is_extended_with_the_predicted_events_shows_the_predicted_values() {
    if !programs(&["swtpm", "tpm2_pcrextend", "tpm2_pcrread", "tpm2_shutdown"]) {
        return;
    }
    // Two kernels; the real shim of Debian with a kernel that db authorises.
    for case in ["flags-all", "debian-shim-own-kernel"] {
        for bank in ["sha256", "sha384"] {
            let (folder, _) = laid_out(case);
            let mut command = predict(folder.path());
            command.args(["--esp", "esp", "--json", "--bank", bank]);
            let output = exits(command.args(CONFIGURATION), 0);
            let document: Value = serde_json::from_slice(&output.stdout).unwrap();
            for (number, branch) in (1..).zip(document["branches"].as_array().unwrap()) {
                // PCRs are zero again after a start.
                let tpm = Tpm::start(&folder.path().join(format!("tpm{number}")));
                for event in branch["events"].as_array().unwrap() {
                    let (pcr, digest) = (&event["pcr"], event["digest"].as_str().unwrap());
                    run(tpm
                        .tool("tpm2_pcrextend")
                        .arg(format!("{pcr}:{bank}={digest}")));
                }
                let pcrs = branch["pcrs"].as_object().unwrap();
                assert_eq!(pcrs.keys().collect::<Vec<_>>(), ["4", "7", "12"]);
                for (pcr, value) in pcrs {
                    assert_eq!(read(&tpm, bank, pcr), *value, "{case}, {bank}, PCR {pcr}");
                }
                tpm.stop();
            }
        }
    }
}
