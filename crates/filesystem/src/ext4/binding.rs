//! The calls into `shim.c`, and the callbacks from it: the one file of this crate with unsafe code.
//!
//! A [`Handle`] owns an open filesystem of libext2fs and borrows the storage below it. Codes become [`Failure`]s;
//! errors of the storage are kept aside while C is on the stack and returned from the call, panics likewise are
//! carried on behind it. One operation may read [`READ_LIMIT_BYTES`]: a structure that leads in a circle ends there.
//!
//! Invariant: a handle is used by one thread at a time (it is neither `Send` nor `Sync`); the library keeps nothing
//! between handles but its table of messages, which is set up once and read under a lock.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString, c_char, c_int, c_long, c_void};
use std::marker::PhantomPinned;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::ptr::{self, NonNull};
use std::sync::{Mutex, Once, PoisonError};

use base::storage::{self, ReadAt, WriteAt};

/// What one operation may read: more than the largest directory and its bitmaps take.
pub(super) const READ_LIMIT_BYTES: u64 = 1 << 30;

/// What the C side reports of an inode; field for field `struct eci_ext4_stat`.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Stat {
    pub size: u64,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub links: u32,
    pub flags: u32,
}

#[repr(C)]
struct RawHandle {
    _opaque: [u8; 0],
}

type ReadCallback = extern "C" fn(*mut c_void, u64, u64, *mut u8) -> c_int;
type WriteCallback = extern "C" fn(*mut c_void, u64, u64, *const u8) -> c_int;
type EntryCallback = extern "C" fn(*mut c_void, u32, u32, *const u8, u32) -> c_int;

unsafe extern "C" {
    fn eci_ext4_initialize();
    fn eci_ext4_features(known: *mut u32);
    fn eci_ext4_message(code: c_long) -> *const c_char;
    safe fn eci_ext4_kind(code: c_long) -> c_int;
    fn eci_ext4_open(
        context: *mut c_void,
        read: ReadCallback,
        write: WriteCallback,
        writable: c_int,
        now: i64,
        opened: *mut *mut RawHandle,
    ) -> c_long;
    fn eci_ext4_close(handle: *mut RawHandle) -> c_long;
    fn eci_ext4_abandon(handle: *mut RawHandle);
    fn eci_ext4_stat(handle: *mut RawHandle, inode: u32, stat: *mut Stat) -> c_long;
    fn eci_ext4_lookup(
        handle: *mut RawHandle,
        directory: u32,
        name: *const u8,
        length: u32,
        found: *mut u32,
    ) -> c_long;
    fn eci_ext4_list(
        handle: *mut RawHandle,
        directory: u32,
        entry: EntryCallback,
        context: *mut c_void,
    ) -> c_long;
    fn eci_ext4_read(
        handle: *mut RawHandle,
        inode: u32,
        buffer: *mut u8,
        length: u32,
        got: *mut u32,
    ) -> c_long;
    fn eci_ext4_get_attribute(
        handle: *mut RawHandle,
        inode: u32,
        name: *const c_char,
        buffer: *mut u8,
        capacity: u32,
        length: *mut u32,
    ) -> c_long;
    fn eci_ext4_set_attribute(
        handle: *mut RawHandle,
        inode: u32,
        name: *const c_char,
        value: *const u8,
        length: u32,
    ) -> c_long;
    fn eci_ext4_free_blocks(handle: *mut RawHandle) -> u64;
    fn eci_ext4_used_clusters(
        handle: *mut RawHandle,
        first: u64,
        count: u64,
        bits: *mut u8,
    ) -> c_long;
    fn eci_ext4_is_unused_inode_table(handle: *mut RawHandle, block: u64) -> c_int;
    fn eci_ext4_create(
        handle: *mut RawHandle,
        directory: u32,
        name: *const c_char,
        mode: u32,
        bytes: *const u8,
        length: u32,
        inode: *mut u32,
    ) -> c_long;
    fn eci_ext4_symlink(
        handle: *mut RawHandle,
        directory: u32,
        name: *const c_char,
        target: *const c_char,
        inode: *mut u32,
    ) -> c_long;
    fn eci_ext4_mkdir(
        handle: *mut RawHandle,
        directory: u32,
        name: *const c_char,
        inode: *mut u32,
    ) -> c_long;
    fn eci_ext4_unlink(
        handle: *mut RawHandle,
        directory: u32,
        name: *const c_char,
        inode: u32,
    ) -> c_long;
}

