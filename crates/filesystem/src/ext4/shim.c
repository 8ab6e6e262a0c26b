/*
 * The C side of the ext4 binding: what the room `filesystem` needs of libext2fs (1.47 or newer), behind an opaque
 * handle and plain integers, so that no structure of e2fsprogs is declared a second time in Rust.
 *
 * Reads and writes go through an I/O manager of ours to two callbacks that take byte offsets. The library trusts its
 * image; what stands before it is `superblock.rs` (before opening) and the checks below that are marked "hostile".
 *
 * Every function returns 0, an error code of com_err or one of the two below; `eci_ext4_kind` sorts codes,
 * `eci_ext4_message` words them.
 * A handle is used by one thread at a time. Nothing here keeps state between handles, so several may be open.
 */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <et/com_err.h>
#include <ext2fs/ext2_fs.h>
#include <ext2fs/ext2fs.h>

typedef int (*read_callback)(void *context, uint64_t offset, uint64_t length, void *buffer);
typedef int (*write_callback)(void *context, uint64_t offset, uint64_t length, const void *buffer);
typedef int (*entry_callback)(void *context, uint32_t inode, uint32_t file_type, const char *name, uint32_t length);

#define BAD_GROUP_CHECKSUM (-1L)
#define ATTRIBUTES_IN_INODES (-2L)

/* What a handle is; also the private data of its channel. */
struct eci_ext4 {
	ext2_filsys fs;
	void *context;
	read_callback read;
	write_callback write;
	int64_t now;
};

/* What `eci_ext4_stat` tells of an inode. Field for field the same as `Stat` in binding.rs. */
struct eci_ext4_stat {
	uint64_t size;
	uint32_t mode;
	uint32_t uid;
	uint32_t gid;
	uint32_t links;
	uint32_t flags;
};

/* ---- the I/O manager ------------------------------------------------------------------------------------------- */

/* The handle that is being opened by this thread: a manager's `open` is given nothing but a name. */
static _Thread_local struct eci_ext4 *opening;

/* A positive count is in blocks of the channel's current size, a negative one in bytes. */
static errcode_t byte_range(io_channel channel, unsigned long long block, int count, uint64_t *offset, uint64_t *length)
{
	uint64_t size = (uint64_t)channel->block_size;

	if (__builtin_mul_overflow((uint64_t)block, size, offset))
		return EXT2_ET_INVALID_ARGUMENT;
	*length = count < 0 ? (uint64_t)-(int64_t)count : (uint64_t)count * size;
	return 0;
}

static errcode_t channel_read(io_channel channel, unsigned long long block, int count, void *data)
{
	struct eci_ext4 *handle = channel->private_data;
	uint64_t offset, length;
	errcode_t error = byte_range(channel, block, count, &offset, &length);

	if (error)
		return error;
	return handle->read(handle->context, offset, length, data) ? EXT2_ET_SHORT_READ : 0;
}

static errcode_t channel_write(io_channel channel, unsigned long long block, int count, const void *data)
{
	struct eci_ext4 *handle = channel->private_data;
	uint64_t offset, length;
	errcode_t error = byte_range(channel, block, count, &offset, &length);

	if (error)
		return error;
	return handle->write(handle->context, offset, length, data) ? EXT2_ET_SHORT_WRITE : 0;
}

static errcode_t channel_read_short(io_channel channel, unsigned long block, int count, void *data)
{
	return channel_read(channel, block, count, data);
}

static errcode_t channel_write_short(io_channel channel, unsigned long block, int count, const void *data)
{
	return channel_write(channel, block, count, data);
}

static errcode_t channel_write_byte(io_channel channel, unsigned long offset, int count, const void *data)
{
	struct eci_ext4 *handle = channel->private_data;

	if (count < 0)
		return EXT2_ET_INVALID_ARGUMENT;
	return handle->write(handle->context, offset, (uint64_t)count, data) ? EXT2_ET_SHORT_WRITE : 0;
}

static errcode_t channel_set_blksize(io_channel channel, int block_size)
{
	channel->block_size = block_size;
	return 0;
}

