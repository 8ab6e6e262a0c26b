/*
 * What libext2fs could do, were it taken over by a hostile image: loaded before it (LD_PRELOAD), this tries to read a
 * file, to make one, to start a program and to make a connection, and writes on standard error what came of each (0, or
 * the error's number): at the start of the process, in the first read at an offset, which is of an image, in the
 * library's function that opens a filesystem, and in the first write, which is a worker thread's.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

static int opened(const char *path, int flags)
{
	int file = open(path, flags, 0600);
	if (file < 0)
		return errno;
	close(file);
	return 0;
}

static int started(void)
{
	pid_t child = fork();
	if (child == 0) {
		execl("/bin/true", "true", (char *)NULL);
		_exit(errno);
	}
	int status = 0;
	waitpid(child, &status, 0);
	return WEXITSTATUS(status);
}

static int connected(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(9) };
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int peer = socket(AF_INET, SOCK_STREAM, 0);
	int error = connect(peer, (struct sockaddr *)&to, sizeof(to)) < 0 ? errno : 0;
	close(peer);
	return error;
}

static void try_all(const char *where)
{
	const char *folder = getenv("INTRUDER");
	char to_read[4096], to_make[4096];
	snprintf(to_read, sizeof(to_read), "%s/secret", folder);
	snprintf(to_make, sizeof(to_make), "%s/loot", folder);
	int made = opened(to_make, O_WRONLY | O_CREAT);
	if (made == 0)
		unlink(to_make);
	dprintf(2, "intruder at %s: read %d, make %d, start %d, connect %d\n", where, opened(to_read, O_RDONLY), made,
		started(), connected());
}

__attribute__((constructor)) static void at_the_start(void)
{
	/* Programs that are started by the one that is looked at inherit the variable. */
	unsetenv("LD_PRELOAD");
	try_all("start");
}

long ext2fs_open2(const char *name, const char *options, int flags, int superblock, unsigned block_size, void *manager,
		  void *filesystem)
{
	long (*real)(const char *, const char *, int, int, unsigned, void *, void *) = dlsym(RTLD_NEXT, "ext2fs_open2");
	static atomic_flag done = ATOMIC_FLAG_INIT;
	if (!atomic_flag_test_and_set(&done))
		try_all("libext2fs");
	return real(name, options, flags, superblock, block_size, manager, filesystem);
}

ssize_t pread64(int file, void *bytes, size_t length, off64_t offset)
{
	ssize_t (*real)(int, void *, size_t, off64_t) = dlsym(RTLD_NEXT, "pread64");
	static atomic_flag done = ATOMIC_FLAG_INIT;
	if (!atomic_flag_test_and_set(&done))
		try_all("read");
	return real(file, bytes, length, offset);
}

ssize_t pwrite64(int file, const void *bytes, size_t length, off64_t offset)
{
	ssize_t (*real)(int, const void *, size_t, off64_t) = dlsym(RTLD_NEXT, "pwrite64");
	static atomic_flag done = ATOMIC_FLAG_INIT;
	if (!atomic_flag_test_and_set(&done))
		try_all("write");
	return real(file, bytes, length, offset);
}