/// The library's table of messages: set up once, and read by one thread at a time.
static MESSAGES: Mutex<()> = Mutex::new(());

fn initialize() {
    static ONCE: Once = Once::new();
    // SAFETY: called once in the process (`Once`), before any other call that could look at the tables it fills.
    ONCE.call_once(|| unsafe { eci_ext4_initialize() });
}

/// The feature bits that the linked library can deal with.
pub(super) struct Features {
    pub incompat: u32,
    pub ro_compat: u32,
}

pub(super) fn known_features() -> Features {
    let mut known = [0_u32; 3];
    // SAFETY: the function writes three words to the array that it is given and keeps no pointer.
    unsafe { eci_ext4_features(known.as_mut_ptr()) };
    let [_, incompat, ro_compat] = known;
    Features {
        incompat,
        ro_compat,
    }
}

/// Why a call failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The storage below failed; the library's own code says less.
    Storage(storage::Error),
    /// The operation read more than [`READ_LIMIT_BYTES`].
    Endless,
    /// A name is not there.
    NotFound,
    /// No free block.
    NoBlocks,
    /// No free inode.
    NoInodes,
    /// Everything else, in the library's words.
    Library(String),
}

/// What lies below a filesystem: to be read only, or to be written too.
#[derive(Clone, Copy)]
pub(super) enum Below<'s> {
    Read(&'s dyn ReadAt),
    Write(&'s dyn WriteAt),
}

/// What the callbacks are given. It must not move while C knows its address, hence pinned.
struct Channel<'s> {
    below: Below<'s>,
    left_bytes: Cell<u64>,
    endless: Cell<bool>,
    error: RefCell<Option<storage::Error>>,
    panic: RefCell<Option<Box<dyn Any + Send>>>,
    _pinned: PhantomPinned,
}

impl Channel<'_> {
    /// Runs a callback's body; what it fails with waits for the call to return.
    fn guarded(&self, body: impl FnOnce() -> storage::Result<()>) -> c_int {
        match catch_unwind(AssertUnwindSafe(body)) {
            Ok(Ok(())) => 0,
            Ok(Err(error)) => {
                self.error.borrow_mut().get_or_insert(error);
                1
            }
            Err(panic) => {
                self.panic.borrow_mut().get_or_insert(panic);
                1
            }
        }
    }
}