static errcode_t channel_flush(io_channel channel)
{
	(void)channel; /* the caller of the library decides when its storage becomes durable */
	return 0;
}

static errcode_t channel_close(io_channel channel)
{
	if (--channel->refcount > 0)
		return 0;
	ext2fs_free_mem(&channel->name);
	return ext2fs_free_mem(&channel);
}

static errcode_t channel_open(const char *name, int flags, io_channel *opened);

static struct struct_io_manager manager = {
	.magic = EXT2_ET_MAGIC_IO_MANAGER,
	.name = "storage of encrypt-cloud-image",
	.open = channel_open,
	.close = channel_close,
	.set_blksize = channel_set_blksize,
	.read_blk = channel_read_short,
	.write_blk = channel_write_short,
	.flush = channel_flush,
	.write_byte = channel_write_byte,
	.read_blk64 = channel_read,
	.write_blk64 = channel_write,
};

static errcode_t channel_open(const char *name, int flags, io_channel *opened)
{
	io_channel channel;
	errcode_t error = ext2fs_get_memzero(sizeof(*channel), &channel);

	(void)flags;
	if (error)
		return error;
	error = ext2fs_get_mem(strlen(name) + 1, &channel->name);
	if (error) {
		ext2fs_free_mem(&channel);
		return error;
	}
	strcpy(channel->name, name);
	channel->magic = EXT2_ET_MAGIC_IO_CHANNEL;
	channel->manager = &manager;
	channel->block_size = 1024;
	channel->refcount = 1;
	channel->private_data = opening;
	*opened = channel;
	return 0;
}

/* ---- the library as a whole ------------------------------------------------------------------------------------ */

/* The library words some damages on stderr besides returning an error; only the returned one is wanted. */
static void say_nothing(const char *whoami, long code, const char *format, va_list arguments)
{
	(void)whoami, (void)code, (void)format, (void)arguments;
}

/* Once per process, before everything else. */
void eci_ext4_initialize(void)
{
	initialize_ext2_error_table();
	set_com_err_hook(say_nothing);
}

/* The feature words (compat, incompat, ro_compat) that this build of the library knows. */
void eci_ext4_features(uint32_t known[3])
{
	known[0] = EXT2_LIB_FEATURE_COMPAT_SUPP;
	known[1] = EXT2_LIB_FEATURE_INCOMPAT_SUPP;
	known[2] = EXT2_LIB_FEATURE_RO_COMPAT_SUPP;
}

/* The text of a code. Not thread-safe for codes that no table knows: the caller holds a lock and copies. */
const char *eci_ext4_message(long code)
{
	switch (code) {
	case BAD_GROUP_CHECKSUM:
		return "Group descriptor checksum does not match group descriptor";
	case ATTRIBUTES_IN_INODES:
		return "A file with extended attributes cannot be replaced where the feature ea_inode is set";
	default:
		return error_message(code);
	}
}

/* 1 no such entry, 2 no free block, 3 no free inode, 0 all other codes. */
int eci_ext4_kind(long code)
{
	switch (code) {
	case EXT2_ET_FILE_NOT_FOUND:
		return 1;
	case EXT2_ET_BLOCK_ALLOC_FAIL:
	case ENOSPC:
		return 2;
	case EXT2_ET_INODE_ALLOC_FAIL:
		return 3;
	default:
		return 0;
	}
}

/* ---- open and close -------------------------------------------------------------------------------------------- */

/* Hostile: the library checks neither the descriptors' checksums nor where they point. */
static errcode_t check_groups(ext2_filsys fs)
{
	dgrp_t group;

	for (group = 0; group < fs->group_desc_count; group++)
		if (!ext2fs_group_desc_csum_verify(fs, group))
			return BAD_GROUP_CHECKSUM;
	return ext2fs_check_desc(fs);
}

/* Opens and reads the bitmaps. `now` is the time of everything that is changed; it is not 0. */
long eci_ext4_open(void *context, read_callback read, write_callback write, int writable, int64_t now,
		   struct eci_ext4 **opened)
{
	struct eci_ext4 *handle = calloc(1, sizeof(*handle));
	errcode_t error;

