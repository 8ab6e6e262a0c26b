//! An encrypted image was copied sparsely over a disk that held something else, and is deployed and sealed again there:
//! whatever a crash or a kill leaves, the image opens as on a blank disk, and no program takes it for what the disk was.

use std::ops::Range;

use base::storage::ReadAt;
use operations::deploy::WritePhase;

use crate::a_crash_leaves_an_image_that_opens as deploys;
use crate::a_crash_leaves_tokens_that_open as tokens;
use crate::a_crash_while_sealing_again_leaves_an_image_that_opens as seals_again;
use crate::a_crash_while_tokens_are_replaced_leaves_one_kind as new_tokens;
use crate::all;
use crate::crashed::storage;
use crate::encrypted::{Encrypted, ROOT, WITHOUT_PCRS, find_key, ready};
use crate::resealed::{RECOVERY_KEY, UNLOCK, again, deployed_of};
use crate::support::former_life::{self, Former, Head, Life, PROGRAMS};
use crate::support::systemd::Systemd;
use crate::support::tpm::Tpm;
use crate::support::workshop::{refused, state, stderr};
use crate::support::{command, exits, files, kill, programs, scratch};
use crate::systemd_guest::{KEY_OBJECT, SRKS, all_ready};

/// The digits of the recovery key, which are its passphrase for systemd.
const OWNERS_DIGITS: &[u8] = b"12592-13106-13620-14134-14648-25185-25699-26213";

/// How much of the image a sparse copy writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Image {
    /// Free blocks are encrypted as well.
    Full,
    /// `--free-space skip`.
    WithHoles,
}

/// An image on a disk that held something else.
struct Put {
    image: Encrypted,
    former: Former,
    /// UUID of the container.
    uuid: String,
    root: Range<u64>,
}

impl Put {
    /// The image over a disk of this life, which was longer. `None` where all of that lay where the image lies now.
    fn over(life: Life, image: Encrypted) -> Option<Self> {
        let file = files::open_to_write(&image.image);
        let len_bytes = file.metadata().unwrap().len();
        file.set_len(len_bytes + (8 << 20)).unwrap();
        let former = life.under(&image.image, ROOT);
        println!("{life:?}: {} bytes left", former.left_bytes);
        (former.left_bytes > 0).then(|| Self {
            uuid: uuid_of(&image),
            root: image.table().byte_range(ROOT),
            former,
            image,
        })
    }

    /// cryptsetup, when it reads and when it mends, finds the container that is there; libblkid that one or nothing.
    #[track_caller]
    fn assert_is_new(&self, state: &dyn ReadAt) {
        let len_bytes = self.root.end - self.root.start;
        let bytes = state.read_vec(self.root.start, usize::try_from(len_bytes).unwrap());
        let verdicts = former_life::verdicts(&bytes.unwrap(), len_bytes);
        verdicts.assert_not(&self.former, &self.uuid);
        let new = Some(self.uuid.clone());
        assert_eq!(verdicts.cryptsetup, [new.clone(), new], "{:?}", self.former);
    }
}

/// Runs a test on images over disks of every life, in full and with holes; in the quick run over one alone.
fn on_used_disks(
    quick: (Life, Image),
    prepare: impl Fn(Encrypted) -> Encrypted,
    mut test: impl FnMut(&Put),
) {
    let mut tried = 0;
    former_life::each(&[quick.0], |life| {
        for kind in [Image::Full, Image::WithHoles] {
            if !all() && kind != quick.1 {
                continue;
            }
            let image = match kind {
                Image::Full => Encrypted::new(),
                Image::WithHoles => Encrypted::with_holes(),
            };
            if let Some(put) = Put::over(life, prepare(image)) {
                tried += 1;
                test(&put);
            }
        }
    });
    // Of others all lies where the image's container is.
    assert!(tried >= if all() { 8 } else { 1 }, "{tried}");
}

/// One of so many states is looked at.
fn every() -> usize {
    if all() { 1 } else { 16 }
}

/// The UUID of the container.
fn uuid_of(image: &Encrypted) -> String {
    let start = image.table().byte_range(ROOT).start;
    let bytes = files::read(&image.image, start + 168, 36);
    String::from_utf8(bytes).unwrap()
}

#[test]
fn when_it_is_deployed() {
    if !ready() || !programs(&PROGRAMS) {
        return;
    }
    let quick = (Life::Tables, Image::Full);
    on_used_disks(quick, std::convert::identity, |put| {
        let mut judged = 0;
        deploys::check(&put.image, every(), |state, phase, is_deployed| {
            if all() || matches!(phase, WritePhase::FirstHeader | WritePhase::SecondHeader) {
                judged += 1;
                put.assert_is_new(state);
                deploys::judge_by_programs(&put.image, state, phase, is_deployed);
            }
        });
        assert!(judged >= 2, "{judged}");
    });
}