extern "C" fn read(context: *mut c_void, offset: u64, length: u64, buffer: *mut u8) -> c_int {
    // SAFETY: C hands back the address that `Handle::open` gave it: a pinned `Channel`, alive until the handle is
    // closed, of which only shared references are ever made.
    let channel = unsafe { &*context.cast::<Channel<'_>>() };
    let (Some(left), Ok(length)) = (
        channel.left_bytes.get().checked_sub(length),
        usize::try_from(length),
    ) else {
        channel.endless.set(true);
        return 1;
    };
    channel.left_bytes.set(left);
    channel.guarded(|| {
        // SAFETY: the library gives a buffer of its own of `length` bytes, and touches it again only when this
        // returns. It may be uninitialised, but is memory that C allocated, whose bytes are merely unspecified.
        let buffer = unsafe { std::slice::from_raw_parts_mut(buffer, length) };
        match channel.below {
            Below::Read(storage) => storage.read_exact_at(buffer, offset),
            Below::Write(storage) => storage.read_exact_at(buffer, offset),
        }
    })
}

extern "C" fn write(context: *mut c_void, offset: u64, length: u64, buffer: *const u8) -> c_int {
    // SAFETY: as in `read`.
    let channel = unsafe { &*context.cast::<Channel<'_>>() };
    let (Below::Write(storage), Ok(length)) = (channel.below, usize::try_from(length)) else {
        return 1; // the library does not write to a filesystem that it opened for reading
    };
    channel.guarded(|| {
        // SAFETY: the library gives a buffer of its own of `length` bytes, and changes it only when this returns.
        let bytes = unsafe { std::slice::from_raw_parts(buffer, length) };
        storage.write_all_at(bytes, offset)
    })
}

/// Where [`Handle::list`] takes its entries to.
struct Listing<'c, 's> {
    channel: &'c Channel<'s>,
    entry: &'c mut dyn FnMut(u32, u32, &[u8]) -> bool,
}

extern "C" fn entry(
    context: *mut c_void,
    inode: u32,
    file_type: u32,
    name: *const u8,
    length: u32,
) -> c_int {
    // SAFETY: C hands back the address of the `Listing` on the stack of `Handle::list`, which waits for C to return
    // and makes no other reference to it meanwhile.
    let listing = unsafe { &mut *context.cast::<Listing<'_, '_>>() };
    let mut go_on = false;
    listing.channel.guarded(|| {
        // SAFETY: an entry's name of `length` (at most 255) bytes in a block that the library holds while it calls.
        let name = unsafe { std::slice::from_raw_parts(name, length as usize) };
        go_on = (listing.entry)(inode, file_type, name);
        Ok(())
    });
    c_int::from(!go_on)
}

/// An open filesystem. Dropped without [`Handle::close`], it writes nothing more.
pub(super) struct Handle<'s> {
    raw: NonNull<RawHandle>,
    channel: Pin<Box<Channel<'s>>>,
}

impl<'s> Handle<'s> {
    /// Opens the filesystem that fills the storage; its superblock has been checked. `now_seconds` is not 0.
    pub(super) fn open(below: Below<'s>, now_seconds: i64) -> Result<Self, Failure> {
        initialize();
        let channel = Box::pin(Channel {
            below,
            left_bytes: Cell::new(u64::MAX), // opening reads all bitmaps, bounded by the superblock's check
            endless: Cell::new(false),
            error: RefCell::new(None),
            panic: RefCell::new(None),
            _pinned: PhantomPinned,
        });
        let context = ptr::from_ref::<Channel<'_>>(&channel).cast_mut().cast();
        let writable = c_int::from(matches!(below, Below::Write(_)));
        let mut raw = ptr::null_mut();
        // SAFETY: the callbacks have the types that the C side declares; the channel is pinned, and outlives the
        // handle, since `Handle` holds both and closes the one before it drops the other.
        let code =
            unsafe { eci_ext4_open(context, read, write, writable, now_seconds, &raw mut raw) };
        outcome(&channel, code)?;
        let raw = NonNull::new(raw).ok_or_else(|| Failure::Library("no handle".to_owned()))?;
        Ok(Self { raw, channel })
    }

    /// Writes what the library still holds: bitmaps, group descriptors, the superblock.
    pub(super) fn close(self) -> Result<(), Failure> {
        let this = std::mem::ManuallyDrop::new(self);
        this.begin();
        // SAFETY: the handle is open, and not used again: `this` is not dropped, only its channel is below.
        let code = unsafe { eci_ext4_close(this.raw.as_ptr()) };
        // SAFETY: the channel is read out of a value that is never dropped or used again, hence not dropped twice.
        let channel = unsafe { ptr::read(&raw const this.channel) };
        outcome(&channel, code)
    }

    fn begin(&self) {
        self.channel.left_bytes.set(READ_LIMIT_BYTES);
    }

    fn call(&self, call: impl FnOnce(*mut RawHandle) -> c_long) -> Result<(), Failure> {
        self.begin();
        let code = call(self.raw.as_ptr());
        outcome(&self.channel, code)
    }

    pub(super) fn stat(&self, inode: u32) -> Result<Stat, Failure> {
        let mut stat = Stat::default();
        // SAFETY: the handle is open; `stat` is a `struct eci_ext4_stat` that C fills and forgets.
        self.call(|raw| unsafe { eci_ext4_stat(raw, inode, &raw mut stat) })?;
        Ok(stat)
    }

    pub(super) fn lookup(&self, directory: u32, name: &[u8]) -> Result<u32, Failure> {
        let mut found = 0;
        let length = c_length(name)?;
        // SAFETY: the handle is open; C reads `length` bytes of the name and writes one number, and forgets both.
        self.call(|raw| unsafe {
            eci_ext4_lookup(raw, directory, name.as_ptr(), length, &raw mut found)
        })?;
        Ok(found)
    }

    /// Calls `each` with inode, file type and name of every entry, until it returns false.
    pub(super) fn list(
        &self,
        directory: u32,
        each: &mut dyn FnMut(u32, u32, &[u8]) -> bool,
    ) -> Result<(), Failure> {
        let mut listing = Listing {
            channel: &self.channel,
            entry: each,
        };
        let context = ptr::from_mut(&mut listing).cast();
        // SAFETY: the handle is open; `listing` lives until the call returns and is reached through `context` alone.
        self.call(|raw| unsafe { eci_ext4_list(raw, directory, entry, context) })
    }

    /// Fills `buffer` from the start of a regular file or link, and returns how much there was.
    pub(super) fn read(&self, inode: u32, buffer: &mut [u8]) -> Result<usize, Failure> {
        let mut got = 0;
        let length = c_length(buffer)?;
        // SAFETY: the handle is open; C writes at most `length` bytes to the buffer, one number to `got`.
        self.call(|raw| unsafe {
            eci_ext4_read(raw, inode, buffer.as_mut_ptr(), length, &raw mut got)
        })?;
        Ok(got as usize)
    }

    /// The value of an extended attribute; `None` where there is none (or an empty one).
    pub(super) fn attribute(&self, inode: u32, name: &CStr) -> Result<Option<Vec<u8>>, Failure> {
        let mut value = vec![0; 65_536]; // the kernel's limit of a value
        let mut got = 0;
        let capacity = c_length(&value)?;
        // SAFETY: the handle is open; the name ends with NUL; C writes at most `capacity` bytes and one number.
        self.call(|raw| unsafe {
            let buffer = value.as_mut_ptr();
            eci_ext4_get_attribute(raw, inode, name.as_ptr(), buffer, capacity, &raw mut got)
        })?;
        value.truncate(got as usize);
        Ok((!value.is_empty()).then_some(value))
    }

    pub(super) fn set_attribute(
        &self,
        inode: u32,
        name: &CStr,
        value: &[u8],
    ) -> Result<(), Failure> {
        let length = c_length(value)?;
        // SAFETY: the handle is open; the name ends with NUL; C copies `length` bytes of the value.
        self.call(|raw| unsafe {
            eci_ext4_set_attribute(raw, inode, name.as_ptr(), value.as_ptr(), length)
        })
    }

    /// How many blocks the library counts as free now, those reserved for root included.
    pub(super) fn free_blocks(&self) -> u64 {
        // SAFETY: the handle is open; the call reads one number of it.
        unsafe { eci_ext4_free_blocks(self.raw.as_ptr()) }
    }

    /// Fills `bits` with one bit a cluster, from cluster `first` on, which lies a multiple of 8 behind the map's start.
    pub(super) fn used_clusters(
        &self,
        first: u64,
        count: u64,
        bits: &mut [u8],
    ) -> Result<(), Failure> {
        if count.div_ceil(8) > bits.len() as u64 {
            return Err(Failure::Library("a bitmap that is too short".to_owned()));
        }
        // SAFETY: the handle is open; C writes one bit for each of `count` clusters, which the buffer has room for.
        self.call(|raw| unsafe { eci_ext4_used_clusters(raw, first, count, bits.as_mut_ptr()) })
    }

    /// Whether a block is one of an inode table and holds only inodes that were never in use.
    pub(super) fn is_unused_inode_table(&self, block: u64) -> bool {
        // SAFETY: the handle is open; the call compares numbers of it.
        unsafe { eci_ext4_is_unused_inode_table(self.raw.as_ptr(), block) == 1 }
    }

    pub(super) fn create(
        &self,
        directory: u32,
        name: &CStr,
        mode: u32,
        bytes: &[u8],
    ) -> Result<u32, Failure> {
        let mut inode = 0;
        let length = c_length(bytes)?;
        // SAFETY: the handle is open; the name ends with NUL; C reads `length` bytes and writes one number.
        self.call(|raw| unsafe {
            let (name, bytes) = (name.as_ptr(), bytes.as_ptr());
            eci_ext4_create(raw, directory, name, mode, bytes, length, &raw mut inode)
        })?;
        Ok(inode)
    }

    pub(super) fn symlink(
        &self,
        directory: u32,
        name: &CStr,
        target: &CStr,
    ) -> Result<u32, Failure> {
        let mut inode = 0;
        // SAFETY: the handle is open; both strings end with NUL; C writes one number.
        self.call(|raw| unsafe {
            eci_ext4_symlink(
                raw,
                directory,
                name.as_ptr(),
                target.as_ptr(),
                &raw mut inode,
            )
        })?;
        Ok(inode)
    }

    pub(super) fn mkdir(&self, directory: u32, name: &CStr) -> Result<u32, Failure> {
        let mut inode = 0;
        // SAFETY: the handle is open; the name ends with NUL; C writes one number.
        self.call(|raw| unsafe { eci_ext4_mkdir(raw, directory, name.as_ptr(), &raw mut inode) })?;
        Ok(inode)
    }

    pub(super) fn unlink(&self, directory: u32, name: &CStr, inode: u32) -> Result<(), Failure> {
        // SAFETY: the handle is open; the name ends with NUL.
        self.call(|raw| unsafe { eci_ext4_unlink(raw, directory, name.as_ptr(), inode) })
    }
}

impl Drop for Handle<'_> {
    fn drop(&mut self) {
        // SAFETY: the handle is open (`close` takes `self` and does not drop it), and not used again.
        unsafe { eci_ext4_abandon(self.raw.as_ptr()) };
    }
}

