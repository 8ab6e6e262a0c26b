use super::*;

/// Ubuntu 22.04's cloud image: the root ends at the last usable LBA, 7 modulo 8 sectors long.
const STOCK: Source = Source {
    disk_bytes: 4_612_096 * 512,
    sector_bytes: 512,
    backup_sectors: 33,
    root_first_lba: 227_328,
    root_last_lba: 4_612_062,
    next_first_lba: None,
    block_bytes: 4096,
    filesystem_bytes: 548_091 * 4096,
};

fn request(make_room: MakeRoom) -> Request {
    Request {
        make_room,
        ..Request::default()
    }
}

#[test]
fn a_stock_image_is_extended_by_sixteen_mebibytes() {
    let layout = layout(&STOCK, request(MakeRoom::Auto)).unwrap();
    assert_eq!(layout.room, Room::Extended { sectors: 32_768 });
    assert_eq!(
        (layout.disk_sectors, layout.root_last_lba),
        (4_644_864, 4_644_830)
    );
    assert_eq!(layout.disk_bytes, 2268 << 20);
    assert_eq!(layout.segment_bytes, 4_384_735 * 512);
    assert_eq!(layout.sector_size, SectorSize::S512);
}

#[test]
fn large_luks_sectors_round_the_partition_down_to_the_filesystem() {
    let request = Request {
        sector_size: SectorSizeChoice::Fixed(SectorSize::S4096),
        grow_root: true,
        ..request(MakeRoom::Extend)
    };
    let layout = layout(&STOCK, request).unwrap();
    assert_eq!(layout.root_last_lba, 4_644_823);
    assert_eq!(layout.segment_bytes, STOCK.filesystem_bytes);
}

#[test]
fn large_luks_sectors_are_refused_where_the_guest_regrows_the_partition() {
    let large = SectorSizeChoice::Fixed(SectorSize::S4096);
    let request = Request {
        sector_size: large,
        guest_regrows: true,
        ..Request::default()
    };
    assert_eq!(layout(&STOCK, request), Err(Error::RegrownUnaligned));
    let small_blocks = Source {
        block_bytes: 1024,
        ..STOCK
    };
    assert_eq!(
        layout(&small_blocks, request),
        Err(Error::SmallBlocks { block_bytes: 1024 })
    );
    // A disk of 4096-byte sectors cannot be regrown to anything else.
    let large_disk = Source {
        sector_bytes: 4096,
        backup_sectors: 5,
        root_first_lba: 28_416,
        root_last_lba: 28_416 + 548_091 - 1,
        ..STOCK
    };
    let layout = layout(&large_disk, request).unwrap();
    assert_eq!(layout.sector_size, SectorSize::S4096);
    assert_eq!(layout.room, Room::Extended { sectors: 4096 });
    assert_eq!(layout.segment_bytes, STOCK.filesystem_bytes);
}

#[test]
fn a_disk_of_large_sectors_gets_large_luks_sectors_by_itself() {
    let source = Source {
        sector_bytes: 4096,
        root_last_lba: 1_000_000,
        disk_bytes: 8 << 30,
        backup_sectors: 5,
        ..STOCK
    };
    let chosen = layout(&source, Request::default()).unwrap();
    assert_eq!(chosen.sector_size, SectorSize::S4096);
    let small_blocks = Source {
        block_bytes: 1024,
        ..source
    };
    assert_eq!(
        layout(&small_blocks, Request::default())
            .unwrap()
            .sector_size,
        SectorSize::S512
    );
}

#[test]
fn free_space_behind_the_root_is_taken_before_the_disk_is_extended() {
    let roomy = Source {
        disk_bytes: STOCK.disk_bytes + (64 << 20),
        ..STOCK
    };
    let grown = layout(&roomy, request(MakeRoom::Auto)).unwrap();
    assert_eq!(grown.room, Room::Grown { sectors: 32_768 });
    assert_eq!(grown.disk_bytes, roomy.disk_bytes);
    assert_eq!(grown.root_last_lba, STOCK.root_last_lba + 32_768);
}