#[test]
fn when_it_is_sealed_again() {
    if !ready() || !programs(&PROGRAMS) {
        return;
    }
    let quick = (Life::OursDeployed, Image::WithHoles);
    on_used_disks(quick, sealed, |put| {
        let old = seals_again::Parts::of(&put.image).seal(&storage(&put.image.image), 0);
        let mut judged = 0;
        seals_again::check(&put.image, &old, every(), |state, phase, there| {
            if all() || matches!(phase, WritePhase::FirstBesideOld | WritePhase::SecondHeader) {
                judged += 1;
                put.assert_is_new(state);
                seals_again::judge_by_programs(&put.image, state, phase, there);
            }
        });
        assert!(judged >= 2, "{judged}");
    });
}

#[test]
fn when_it_is_deployed_with_tokens() {
    let Some(systemd) = all_ready() else { return };
    if !programs(&PROGRAMS) {
        return;
    }
    let quick = (Life::Ours, Image::WithHoles);
    on_used_disks(quick, tokens::for_systemd, |put| {
        let mut judged = 0;
        tokens::check(&put.image, every(), |state, phase, is_deployed| {
            if all() || matches!(phase, WritePhase::FirstHeader | WritePhase::SecondHeader) {
                judged += 1;
                put.assert_is_new(state);
                tokens::judge_by_programs((&put.image, &systemd), state, phase, is_deployed);
            }
        });
        assert!(judged >= 2, "{judged}");
    });
}

#[test]
fn when_its_tokens_are_replaced() {
    let Some(systemd) = all_ready() else { return };
    if !programs(&PROGRAMS) {
        return;
    }
    let quick = (Life::Noise, Image::WithHoles);
    on_used_disks(quick, new_tokens::with_tokens, |put| {
        let mut judged = 0;
        new_tokens::check(&put.image, every(), |state, phase, keyslot| {
            if all() || matches!(phase, WritePhase::FirstHeader | WritePhase::SecondHeader) {
                judged += 1;
                put.assert_is_new(state);
                new_tokens::judge_by_programs((&put.image, &systemd), state, phase, keyslot);
            }
        });
        assert!(judged >= 2, "{judged}");
    });
}

/// Deployed, with a recovery key.
fn sealed(image: Encrypted) -> Encrypted {
    deployed_of(image, &WITHOUT_PCRS)
}

/// Kills a command at each of its writes, in the quick run at one of `every` so many, and hands what is left to `judge`.
fn killed_at_each_write(
    put: &Put,
    arguments: &[&str],
    every: u64,
    mut judge: impl FnMut(&Encrypted),
) {
    let (mut kills, mut write) = (0, if all() { 1 } else { 2 });
    loop {
        let copy = put.image.copied();
        if !kill::at(&copy.workshop, ("pwrite64", write), arguments) {
            break;
        }
        kills += 1;
        put.assert_is_new(&storage(&copy.image));
        judge(&copy);
        write += if all() { 1 } else { every };
    }
    println!("{:?}: killed {kills} times", put.former.life);
    assert!(kills >= 2, "{kills}");
}

/// The plain filesystem in the image, by a key that opens a keyslot, is whole.
#[track_caller]
fn assert_nothing_is_lost(image: &Encrypted, key: &[u8]) {
    let folder = scratch();
    let plain = folder.path().join("plain");
    image.container().decrypt_by(key, &plain);
    exits(command("e2fsck").arg("-fn").arg(&plain), 0);
}

#[test]
fn where_a_deploy_is_killed() {
    if !ready() || !programs(&PROGRAMS) || !programs(&["strace", "e2fsck"]) {
        return;
    }
    let quick = (Life::Noise, Image::WithHoles);
    on_used_disks(quick, std::convert::identity, |put| {
        let deploy = [&["deploy"][..], &WITHOUT_PCRS, &["disk.img"]].concat();
        killed_at_each_write(put, &deploy, 4, |copy| {
            assert_nothing_is_lost(copy, &copy.clear_key);
            let output = copy.deploy(&WITHOUT_PCRS).arg("disk.img").output();
            let output = output.unwrap();
            let is_done = stderr(&output).contains("the image is deployed already");
            assert!(output.status.success() || is_done, "{output:?}");
            assert_eq!(find_key(&copy.image, &copy.clear_key), None);
            assert_nothing_is_lost(copy, &copy.clear_key);
            put.assert_is_new(&storage(&copy.image));
        });
    });
}