/// A length as C takes it; the library counts what it copies in 32 bits.
fn c_length(bytes: &[u8]) -> Result<u32, Failure> {
    u32::try_from(bytes.len()).map_err(|_| Failure::Library("more than 4 GiB at once".to_owned()))
}

/// What a call came to: first what waited while C was on the stack, then the library's own code.
fn outcome(channel: &Channel<'_>, code: c_long) -> Result<(), Failure> {
    if let Some(panic) = channel.panic.borrow_mut().take() {
        resume_unwind(panic);
    }
    if let Some(error) = channel.error.borrow_mut().take() {
        return Err(Failure::Storage(error));
    }
    if channel.endless.take() {
        return Err(Failure::Endless);
    }
    match (code, eci_ext4_kind(code)) {
        (0, _) => Ok(()),
        (_, 1) => Err(Failure::NotFound),
        (_, 2) => Err(Failure::NoBlocks),
        (_, 3) => Err(Failure::NoInodes),
        _ => Err(Failure::Library(message(code))),
    }
}

fn message(code: c_long) -> String {
    let _one_at_a_time = MESSAGES.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: the library returns a string that ends with NUL and stays as it is until the next call, which the lock
    // holds off until the copy is made.
    let text = unsafe { CStr::from_ptr(eci_ext4_message(code)) };
    text.to_string_lossy().into_owned()
}

/// A name or target for C; the caller has checked that there is no NUL in it.
pub(super) fn c_string(bytes: &[u8]) -> Result<CString, Failure> {
    CString::new(bytes).map_err(|_| Failure::Library("a NUL in a name".to_owned()))
}
