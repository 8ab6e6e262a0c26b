//! A secondary LUKS2 header without a trace of the primary may be left over from a container that is no more: nothing is
//! written to it. cryptsetup, which writes the primary again, is the way out where it is not.

use crate::past::{BINDING, Past, Root, ready};
use crate::support::{command, exits, files};

#[test]
fn until_cryptsetup_has_written_it_again() {
    if !ready() {
        return;
    }
    let past = Past::encrypted(Root::Free);
    let start = past.root().start;
    files::write(&past.disk, start, &[0; 4096]);
    let message = "error: disk.img: partition 2 has the secondary copy of a LUKS2 header, and nothing of the primary one: \
                   it may be left over from an earlier container\n\
                   hint: if it is the container that the partition shall hold, cryptsetup repair on the partition writes \
                   the primary copy again\n";
    let deploy = [&BINDING[..], &["disk.img"]].concat();
    assert_eq!(past.refused("deploy", &deploy), message);
    assert_eq!(past.refused("inspect", &["disk.img"]), message);
    // Leaving --resume out would end here as well.
    for arguments in [
        &["-o", "output.img"][..],
        &["--in-place"],
        &["--resume"],
        &["--in-place", "--resume"],
    ] {
        let arguments = [arguments, &["disk.img"]].concat();
        assert_eq!(
            past.refused("encrypt", &arguments),
            "error: disk.img: the root partition is already encrypted: it holds a LUKS2 container whose primary header is \
             lost\n\
             hint: if it is the container that the partition shall hold, cryptsetup repair on the partition writes the \
             primary copy again\n"
        );
    }

    let partition = past.partition("disk.img");
    exits(
        command("cryptsetup").args(["-q", "repair"]).arg(&partition),
        0,
    );
    files::write(&past.disk, start, &files::read(&partition, 0, 16 << 20));
    assert_eq!(
        past.refused("encrypt", &["--resume", "disk.img"]),
        "error: disk.img: nothing is left to resume: the root partition is encrypted, and not deployed yet\n\
         hint: deploy binds it to a guest\n"
    );
    past.run("deploy", &deploy);
    // Now neither with nor without the option is anything to be done.
    for option in ["--resume", "--in-place"] {
        assert_eq!(
            past.refused("encrypt", &[option, "disk.img"]),
            "error: disk.img: the root partition is already encrypted: it holds a LUKS2 container\n"
        );
    }
}
