//! The plaintext of the root filesystem is not written anywhere: every buffer of every write is looked at.

use crate::support::files;
use crate::support::image::{Shape, image};
use crate::support::root::PLAIN_MARKER;
use crate::support::trace::Trace;
use crate::support::workshop::{Workshop, stderr};
use crate::support::{find_program, programs};

/// Whole buffers of all calls that write, and all calls that could write without one.
const WHOLE_BUFFERS: [&str; 4] = [
    "-s",
    "2000000",
    "-e",
    "trace=write,pwrite64,writev,pwritev,pwritev2,copy_file_range,sendfile,splice,vmsplice,tee,\
     io_uring_setup,process_vm_writev,io_submit,ioctl,mmap",
];

#[test]
fn no_buffer_that_is_written_holds_plaintext() {
    if !crate::can_judge() || !programs(&["strace"]) {
        return;
    }
    let workshop = Workshop::new();
    workshop.source(image(Shape::Tiny));
    for options in [&["-o", "output.img"][..], &[]] {
        let arguments = [&["encrypt"], options, &["source.img"]].concat();
        let (trace, output) = Trace::of(&workshop, &WHOLE_BUFFERS, &workshop.program(), &arguments);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(trace.wrote("LUKS"), "the header's write is in the trace");
        assert!(!trace.wrote(PLAIN_MARKER));
        assert_eq!(trace.kernel_copies(), [""; 0]);
    }
    for file in ["output.img", "source.img"] {
        assert_eq!(
            files::find(&workshop.path(file), PLAIN_MARKER.as_bytes()),
            None,
            "{file}"
        );
    }
}

#[test]
fn the_trace_shows_plaintext_where_it_is_written() {
    if !crate::can_judge() || !programs(&["strace"]) {
        return;
    }
    let workshop = Workshop::new();
    workshop.source(image(Shape::Tiny));
    let copy = ["if=source.img", "of=copy.img", "bs=256k", "status=none"];
    let dd = find_program("dd").unwrap();
    let (trace, output) = Trace::of(&workshop, &WHOLE_BUFFERS, &dd, &copy);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(trace.wrote(PLAIN_MARKER));
    assert!(files::find(&workshop.path("copy.img"), PLAIN_MARKER.as_bytes()).is_some());
    let by_kernel = Trace::parse(
        "1 copy_file_range(3</a>, [0], 4</b>, NULL, 4096, 0) = 4096\n\
         1 mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED, 3</a>, 0) = 0x7f\n\
         1 mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_PRIVATE, 3</a>, 0) = 0x7f\n",
    );
    assert_eq!(by_kernel.kernel_copies().len(), 2);
}

#[test]
fn data_of_deleted_files_do_not_travel_along() {
    if !crate::can_judge() {
        return;
    }
    // That free blocks decrypt to zeros is for the judge of every conversion; here, that there was something.
    let source = image(Shape::Stock);
    let marker = crate::support::root::DELETED_MARKER.as_bytes();
    let place = files::find(&source.raw, marker).expect("deleted data in the source");
    let tree = source.tree();
    let block =
        (place - source.table.byte_range(crate::support::image::ROOT).start) / tree.block_bytes;
    assert!(
        tree.free_blocks.iter().any(|range| range.contains(&block)),
        "in a free block"
    );
}
