/*
 * Stands for the Linux "sg" driver: preloaded into unmodified programs (mtx, tapeinfo, sg_*, mt), it
 * carries the SG_IO of the device paths that $SGSHIM_MAP names, command for command, to a target.
 *
 * The map is a text file, one device a line, "PATH TARGET", where TARGET is one of
 *     unix:SOCKET                     an emulator; the frames are in targets.c
 *     iscsi://127.0.0.1:PORT/IQN/LUN  an iSCSI target, by libiscsi (built with -DWITH_ISCSI -liscsi)
 *     errno:N                         nothing: open(2) fails with N
 * SGSHIM_EAT_UA=1 takes "power on" unit attentions at the opening of an iSCSI device: a kernel keeps
 * one session and took them when it found the device.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mtio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "shim.h"

#define MAX_FD 1024
#define NOT_OURS (-2)
#define IOCTL_GET_IDLUN 0x5382
#define IOCTL_GET_BUS_NUMBER 0x5386

static struct device *devices[MAX_FD];

/* Found at first use: constructors of other libraries run before ours, and open files. */
#define REAL(result, name, args)                                       \
	static result(*find_##name(void)) args                          \
	{                                                               \
		static result(*found) args;                             \
		if (!found)                                             \
			found = dlsym(RTLD_NEXT, #name);                \
		return found;                                           \
	}
REAL(int, open, (const char *, int, ...))
REAL(int, openat, (int, const char *, int, ...))
REAL(int, close, (int))
REAL(int, ioctl, (int, unsigned long, ...))
REAL(int, fstat, (int, struct stat *))
REAL(int, stat, (const char *, struct stat *))
#define real_open find_open()
#define real_openat find_openat()
#define real_close find_close()
#define real_ioctl find_ioctl()
#define real_fstat find_fstat()
#define real_stat find_stat()

static struct device *device_of(int fd)
{
	return fd >= 0 && fd < MAX_FD ? devices[fd] : NULL;
}

/* The number at the end of a path's name: sg3 is minor 3. */
static int minor_of(const char *path)
{
	const char *end = path + strlen(path);
	while (end > path && end[-1] >= '0' && end[-1] <= '9')
		end--;
	return atoi(end);
}

static int is_tape(const char *path)
{
	const char *name = strrchr(path, '/');
	name = name ? name + 1 : path;
	return !strncmp(name, "st", 2) || !strncmp(name, "nst", 3);
}

static int find_target(const char *path, char *target, size_t size)
{
	const char *map = getenv("SGSHIM_MAP");
	char line[600], from[256], to[256];
	int fd, is_found = 0;
	FILE *file;

	if (!map || !path || (fd = real_open(map, O_RDONLY | O_CLOEXEC)) < 0)
		return 0;
	if (!(file = fdopen(fd, "r"))) {
		real_close(fd);
		return 0;
	}
	while (!is_found && fgets(line, sizeof line, file)) {
		if (line[0] == '#' || sscanf(line, "%255s %255s", from, to) != 2)
			continue;
		if (!strcmp(from, path)) {
			snprintf(target, size, "%s", to);
			is_found = 1;
		}
	}
	fclose(file);
	return is_found;
}

static int open_device(const char *path, int flags)
{
	char target[256];
	int fd = -1, error = ENXIO;

	if (!find_target(path, target, sizeof target))
		return NOT_OURS;
	struct device *device = calloc(1, sizeof *device);
	snprintf(device->path, sizeof device->path, "%s", path);
	snprintf(device->target, sizeof device->target, "%s", target);
	device->minor = minor_of(path);
	device->opener = getpid();
	device->flags = flags;
	pthread_mutex_init(&device->lock, NULL);
	fd = connect_target(device, &error);
	if (fd < 0 || fd >= MAX_FD) {
		if (fd >= 0)
			real_close(fd);
		free(device);
		errno = error;
		return -1;
	}
	devices[fd] = device;
	settle_target(fd, device);
	return fd;
}

/* What the st driver answers to MTIOCGET. */
static int tape_status(int fd, struct device *device, struct mtget *status)
{
	const uint8_t ready[6] = { 0 }, mode[6] = { 0x1a, 0, 0, 0, 64, 0 }, position[10] = { 0x34 };
	uint8_t sense[32], data[64] = { 0 };

	memset(status, 0, sizeof *status);
	status->mt_type = MT_ISSCSI2;
	status->mt_fileno = status->mt_blkno = -1;
	int got = run_quick(fd, device, ready, 6, NULL, 0, sense);
	if (got == 2 && (sense[2] & 15) == 6)
		got = run_quick(fd, device, ready, 6, NULL, 0, sense);
	if (got) {
		if ((sense[2] & 15) == 2 && sense[12] == 0x3a)
			status->mt_gstat = 0x00040000; /* DR_OPEN */
		return 0;
	}
	status->mt_gstat = 0x01000000; /* ONLINE */
	if (!run_quick(fd, device, mode, 6, data, 64, sense)) {
		status->mt_dsreg = (long)data[4] << 24 | data[9] << 16 | data[10] << 8 | data[11];
		if (data[2] & 0x80)
			status->mt_gstat |= 0x04000000; /* WR_PROT */
		if (data[2] & 0x70)
			status->mt_gstat |= 0x00010000; /* IM_REP_EN */
	}
	memset(data, 0, sizeof data);
	if (!run_quick(fd, device, position, 10, data, 20, sense)) {
		status->mt_blkno = data[4] << 24 | data[5] << 16 | data[6] << 8 | data[7];
		status->mt_fileno = status->mt_blkno ? -1 : 0;
		if (data[0] & 0x80)
			status->mt_gstat |= 0x40000000; /* BOT */
	}
	return 0;
}

static int answer_number(int *where, int number)
{
	*where = number;
	return 0;
}

int ioctl(int fd, unsigned long request, ...)
{
	va_list words;
	va_start(words, request);
	void *word = va_arg(words, void *);
	va_end(words);
	struct device *device = device_of(fd);
	if (!device)
		return real_ioctl(fd, request, word);
	if ((uint32_t)request == (uint32_t)MTIOCGET)
		return tape_status(fd, device, word);
	switch ((uint32_t)request) {
	case SG_IO: return run_command(fd, device, word);
	case SG_GET_VERSION_NUM: return answer_number(word, 30536);
	case SG_GET_TIMEOUT: return 6000;
	case SG_GET_RESERVED_SIZE: return answer_number(word, 32768);
	case SG_EMULATED_HOST: return answer_number(word, 0);
	case SG_GET_SG_TABLESIZE: return answer_number(word, 128);
	case IOCTL_GET_BUS_NUMBER: return answer_number(word, 2);
	case IOCTL_GET_IDLUN:
		((int *)word)[1] = 2;
		return answer_number(word, device->minor & 0xff);
	case SG_GET_SCSI_ID:
		*(struct sg_scsi_id *)word = (struct sg_scsi_id){ .host_no = 2, .scsi_id = device->minor,
			.h_cmd_per_lun = 1, .d_queue_depth = 16 };
		return 0;
	case SG_SET_TIMEOUT:
	case SG_SET_RESERVED_SIZE:
	case SG_SET_COMMAND_Q:
	case SG_SET_FORCE_PACK_ID:
	case SG_SET_KEEP_ORPHAN:
	case SG_SET_DEBUG:
		return 0;
	}
	errno = ENOTTY;
	return -1;
}

#define MODE_OF(flags, mode)                            \
	mode_t mode = 0;                                \
	if (flags & (O_CREAT | O_TMPFILE)) {            \
		va_list words;                          \
		va_start(words, flags);                 \
		mode = va_arg(words, int);              \
		va_end(words);                          \
	}

int open(const char *path, int flags, ...)
{
	MODE_OF(flags, mode)
	int fd = open_device(path, flags);
	return fd == NOT_OURS ? real_open(path, flags, mode) : fd;
}

int open64(const char *path, int flags, ...)
{
	MODE_OF(flags, mode)
	return open(path, flags | O_LARGEFILE, mode);
}

int openat(int directory, const char *path, int flags, ...)
{
	MODE_OF(flags, mode)
	int fd = path[0] == '/' ? open_device(path, flags) : NOT_OURS;
	return fd == NOT_OURS ? real_openat(directory, path, flags, mode) : fd;
}

int openat64(int directory, const char *path, int flags, ...)
{
	MODE_OF(flags, mode)
	return openat(directory, path, flags | O_LARGEFILE, mode);
}

int __open_2(const char *path, int flags) { return open(path, flags); }
int __open64_2(const char *path, int flags) { return open64(path, flags); }

int close(int fd)
{
	struct device *device = device_of(fd);
	if (device) {
		devices[fd] = NULL;
		leave_target(fd, device);
		free(device);
	}
	return real_close(fd);
}

/* A kernel closes what a program leaves open before anybody hears of its end. */
__attribute__((destructor)) static void close_all(void)
{
	for (int fd = 0; fd < MAX_FD; fd++)
		if (devices[fd])
			close(fd);
}

static int device_stat(const char *path, struct stat *about)
{
	memset(about, 0, sizeof *about);
	about->st_mode = S_IFCHR | 0660;
	about->st_rdev = is_tape(path) ? makedev(9, 128 + minor_of(path)) : makedev(21, minor_of(path));
	about->st_nlink = 1;
	about->st_gid = 26;
	about->st_blksize = 4096;
	return 0;
}

int fstat(int fd, struct stat *about)
{
	struct device *device = device_of(fd);
	return device ? device_stat(device->path, about) : real_fstat(fd, about);
}

int stat(const char *path, struct stat *about)
{
	char target[256];
	return find_target(path, target, sizeof target) ? device_stat(path, about) : real_stat(path, about);
}

int fstat64(int fd, struct stat64 *about) { return fstat(fd, (struct stat *)about); }
int stat64(const char *path, struct stat64 *about) { return stat(path, (struct stat *)about); }