#[test]
fn a_gap_of_exactly_the_need_is_enough_and_one_sector_less_is_not() {
    // P - F is 7 sectors, so 32761 more are needed.
    let need = 32_768 - 7;
    let behind = |gap: u64| Source {
        disk_bytes: STOCK.disk_bytes + (64 << 20),
        next_first_lba: Some(STOCK.root_last_lba + 1 + gap),
        ..STOCK
    };
    let grown = layout(&behind(need), request(MakeRoom::Auto)).unwrap();
    assert_eq!(grown.room, Room::Grown { sectors: need });
    assert_eq!(grown.segment_bytes, STOCK.filesystem_bytes);
    let obstacle = |make_room| match layout(&behind(need - 1), request(make_room)) {
        Err(Error::NoRoom { obstacle, .. }) => obstacle,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        obstacle(MakeRoom::Auto),
        Obstacle::PartitionBehind {
            gap_sectors: need - 1
        }
    );
    assert_eq!(
        obstacle(MakeRoom::Grow),
        Obstacle::GapTooSmall {
            gap_sectors: need - 1
        }
    );
    let next_first_lba = STOCK.root_last_lba + need;
    assert_eq!(
        obstacle(MakeRoom::Extend),
        Obstacle::NotLast { next_first_lba }
    );
}

#[test]
fn an_image_with_room_inside_stays_as_it_is() {
    let source = Source {
        filesystem_bytes: 500_000 * 4096,
        ..STOCK
    };
    for make_room in [
        MakeRoom::Auto,
        MakeRoom::Extend,
        MakeRoom::Grow,
        MakeRoom::Shrink,
    ] {
        let layout = layout(&source, request(make_room)).unwrap();
        assert_eq!(layout.room, Room::Fits);
        assert_eq!(layout.root_last_lba, STOCK.root_last_lba);
        assert_eq!(layout.disk_bytes, STOCK.disk_bytes);
        assert_eq!(layout.segment_bytes, 4_384_735 * 512 - HEADER_BYTES);
    }
}

#[test]
fn shrinking_takes_whole_blocks() {
    let shrunk = layout(&STOCK, request(MakeRoom::Shrink)).unwrap();
    let blocks = (4_384_735 * 512 - HEADER_BYTES) / 4096;
    assert_eq!(shrunk.room, Room::Shrunk { blocks });
    assert_eq!(shrunk.filesystem_bytes, blocks * 4096);
    assert_eq!(shrunk.root_last_lba, STOCK.root_last_lba);
}

#[test]
fn a_root_shorter_than_the_header_cannot_be_shrunk() {
    let source = Source {
        root_last_lba: STOCK.root_first_lba + 2047,
        filesystem_bytes: 1 << 20,
        next_first_lba: Some(STOCK.root_first_lba + 2048),
        ..STOCK
    };
    let error = layout(&source, request(MakeRoom::Shrink)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the LUKS2 header needs 16 MiB: filesystem and header take 17825792 bytes, the root \
         partition has 1048576, and it is too short to shrink the filesystem into"
    );
}

#[test]
fn grow_root_goes_as_far_as_growpart_and_no_further() {
    let request = Request {
        grow_root: true,
        ..Request::default()
    };
    let azure = Source {
        disk_bytes: 62_916_608 * 512,
        root_first_lba: 2_107_392,
        root_last_lba: 8_388_574,
        filesystem_bytes: 785_147 * 4096,
        ..STOCK
    };
    let grown = layout(&azure, request).unwrap();
    assert_eq!(
        (grown.root_last_lba, grown.room),
        (62_916_608 - 34, Room::Fits)
    );
    // Less than 1 MiB to gain: growpart would not change it.
    let near = Source {
        root_last_lba: 62_916_608 - 34 - 2047,
        ..azure
    };
    assert_eq!(
        layout(&near, request).unwrap().root_last_lba,
        near.root_last_lba
    );
    let just = Source {
        root_last_lba: 62_916_608 - 34 - 2048,
        ..azure
    };
    assert_eq!(
        layout(&just, request).unwrap().root_last_lba,
        62_916_608 - 34
    );
}

#[test]
fn a_vhd_is_rounded_up_to_the_next_mebibyte() {
    let request = Request {
        whole_mebibytes: true,
        ..Request::default()
    };
    let odd = Source {
        disk_bytes: STOCK.disk_bytes + 512,
        ..STOCK
    };
    let layout = layout(&odd, request).unwrap();
    assert_eq!(layout.disk_bytes % MIB, 0);
    assert_eq!(layout.disk_bytes, STOCK.disk_bytes + (1 << 20) + (16 << 20));
}

#[test]
fn bytes_behind_the_last_sector_stay_in_a_raw_image_of_the_same_size() {
    let source = Source {
        filesystem_bytes: 500_000 * 4096,
        disk_bytes: STOCK.disk_bytes + 5,
        ..STOCK
    };
    let layout = layout(&source, Request::default()).unwrap();
    assert_eq!(
        (layout.disk_bytes, layout.disk_sectors),
        (source.disk_bytes, 4_612_096)
    );
}