	if (!handle)
		return EXT2_ET_NO_MEMORY;
	handle->context = context;
	handle->read = read;
	handle->write = write;
	handle->now = now;
	opening = handle;
	error = ext2fs_open2("image", NULL, (writable ? EXT2_FLAG_RW : 0) | EXT2_FLAG_64BITS, 0, 0, &manager, &handle->fs);
	opening = NULL;
	if (error) {
		free(handle);
		return error;
	}
	handle->fs->now = (time_t)now;
	handle->fs->default_bitmap_type = EXT2FS_BMAP64_BITARRAY; /* one bit a cluster, whatever the image says */
	error = check_groups(handle->fs);
	if (!error)
		error = ext2fs_read_bitmaps(handle->fs);
	if (error) {
		ext2fs_free(handle->fs);
		free(handle);
		return error;
	}
	*opened = handle;
	return 0;
}

/* Writes bitmaps, group descriptors and superblock, and frees the handle in any case. */
long eci_ext4_close(struct eci_ext4 *handle)
{
	errcode_t error = ext2fs_close_free(&handle->fs);

	free(handle);
	return error;
}

/* Frees the handle and writes nothing. */
void eci_ext4_abandon(struct eci_ext4 *handle)
{
	ext2fs_free(handle->fs);
	free(handle);
}

/* ---- reading --------------------------------------------------------------------------------------------------- */

long eci_ext4_stat(struct eci_ext4 *handle, uint32_t number, struct eci_ext4_stat *stat)
{
	struct ext2_inode inode;
	errcode_t error = ext2fs_read_inode(handle->fs, number, &inode);

	if (error)
		return error;
	memset(stat, 0, sizeof(*stat));
	stat->size = EXT2_I_SIZE(&inode);
	stat->mode = inode.i_mode;
	stat->uid = inode_uid(inode);
	stat->gid = inode_gid(inode);
	stat->links = inode.i_links_count;
	stat->flags = inode.i_flags;
	return 0;
}

/* Hostile: inline data in an inode of its own may be longer than the blocks that the library copies it into. */
static errcode_t check_inline_data(ext2_filsys fs, ext2_ino_t number)
{
	size_t size;
	errcode_t error = ext2fs_inline_data_size(fs, number, &size);

	if (error == EXT2_ET_NO_INLINE_DATA)
		return 0;
	if (!error && size + 64 > fs->blocksize)
		return EXT2_ET_INODE_CORRUPTED;
	return error;
}

long eci_ext4_lookup(struct eci_ext4 *handle, uint32_t directory, const char *name, uint32_t length, uint32_t *found)
{
	return ext2fs_lookup(handle->fs, directory, name, (int)length, NULL, found);
}

struct listing {
	entry_callback entry;
	void *context;
};

static int list_entry(ext2_ino_t directory, int kind, struct ext2_dir_entry *entry, int offset, int block_size,
		      char *block, void *data)
{
	struct listing *listing = data;

	(void)directory, (void)kind, (void)offset, (void)block_size, (void)block;
	return listing->entry(listing->context, entry->inode, (uint32_t)ext2fs_dirent_file_type(entry), entry->name,
			      (uint32_t)ext2fs_dirent_name_len(entry)) ? DIRENT_ABORT : 0;
}

/* Calls `entry` for every entry in use, `.` and `..` too, until it returns something else than 0. */
long eci_ext4_list(struct eci_ext4 *handle, uint32_t directory, entry_callback entry, void *context)
{
	struct listing listing = { entry, context };

	return ext2fs_dir_iterate2(handle->fs, directory, 0, NULL, list_entry, &listing);
}

