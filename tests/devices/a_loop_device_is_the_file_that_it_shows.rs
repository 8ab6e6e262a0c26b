//! A loop device and the file that it shows are one disk: what is written to the one is lost in the other.

use crate::loops::{Loop, can_loop};
use crate::plain::Plain;
use crate::support::workshop::{error_in, refused, state};

#[test]
fn and_no_command_reads_the_one_and_writes_the_other() {
    if !crate::ready() || !can_loop() {
        return;
    }
    let plain = Plain::new();
    let bound = ["--srk-pub=srk.pub", "--no-pcr-policy"];
    for name in ["plain.img", "disk.img"] {
        let file = plain.path(name);
        let Some(device) = Loop::of(&file, 512) else {
            return;
        };
        // The device of a device, and a link to one.
        let Some(above) = Loop::of(&device.device, 512) else {
            return;
        };
        let link = plain.path("link");
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(&device.device, &link).unwrap();
        let log = |of: &str| format!("--tcg-log={of}");
        let before = state(&file);
        for shown in [device.name(), above.name(), "link"] {
            for (source, output) in [(name, shown), (shown, name)] {
                let onto = ["--overwrite", "-o", output, source];
                let mut commands = vec![[&["provision"], &bound[..], &onto].concat()];
                if name == "plain.img" {
                    commands.push([&["encrypt"], &onto[..]].concat());
                } else {
                    let copied = [&["deploy"], &bound[..], &onto].concat();
                    commands.extend((output == name).then_some(copied));
                }
                let log = log(output);
                let of_log = ["predict", source, "--uefi-config=uefi-config.json", &log];
                commands.push([&of_log[..], &["--branch=1"]].concat());
                for arguments in commands {
                    let mut command = plain.workshop().command(plain.workshop().program());
                    let said = refused(command.args(&arguments));
                    let said = error_in(&said);
                    assert!(said.contains(" name one file: "), "{arguments:?}: {said}");
                    assert_eq!(state(&file), before, "{arguments:?}");
                }
            }
        }
    }
}