#[test]
fn where_a_deploy_with_tokens_is_killed() {
    if all_ready().is_none() || !programs(&PROGRAMS) || !programs(&["strace", "e2fsck"]) {
        return;
    }
    let recovery = ["--recovery-key-text", tokens::DIGITS];
    let flags = [&KEY_OBJECT[..], &WITHOUT_PCRS, &recovery].concat();
    on_used_disks((Life::Tables, Image::Full), tokens::for_systemd, |put| {
        let deploy = [&["deploy"][..], &flags, &["disk.img"]].concat();
        killed_at_each_write(put, &deploy, 2, |copy| {
            let output = copy.deploy(&flags).arg("disk.img").output().unwrap();
            let is_done = stderr(&output).contains("the image is deployed already");
            assert!(output.status.success() || is_done, "{output:?}");
            assert_eq!(find_key(&copy.image, &copy.clear_key), None);
            assert_nothing_is_lost(copy, tokens::DIGITS.as_bytes());
            put.assert_is_new(&storage(&copy.image));
        });
    });
}

#[test]
fn where_sealing_again_is_killed() {
    if !ready() || !programs(&PROGRAMS) || !programs(&["strace", "e2fsck"]) {
        return;
    }
    on_used_disks((Life::Btrfs, Image::WithHoles), sealed, |put| {
        let again_on_disk = [&["deploy"][..], &UNLOCK, &WITHOUT_PCRS, &["disk.img"]].concat();
        killed_at_each_write(put, &again_on_disk, 5, |copy| {
            assert_nothing_is_lost(copy, &RECOVERY_KEY);
            exits(&mut again(copy, &WITHOUT_PCRS), 0);
            seals_again::assert_is_sealed_again(copy, &[&copy.clear_key]);
            assert_nothing_is_lost(copy, &RECOVERY_KEY);
            put.assert_is_new(&storage(&copy.image));
        });
    });
}

#[test]
fn where_sealing_tokens_again_is_killed() {
    let Some(systemd) = all_ready() else { return };
    if !programs(&PROGRAMS) || !programs(&["strace", "e2fsck"]) {
        return;
    }
    let flags = [&KEY_OBJECT[..], &WITHOUT_PCRS].concat();
    let quick = (Life::OursDeployed, Image::WithHoles);
    on_used_disks(quick, new_tokens::with_tokens, |put| {
        let again_on_disk = [&["deploy"][..], &UNLOCK, &flags, &["disk.img"]].concat();
        killed_at_each_write(put, &again_on_disk, 2, |copy| {
            assert_nothing_is_lost(copy, OWNERS_DIGITS);
            assert_systemd_opens(copy, &systemd);
            exits(&mut again(copy, &flags), 0);
            assert_systemd_opens(copy, &systemd);
            assert_nothing_is_lost(copy, OWNERS_DIGITS);
            put.assert_is_new(&storage(&copy.image));
        });
    });
}

/// systemd's reader opens the image on its guest's TPM.
#[track_caller]
fn assert_systemd_opens(image: &Encrypted, systemd: &Systemd) {
    let folder = scratch();
    let tpm = Tpm::of_data(SRKS[1].tpm, &folder.path().join("tpm"));
    let opened = systemd.open(&image.container().header, &tpm, None);
    assert!(
        opened.answer.starts_with("keyslot "),
        "{}: {}",
        opened.answer,
        opened.log
    );
}

/// Zeros of the header are left out as well: what is left is taken where cryptsetup takes it, and as the new container.
#[test]
fn where_the_copy_is_not_whole_it_is_deployed_or_refused_as_by_cryptsetup() {
    if !ready() || !programs(&PROGRAMS) {
        return;
    }
    let (mut deployed, mut refusals) = (0, 0);
    former_life::each(&[Life::OursDeployed, Life::Luks2], |life| {
        let encrypted = Encrypted::new();
        let uuid = uuid_of(&encrypted);
        let former = life.under_zeros(&encrypted.image, ROOT);
        let root = encrypted.table().byte_range(ROOT);
        let bytes = files::read(&encrypted.image, root.start, 16 << 20);
        let verdicts = former_life::verdicts(&bytes, root.end - root.start);
        let before = state(&encrypted.image);
        let output = encrypted
            .deploy(&WITHOUT_PCRS)
            .arg("disk.img")
            .output()
            .unwrap();
        println!(
            "{life:?}: {} bytes left, {verdicts:?}, {}",
            former.left_bytes, output.status
        );
        if output.status.success() {
            deployed += 1;
            assert_eq!(verdicts.cryptsetup[0], Some(uuid), "{life:?}");
        } else {
            refusals += 1;
            assert_eq!(state(&encrypted.image), before, "{life:?}");
        }
    });
    assert!(deployed > 0 && refusals > 0, "{deployed} {refusals}");
}

/// An old primary header's first sectors in front of a filesystem: it is not deployed.
#[test]
fn and_nothing_is_done_where_it_may_be_either() {
    if !ready() || !programs(&PROGRAMS) {
        return;
    }
    let plain = Encrypted::plain();
    Head::Luks2.beside_ext4(&plain.image, ROOT);
    let before = state(&plain.image);
    let said = refused(plain.deploy(&WITHOUT_PCRS).arg("disk.img"));
    assert!(said.contains("one of the two is left over"), "{said}");
    assert_eq!(state(&plain.image), before);
}