/* The first `length` bytes of a regular file or of a symbolic link's target; `got` may be less. */
long eci_ext4_read(struct eci_ext4 *handle, uint32_t number, void *buffer, uint32_t length, uint32_t *got)
{
	ext2_filsys fs = handle->fs;
	struct ext2_inode inode;
	ext2_file_t file;
	unsigned int piece;
	errcode_t error = ext2fs_read_inode(fs, number, &inode);

	*got = 0;
	if (error)
		return error;
	if (LINUX_S_ISLNK(inode.i_mode) && !(inode.i_flags & EXT4_INLINE_DATA_FL) && ext2fs_is_fast_symlink(&inode)) {
		*got = (uint32_t)EXT2_I_SIZE(&inode) < length ? (uint32_t)EXT2_I_SIZE(&inode) : length;
		memcpy(buffer, inode.i_block, *got);
		return 0;
	}
	error = check_inline_data(fs, number);
	if (!error)
		error = ext2fs_file_open(fs, number, 0, &file);
	if (error)
		return error;
	do {
		piece = 0;
		error = ext2fs_file_read(file, (char *)buffer + *got, length - *got, &piece);
		*got += piece;
	} while (!error && piece && *got < length);
	ext2fs_file_close(file);
	return error;
}

/* An extended attribute of at most `capacity` bytes; `length` is 0 where there is none. */
long eci_ext4_get_attribute(struct eci_ext4 *handle, uint32_t number, const char *name, void *buffer,
			    uint32_t capacity, uint32_t *length)
{
	struct ext2_xattr_handle *attributes;
	void *value = NULL;
	size_t size = 0;
	errcode_t error = ext2fs_xattrs_open(handle->fs, number, &attributes);

	*length = 0;
	if (error)
		return error == EXT2_ET_MISSING_EA_FEATURE ? 0 : error;
	error = ext2fs_xattrs_read(attributes);
	if (!error)
		error = ext2fs_xattr_get(attributes, name, &value, &size);
	if (!error && size > capacity)
		error = EXT2_ET_EA_NO_SPACE;
	if (!error) {
		memcpy(buffer, value, size);
		*length = (uint32_t)size;
	}
	ext2fs_free_mem(&value);
	ext2fs_xattrs_close(&attributes);
	return error == EXT2_ET_EA_KEY_NOT_FOUND ? 0 : error;
}

/* Free blocks as the superblock counts them, edits so far included. */
uint64_t eci_ext4_free_blocks(struct eci_ext4 *handle)
{
	return ext2fs_free_blocks_count(handle->fs->super);
}

/* One bit a cluster, the lowest bit of the first byte is cluster `first`; a multiple of 8 from the map's start. */
long eci_ext4_used_clusters(struct eci_ext4 *handle, uint64_t first, uint64_t count, void *bits)
{
	return ext2fs_get_block_bitmap_range2(handle->fs->block_map, first, count, bits);
}

/* 1 where a block of an inode table holds only inodes that were never in use: neither the kernel nor e2fsck reads it. */
int eci_ext4_is_unused_inode_table(struct eci_ext4 *handle, uint64_t block)
{
	ext2_filsys fs = handle->fs;
	uint64_t per_group = EXT2_INODES_PER_GROUP(fs->super);
	uint64_t first, unused, used_bytes;
	dgrp_t group;

	if (!ext2fs_has_group_desc_csum(fs))
		return 0; /* the counts are not kept */
	for (group = 0; group < fs->group_desc_count; group++) {
		first = ext2fs_inode_table_loc(fs, group);
		if (block < first || block - first >= fs->inode_blocks_per_group)
			continue;
		unused = ext2fs_bg_flags_test(fs, group, EXT2_BG_INODE_UNINIT) ? per_group
									       : ext2fs_bg_itable_unused(fs, group);
		if (unused > per_group)
			return 0;
		used_bytes = (per_group - unused) * EXT2_INODE_SIZE(fs->super);
		return (block - first) * fs->blocksize >= used_bytes;
	}
	return 0;
}

/* ---- changing -------------------------------------------------------------------------------------------------- */

/* Whole seconds as ext4 keeps them: 32 bits, and two more in the low bits of the extra field (with nanoseconds 0). */
static uint32_t seconds_extra(int64_t now)
{
	return (uint32_t)((now - (int32_t)(uint32_t)now) >> 32) & 3;
}

#define HAS_FIELD(inode, size, field) \
	((size) > EXT2_GOOD_OLD_INODE_SIZE && offsetof(struct ext2_inode_large, field) + sizeof((inode)->field) \
	 <= (size_t)EXT2_GOOD_OLD_INODE_SIZE + (inode)->i_extra_isize)

