//! The output decrypts, by programs that are not ours, to the source's filesystem with every file in it,
//! and everything around it is as it was.
//!
//! Every run is one as an ordinary user without capabilities; the judge checks partition table, other
//! partitions, parameters, keys, `e2fsck -fn`, every file, free blocks and slack.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::can_judge;
use crate::conversion::Conversion;
use crate::oracle::{Choice, choices, expect};
use crate::support::image::{Image, Shape, image};

fn auto() -> Choice {
    Choice::default()
}

fn grow_root() -> Choice {
    Choice {
        grow_root: true,
        ..auto()
    }
}

fn vhd() -> Choice {
    Choice {
        from_vhd: true,
        to_vhd: true,
        ..auto()
    }
}

fn large_sectors() -> Choice {
    Choice {
        sector_size: "4096",
        grow_root: true,
        ..auto()
    }
}

fn make_room(make_room: &'static str) -> Choice {
    Choice {
        make_room,
        ..auto()
    }
}

#[track_caller]
fn convert(shape: Shape, choice: Choice) {
    Conversion::new(shape, choice).run();
}

#[test]
fn a_stock_image() {
    if can_judge() {
        Conversion::new(Shape::Stock, auto())
            .decrypted_by_cryptsetup()
            .run();
    }
}

#[test]
fn a_stock_image_with_its_root_grown() {
    if can_judge() {
        convert(Shape::Stock, grow_root());
    }
}

#[test]
fn a_stock_image_with_large_luks_sectors() {
    if can_judge() {
        Conversion::new(Shape::Stock, large_sectors())
            .decrypted_by_cryptsetup()
            .run();
    }
}

#[test]
fn a_stock_image_as_a_vhd() {
    if can_judge() {
        convert(Shape::Stock, vhd());
    }
}

#[test]
fn a_stock_image_shrunk() {
    if can_judge() {
        convert(Shape::Stock, make_room("shrink"));
    }
}

#[test]
fn a_confidential_vm_image() {
    if can_judge() {
        let conversion = Conversion::new(Shape::Demo, make_room("extend"));
        conversion.with(&["--threads", "8"], |_| ()).run();
    }
}

#[test]
fn a_confidential_vm_image_from_vhd_to_raw() {
    if can_judge() {
        convert(
            Shape::Demo,
            Choice {
                from_vhd: true,
                ..large_sectors()
            },
        );
    }
}

#[test]
fn a_filesystem_with_small_blocks() {
    if can_judge() {
        Conversion::new(Shape::SmallBlocks, auto())
            .with(&["--threads=1"], |_| ())
            .run();
    }
}

#[test]
fn free_space_behind_the_root() {
    if can_judge() {
        convert(Shape::Azure, vhd());
        convert(
            Shape::Azure,
            Choice {
                to_vhd: true,
                ..grow_root()
            },
        );
    }
}

#[test]
fn little_free_space_behind_the_root() {
    if can_judge() {
        convert(Shape::TightGap, make_room("grow"));
    }
}

#[test]
fn a_partition_behind_the_root() {
    if can_judge() {
        convert(Shape::Followed, make_room("shrink"));
    }
}

#[test]
fn room_within_the_root() {
    if can_judge() {
        convert(Shape::Roomy, auto());
        convert(Shape::Roomy, large_sectors());
    }
}

#[test]
fn a_disk_of_large_sectors() {
    if can_judge() {
        Conversion::new(Shape::LargeSectors, auto())
            .decrypted_by_cryptsetup()
            .run();
        convert(
            Shape::LargeSectors,
            Choice {
                sector_size: "512",
                ..grow_root()
            },
        );
    }
}

#[test]
fn a_disk_of_large_sectors_and_a_filesystem_with_small_blocks() {
    if can_judge() {
        convert(Shape::LargeSectorsSmallBlocks, auto());
    }
}

#[test]
fn an_image_without_cloud_init() {
    if can_judge() {
        let converted = Conversion::new(
            Shape::Bare,
            Choice {
                sector_size: "4096",
                ..auto()
            },
        )
        .run();
        let talk = crate::support::workshop::stderr(&converted.output);
        let warning = "warning: the image has no /etc/cloud/cloud.cfg.d, hence no cloud-init: \
                       nothing will grow its root at the first boot\n";
        assert!(talk.contains(warning), "{talk}");
    }
}

#[test]
fn every_allowed_combination_behind_the_environment_variable() {
    if !crate::all() || !can_judge() {
        return;
    }
    let mut runs = Vec::new();
    for shape in crate::full_shapes() {
        for choice in choices(false).into_iter().chain(choices(true)) {
            if expect(image(shape), choice).is_ok() {
                runs.push((shape, choice));
            }
        }
    }
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some((shape, choice)) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
            eprintln!("{shape:?} {choice:?}");
            convert(*shape, *choice);
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
}

/// The image that `cargo xtask demo` built, or the one that `ECI_TEST_IMAGE` names.
fn demo_image() -> Option<PathBuf> {
    if let Some(file) = std::env::var_os("ECI_TEST_IMAGE") {
        return Some(file.into());
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()?
        .join("demo");
    let guests = std::fs::read_dir(folder)
        .ok()?
        .flatten()
        .map(|entry| entry.path().join("disk.img"));
    guests
        .filter(|file| file.is_file())
        .max_by_key(|file| file.metadata().and_then(|file| file.modified()).ok())
}

#[test]
fn the_demo_image_behind_the_environment_variable() {
    if !crate::all() || !can_judge() {
        return;
    }
    let Some(file) = demo_image() else {
        eprintln!(
            "SKIPPED: there is no demo image (cargo xtask demo builds it, ECI_TEST_IMAGE=FILE names another)"
        );
        return;
    };
    let demo: &Image = Box::leak(Box::new(Image::of(&file)));
    Conversion::of(demo, auto()).decrypted_by_cryptsetup().run();
    // Each way to make room that this image allows, each format, the root grown or not, both sizes of LUKS sectors.
    let mut allowed = Vec::new();
    for (number, name) in ["auto", "extend", "grow", "shrink"].into_iter().enumerate() {
        let plain = Choice {
            to_vhd: number % 2 == 1,
            ..make_room(name)
        };
        let large = Choice {
            sector_size: "4096",
            grow_root: true,
            from_vhd: number % 2 == 1,
            to_vhd: number % 2 == 0,
            ..plain
        };
        for choice in [plain, large] {
            if expect(demo, choice).is_ok() {
                eprintln!("{choice:?}");
                Conversion::of(demo, choice).run();
                allowed.push(name);
            }
        }
    }
    assert!(allowed.contains(&"auto"), "{allowed:?}");
}
