//! An encrypted image was copied sparsely over a disk that held something else, and is deployed and sealed again there:
//! whatever a crash leaves, the image opens as on a blank disk, and no program takes it for what the disk was.

use encrypt_cloud_image::provision::deploy::Phase;
use encrypt_cloud_image::storage::ReadAt;

use crate::a_crash_leaves_an_image_that_opens as deploys;
use crate::a_crash_while_sealing_again_leaves_an_image_that_opens as seals_again;
use crate::all;
use crate::crashed::storage;
use crate::encrypted::{Encrypted, ROOT, WITHOUT_PCRS, ready};
use crate::resealed::deployed;
use crate::support::former_life::{self, Former, LIVES, Life, PROGRAMS};
use crate::support::workshop::{refused, state};
use crate::support::{files, programs};

/// Each life, or in the quick run this one.
fn lives(quick: Life) -> Vec<Life> {
    if all() { LIVES.to_vec() } else { vec![quick] }
}

/// One of so many states is looked at.
fn every() -> usize {
    if all() { 1 } else { 16 }
}

/// The image over a disk of this life, which was longer.
fn put_over(life: Life, image: &Encrypted) -> Former {
    let file = files::open_to_write(&image.image);
    let len_bytes = file.metadata().unwrap().len();
    file.set_len(len_bytes + (8 << 20)).unwrap();
    life.under(&image.image, ROOT)
}

/// cryptsetup, when it reads and when it mends, finds the container that is there; libblkid that one or nothing.
#[track_caller]
fn assert_is_new(former: &Former, image: &Image<'_>, state: &dyn ReadAt) {
    let len_bytes = image.root.end - image.root.start;
    let head = state.read_vec(image.root.start, usize::try_from(len_bytes).unwrap());
    let verdicts = former_life::verdicts(&head.unwrap(), len_bytes);
    verdicts.assert_not(former, &image.uuid);
    let new = Some(image.uuid.to_owned());
    assert_eq!(verdicts.cryptsetup, [new.clone(), new], "{former:?}");
}

/// What an image is.
struct Image<'i> {
    uuid: &'i str,
    root: std::ops::Range<u64>,
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
    for life in lives(Life::Tables) {
        let encrypted = Encrypted::new();
        let former = put_over(life, &encrypted);
        if former.left_bytes == 0 {
            continue; // all of it lay where the image lies now
        }
        let uuid = uuid_of(&encrypted);
        let image = Image {
            uuid: &uuid,
            root: encrypted.table().byte_range(ROOT),
        };
        let mut judged = 0;
        deploys::check(&encrypted, every(), |state, phase, is_deployed| {
            if all() || matches!(phase, Phase::FirstHeader | Phase::SecondHeader) {
                judged += 1;
                assert_is_new(&former, &image, state);
                deploys::judge_by_programs(state, phase, is_deployed);
            }
        });
        println!(
            "{life:?}: {} bytes left, {judged} judged by programs",
            former.left_bytes
        );
        assert!(judged >= 2, "{judged}");
    }
}

#[test]
fn when_it_is_sealed_again() {
    if !ready() || !programs(&PROGRAMS) {
        return;
    }
    for life in lives(Life::OursDeployed) {
        let deployed = deployed(&WITHOUT_PCRS);
        let former = put_over(life, &deployed);
        if former.left_bytes == 0 {
            continue; // all of it lay where the image lies now
        }
        let uuid = uuid_of(&deployed);
        let image = Image {
            uuid: &uuid,
            root: deployed.table().byte_range(ROOT),
        };
        let old = seals_again::Parts::of(&deployed).seal(&storage(&deployed.image), 0);
        let mut judged = 0;
        seals_again::check(&deployed, &old, every(), |state, phase, there| {
            if all() || matches!(phase, Phase::FirstBesideOld | Phase::SecondHeader) {
                judged += 1;
                assert_is_new(&former, &image, state);
                seals_again::judge_by_programs(state, phase, there);
            }
        });
        println!(
            "{life:?}: {} bytes left, {judged} judged by programs",
            former.left_bytes
        );
        assert!(judged >= 2, "{judged}");
    }
}

/// Zeros of the header are left out as well: what is left is taken where cryptsetup takes it, and as the new container.
#[test]
fn where_the_copy_is_not_whole_it_is_deployed_or_refused_as_by_cryptsetup() {
    if !ready() || !programs(&PROGRAMS) {
        return;
    }
    let (mut deployed, mut refusals) = (0, 0);
    let quick = [Life::OursDeployed, Life::Luks2];
    for life in LIVES.iter().filter(|life| all() || quick.contains(life)) {
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
    }
    assert!(deployed > 0 && refusals > 0, "{deployed} {refusals}");
}

/// An old primary header's first sectors in front of a filesystem: it is not deployed.
#[test]
fn and_nothing_is_done_where_it_may_be_either() {
    if !ready() || !programs(&PROGRAMS) {
        return;
    }
    let plain = Encrypted::plain();
    former_life::head_of_primary(&plain.image, ROOT);
    let before = state(&plain.image);
    let said = refused(plain.deploy(&WITHOUT_PCRS).arg("disk.img"));
    assert!(said.contains("one of the two is left over"), "{said}");
    assert_eq!(state(&plain.image), before);
}