/* Sets the time of change and of modification, of a `fresh` inode all four times. */
static errcode_t set_times(struct eci_ext4 *handle, ext2_ino_t number, int fresh)
{
	int size = EXT2_INODE_SIZE(handle->fs->super);
	size_t capacity = (size_t)size < sizeof(struct ext2_inode_large) ? sizeof(struct ext2_inode_large) : (size_t)size;
	struct ext2_inode_large *inode = calloc(1, capacity);
	uint32_t now = (uint32_t)handle->now, extra = seconds_extra(handle->now);
	errcode_t error;

	if (!inode)
		return EXT2_ET_NO_MEMORY;
	error = ext2fs_read_inode_full(handle->fs, number, EXT2_INODE(inode), size);
	if (error)
		goto out;
	inode->i_ctime = inode->i_mtime = now;
	if (HAS_FIELD(inode, size, i_ctime_extra))
		inode->i_ctime_extra = extra;
	if (HAS_FIELD(inode, size, i_mtime_extra))
		inode->i_mtime_extra = extra;
	if (fresh) {
		inode->i_atime = now;
		if (HAS_FIELD(inode, size, i_atime_extra))
			inode->i_atime_extra = extra;
		if (HAS_FIELD(inode, size, i_crtime))
			inode->i_crtime = now;
		if (HAS_FIELD(inode, size, i_crtime_extra))
			inode->i_crtime_extra = extra;
	}
	error = ext2fs_write_inode_full(handle->fs, number, EXT2_INODE(inode), size);
out:
	free(inode);
	return error;
}

/* Enters a new inode into its directory, which grows where it is full, and sets the times of both. */
static errcode_t enter(struct eci_ext4 *handle, ext2_ino_t directory, const char *name, ext2_ino_t number, int type)
{
	errcode_t error = ext2fs_link(handle->fs, directory, name, number, type);

	if (error == EXT2_ET_DIR_NO_SPACE) {
		error = ext2fs_expand_dir(handle->fs, directory);
		if (!error)
			error = ext2fs_link(handle->fs, directory, name, number, type);
	}
	if (!error)
		error = set_times(handle, number, 1);
	return error ? error : set_times(handle, directory, 0);
}

/* An inode that nothing uses yet, and a directory whose own data the library may copy. */
static errcode_t prepare(struct eci_ext4 *handle, ext2_ino_t directory, int mode, uint32_t *number)
{
	errcode_t error = check_inline_data(handle->fs, directory);

	return error ? error : ext2fs_new_inode(handle->fs, directory, mode, NULL, number);
}

/* A new regular file of owner 0:0. Its data lie in blocks even where the filesystem could keep them in the inode. */
long eci_ext4_create(struct eci_ext4 *handle, uint32_t directory, const char *name, uint32_t mode, const void *bytes,
		     uint32_t length, uint32_t *number)
{
	ext2_filsys fs = handle->fs;
	struct ext2_inode inode;
	ext2_file_t file;
	errcode_t error = prepare(handle, directory, LINUX_S_IFREG, number), closed;
	uint32_t done = 0;

	if (error)
		return error;
	memset(&inode, 0, sizeof(inode));
	inode.i_mode = (uint16_t)(LINUX_S_IFREG | (mode & 07777));
	inode.i_links_count = 1;
	if (ext2fs_has_feature_extents(fs->super)) {
		ext2_extent_handle_t extents; /* opening an empty inode gives it an empty tree and the flag */

		error = ext2fs_extent_open2(fs, *number, &inode, &extents);
		if (error)
			return error;
		ext2fs_extent_free(extents);
	}
	ext2fs_inode_alloc_stats2(fs, *number, +1, 0);
	error = ext2fs_write_new_inode(fs, *number, &inode);
	if (!error)
		error = ext2fs_file_open2(fs, *number, &inode, EXT2_FILE_WRITE, &file);
	if (error)
		return error;
	while (!error && done < length) {
		unsigned int piece = 0;

		error = ext2fs_file_write(file, (const char *)bytes + done, length - done, &piece);
		done += piece;
	}
	closed = ext2fs_file_close(file);
	if (error || closed)
		return error ? error : closed;
	return enter(handle, directory, name, *number, EXT2_FT_REG_FILE);
}

