/*
 * Stands for SCST's /dev/scst_event: preloaded into an unmodified reader, it answers the two ioctls
 * of the interface (scst_event.h) on a FIFO, through which scst_events.py sends the events. (FUSE
 * cannot: it hands over as many bytes as the number of an ioctl says, and an event is longer.)
 *
 * As in the kernel, an event comes to a descriptor that allowed it by code and issuer, where 0 and
 * "*" are wildcards, a second permission for the same is refused, and what is too long is too. What
 * is allowed is written beside the FIFO, with ".allowed" behind its name: a line "CODE ISSUER" each.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define ISSUER_BYTES 50
#define MAX_ALLOWED 16
#define MAX_EVENT 4096

struct event {
	int32_t payload_len;
	uint32_t code;
	uint32_t id;
	char issuer[ISSUER_BYTES];
	uint8_t payload[];
};

struct next_event {
	int32_t max_bytes;
	struct event event;
};

#define ALLOW_EVENT _IOW('u', 1, struct event)
#define GET_NEXT_EVENT _IOWR('u', 3, struct next_event)

/* One device in a process is enough: a reader opens it once. */
static struct event allowed[MAX_ALLOWED];
static int allowed_count;

static int matches(const struct event *one, const struct event *event)
{
	return (one->code == event->code || one->code == 0) &&
	       (strcmp(one->issuer, event->issuer) == 0 || strcmp(one->issuer, "*") == 0);
}

static int fail(int error)
{
	errno = error;
	return -1;
}

static int note(int fd, const struct event *one)
{
	char link[64], path[PATH_MAX], line[ISSUER_BYTES + 16];
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t length = readlink(link, path, sizeof(path) - sizeof(".allowed"));
	if (length < 0)
		return -1;
	strcpy(path + length, ".allowed");
	int file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (file < 0)
		return -1;
	int bytes = snprintf(line, sizeof(line), "%u %s\n", one->code, one->issuer);
	ssize_t written = write(file, line, bytes);
	close(file);
	return written == bytes ? 0 : -1;
}

static int allow(int fd, const struct event *wanted)
{
	if (wanted->payload_len)
		return fail(EINVAL); /* nobody needs to ask for one payload only */
	for (int i = 0; i < allowed_count; i++)
		if (matches(wanted, &allowed[i]))
			return fail(EEXIST);
	if (allowed_count == MAX_ALLOWED)
		return fail(EMFILE);
	memcpy(&allowed[allowed_count], wanted, sizeof(*wanted));
	allowed[allowed_count].issuer[ISSUER_BYTES - 1] = '\0';
	return note(fd, &allowed[allowed_count++]);
}

static int next(int fd, struct next_event *out)
{
	for (;;) {
		union {
			struct event event;
			uint8_t bytes[MAX_EVENT];
		} found;
		uint32_t length;
		/* A write of a whole record is one piece (pipe(7)), and so there is all of it. */
		ssize_t got = read(fd, &length, sizeof(length));
		if (got != sizeof(length))
			return got < 0 ? -1 : fail(EAGAIN);
		if (length > sizeof(found) || read(fd, &found, length) != (ssize_t)length)
			return fail(EIO);
		int is_allowed = 0;
		for (int i = 0; i < allowed_count; i++)
			is_allowed |= matches(&allowed[i], &found.event);
		if (!is_allowed)
			continue;
		if ((int32_t)length > out->max_bytes) {
			out->max_bytes = length;
			return fail(ENOSPC);
		}
		memcpy(&out->event, &found, length);
		return 0;
	}
}

int ioctl(int fd, unsigned long request, ...)
{
	static int (*real)(int, unsigned long, ...);
	va_list words;
	va_start(words, request);
	void *argument = va_arg(words, void *);
	va_end(words);
	if ((uint32_t)request == ALLOW_EVENT)
		return allow(fd, argument);
	if ((uint32_t)request == GET_NEXT_EVENT)
		return next(fd, argument);
	if (!real)
		real = dlsym(RTLD_NEXT, "ioctl");
	return real(fd, request, argument);
}