/* A new symbolic link of owner 0:0, mode 0777. */
long eci_ext4_symlink(struct eci_ext4 *handle, uint32_t directory, const char *name, const char *target,
		      uint32_t *number)
{
	errcode_t error = prepare(handle, directory, LINUX_S_IFLNK, number);

	if (!error)
		error = ext2fs_symlink(handle->fs, directory, *number, NULL, target);
	return error ? error : enter(handle, directory, name, *number, EXT2_FT_SYMLINK);
}

/* A new directory of owner 0:0, mode 0755: the handle's umask is 022. */
long eci_ext4_mkdir(struct eci_ext4 *handle, uint32_t directory, const char *name, uint32_t *number)
{
	errcode_t error = prepare(handle, directory, LINUX_S_IFDIR, number);

	if (!error)
		error = ext2fs_mkdir(handle->fs, directory, *number, NULL);
	return error ? error : enter(handle, directory, name, *number, EXT2_FT_DIR);
}

/* The library frees no inodes that hold attributes' values: they would be left behind. */
static errcode_t check_attributes(ext2_filsys fs, ext2_ino_t number)
{
	struct ext2_xattr_handle *attributes;
	size_t count = 0;
	errcode_t error;

	if (!ext2fs_has_feature_ea_inode(fs->super))
		return 0;
	error = ext2fs_xattrs_open(fs, number, &attributes);
	if (error)
		return error == EXT2_ET_MISSING_EA_FEATURE ? 0 : error;
	error = ext2fs_xattrs_read(attributes);
	if (!error)
		error = ext2fs_xattrs_count(attributes, &count);
	ext2fs_xattrs_close(&attributes);
	return error ? error : count ? ATTRIBUTES_IN_INODES : 0;
}

/* Takes the name of something that is not a directory away, and what nothing names any more with it. */
long eci_ext4_unlink(struct eci_ext4 *handle, uint32_t directory, const char *name, uint32_t number)
{
	ext2_filsys fs = handle->fs;
	struct ext2_inode_large inode;
	struct ext2_inode *small = EXT2_INODE(&inode);
	errcode_t error;

	memset(&inode, 0, sizeof(inode));
	error = ext2fs_read_inode_full(fs, number, small, sizeof(inode));
	if (error)
		return error;
	/* Hostile: a name for the journal or another inode that the filesystem needs. */
	if (number < EXT2_FIRST_INODE(fs->super) || inode.i_links_count == 0 || LINUX_S_ISDIR(inode.i_mode))
		return EXT2_ET_INODE_CORRUPTED;
	error = inode.i_links_count == 1 ? check_attributes(fs, number) : 0;
	if (!error)
		error = check_inline_data(fs, directory);
	if (!error)
		error = ext2fs_unlink(fs, directory, name, number, 0);
	if (error)
		return error;
	inode.i_links_count--;
	inode.i_ctime = (uint32_t)handle->now;
	if (HAS_FIELD(&inode, EXT2_INODE_SIZE(fs->super), i_ctime_extra))
		inode.i_ctime_extra = seconds_extra(handle->now);
	if (inode.i_links_count == 0) {
		inode.i_dtime = (uint32_t)handle->now;
		error = ext2fs_free_ext_attr(fs, number, &inode);
		if (!error && ext2fs_inode_has_valid_blocks2(fs, small))
			error = ext2fs_punch(fs, number, small, NULL, 0, ~0ULL);
		if (error)
			return error;
		ext2fs_inode_alloc_stats2(fs, number, -1, 0);
	}
	return ext2fs_write_inode_full(fs, number, small, sizeof(inode));
}

long eci_ext4_set_attribute(struct eci_ext4 *handle, uint32_t number, const char *name, const void *value,
			    uint32_t length)
{
	struct ext2_xattr_handle *attributes;
	errcode_t error = ext2fs_xattrs_open(handle->fs, number, &attributes);

	if (error)
		return error;
	error = ext2fs_xattrs_read(attributes);
	if (!error)
		error = ext2fs_xattr_set(attributes, name, value, length);
	ext2fs_xattrs_close(&attributes);
	return error;
}
