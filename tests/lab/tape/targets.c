/*
 * Carries commands to targets: over a Unix socket to an emulator, by libiscsi to a real target.
 *
 * Frames, little endian:
 *     open      "SGO1" u16 length, u32 flags, path           -> i32 errno, 0 for success
 *     command   "SGC1" u8 length, u8 direction (0 none, 1 in, 2 out), u16 0, u32 bytes, u32 timeout_ms,
 *               CDB, data out
 *     answer    "SGR1" u8 status, u8 sense length, u16 host status, u16 driver status, u16 errno,
 *               u32 bytes, sense, data in
 *     or        "SGH1" 8 bytes 0, u32 length, path: look at that path, which may block in the kernel,
 *               then send the command again
 *     close     the end of what is sent                      -> the end of what is answered
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#ifdef WITH_ISCSI
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#endif

#include "shim.h"

#define DEFAULT_TIMEOUT_MS 60000
#define OPEN_TIMEOUT_MS 3600000 /* an opening waits for whoever holds the device exclusively */
#define CLOSE_TIMEOUT_MS 1000
/* Of the kernel's include/scsi/scsi_status.h, which programs are not given. */
#define DID_NO_CONNECT 1
#define DID_TIME_OUT 3
#define DID_ERROR 7
#define DRIVER_TIMEOUT 6
#define DRIVER_SENSE 8

static int64_t now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/* Send or receive all of a buffer by a deadline; a negative errno where that fails. */
static int transfer(int fd, void *buffer, size_t size, int is_read, int64_t deadline)
{
	char *at = buffer;
	while (size) {
		ssize_t n = is_read ? recv(fd, at, size, MSG_DONTWAIT)
				    : send(fd, at, size, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n > 0) {
			at += n;
			size -= n;
			continue;
		}
		if (!n)
			return -EPIPE;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -errno;
		int64_t left = deadline - now_ms();
		if (left <= 0)
			return -ETIMEDOUT;
		struct pollfd wait = { fd, is_read ? POLLIN : POLLOUT, 0 };
		poll(&wait, 1, left > 1000000 ? 1000000 : (int)left);
	}
	return 0;
}

static int connect_unix(struct device *device, int *error)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | (device->flags & O_CLOEXEC ? SOCK_CLOEXEC : 0), 0);
	uint16_t length = strlen(device->path);
	uint32_t flags = device->flags;
	int64_t deadline = now_ms() + OPEN_TIMEOUT_MS;
	int32_t answer = ENXIO; /* what the sg driver says of a device that is gone */
	uint8_t head[10];

	snprintf(address.sun_path, sizeof address.sun_path, "%s", device->target + 5);
	memcpy(head, "SGO1", 4);
	memcpy(head + 4, &length, 2);
	memcpy(head + 6, &flags, 4);
	if (fd >= 0 && !connect(fd, (void *)&address, sizeof address) &&
	    !transfer(fd, head, sizeof head, 0, deadline) &&
	    !transfer(fd, device->path, length, 0, deadline) &&
	    !transfer(fd, &answer, 4, 1, deadline) && !answer)
		return fd;
	if (fd >= 0)
		close(fd);
	*error = answer ? answer : ENXIO;
	return -1;
}

int run_quick(int fd, struct device *device, const uint8_t *cdb, int length, uint8_t *data, int size, uint8_t *sense)
{
	struct sg_io_hdr io = { .interface_id = 'S', .cmdp = (void *)cdb, .cmd_len = length,
		.dxferp = data, .dxfer_len = size,
		.dxfer_direction = size ? SG_DXFER_FROM_DEV : SG_DXFER_NONE,
		.sbp = sense, .mx_sb_len = 32, .timeout = 30000 };
	memset(sense, 0, 32);
	return run_command(fd, device, &io) ? -1 : io.status | io.host_status << 8;
}

#ifdef WITH_ISCSI
static int connect_iscsi(struct device *device)
{
	int fd = -1;
	device->iscsi = iscsi_create_context("iqn.2000-01.test:sgshim");
	struct iscsi_url *url = iscsi_parse_full_url(device->iscsi, device->target);
	if (url) {
		iscsi_set_session_type(device->iscsi, ISCSI_SESSION_NORMAL);
		iscsi_set_header_digest(device->iscsi, ISCSI_HEADER_DIGEST_NONE);
		iscsi_set_targetname(device->iscsi, url->target);
		iscsi_set_noautoreconnect(device->iscsi, 1);
		iscsi_set_timeout(device->iscsi, 10);
		device->lun = url->lun;
		/* iscsi_full_connect_sync() also sends TEST UNIT READY, which takes a unit attention. */
		if (!iscsi_connect_sync(device->iscsi, url->portal) && !iscsi_login_sync(device->iscsi))
			fd = eventfd(0, device->flags & O_CLOEXEC ? EFD_CLOEXEC : 0);
		iscsi_destroy_url(url);
	}
	if (fd < 0)
		iscsi_destroy_context(device->iscsi);
	return fd;
}

static void eat_unit_attentions(int fd, struct device *device)
{
	const uint8_t test_unit_ready[6] = { 0 };
	uint8_t sense[32];
	for (int i = 0; i < 8; i++) {
		int status = run_quick(fd, device, test_unit_ready, 6, NULL, 0, sense);
		if (status != 2 || (sense[2] & 15) != 6 || sense[12] != 0x29)
			return;
	}
}
#endif

static int is_in(const struct sg_io_hdr *io)
{
	return io->dxfer_direction == SG_DXFER_FROM_DEV || io->dxfer_direction == SG_DXFER_TO_FROM_DEV;
}

struct answer {
	int status, host, driver, sense_size;
	uint32_t size;
	const uint8_t *sense, *data;
};

static void fill(struct sg_io_hdr *io, struct answer a, int64_t since)
{
	io->resid = is_in(io) ? io->dxfer_len : 0;
	if (is_in(io) && a.data) {
		uint32_t size = a.size < io->dxfer_len ? a.size : io->dxfer_len, at = 0;
		if (io->iovec_count) {
			const struct sg_iovec { void *base; size_t length; } *part = io->dxferp;
			for (int i = 0; i < io->iovec_count && at < size; i++) {
				uint32_t n = part[i].length < size - at ? part[i].length : size - at;
				memcpy(part[i].base, a.data + at, n);
				at += n;
			}
		} else {
			memcpy(io->dxferp, a.data, size);
		}
		io->resid = io->dxfer_len - size;
	}
	io->status = a.status;
	io->masked_status = a.status >> 1 & 0x1f;
	io->host_status = a.host;
	io->driver_status = a.driver;
	io->msg_status = io->sb_len_wr = 0;
	if (a.sense_size && io->sbp) {
		io->sb_len_wr = a.sense_size < io->mx_sb_len ? a.sense_size : io->mx_sb_len;
		memcpy(io->sbp, a.sense, io->sb_len_wr);
		io->driver_status |= DRIVER_SENSE;
	}
	io->info = io->status || io->host_status || io->driver_status ? SG_INFO_CHECK : SG_INFO_OK;
	io->duration = now_ms() - since;
}

/* Ask once; 1 when the command has to be sent again, otherwise 0 or a negative errno. */
static int ask_unix(int fd, struct sg_io_hdr *io, int64_t since, int *error)
{
	int64_t deadline = now_ms() + (io->timeout ? io->timeout : DEFAULT_TIMEOUT_MS);
	int is_out = io->dxfer_direction == SG_DXFER_TO_DEV, failed;
	uint8_t request[16 + 255] = "SGC1", head[16], sense[255], *data = NULL;
	uint32_t size = is_in(io) || is_out ? io->dxfer_len : 0;
	uint16_t host, driver, ioctl_errno;

	request[4] = io->cmd_len;
	request[5] = is_in(io) ? 1 : is_out ? 2 : 0;
	memcpy(request + 8, &size, 4);
	memcpy(request + 12, &io->timeout, 4);
	memcpy(request + 16, io->cmdp, io->cmd_len);
	if ((failed = transfer(fd, request, 16 + io->cmd_len, 0, deadline)) ||
	    (is_out && (failed = transfer(fd, io->dxferp, size, 0, deadline))) ||
	    (failed = transfer(fd, head, 16, 1, deadline)))
		return failed;
	memcpy(&size, head + 12, 4);
	if (head[5] && (failed = transfer(fd, sense, head[5], 1, deadline)))
		return failed;
	if (size) {
		data = calloc(1, size + 1);
		if ((failed = transfer(fd, data, size, 1, deadline))) {
			free(data);
			return failed;
		}
	}
	if (!memcmp(head, "SGH1", 4)) {
		int stuck = open((const char *)data, O_RDONLY | O_CLOEXEC);
		if (stuck >= 0)
			close(stuck);
		free(data);
		return 1;
	}
	memcpy(&host, head + 6, 2);
	memcpy(&driver, head + 8, 2);
	memcpy(&ioctl_errno, head + 10, 2);
	*error = ioctl_errno;
	if (!ioctl_errno)
		fill(io, (struct answer){ head[4], host, driver, head[5], size, sense, data }, since);
	free(data);
	return 0;
}

static int run_unix(int fd, struct device *device, struct sg_io_hdr *io)
{
	int64_t since = now_ms();
	int error = 0, outcome;

	if (device->is_broken) { /* what timed out left the stream out of step */
		int fresh = connect_unix(device, &error);
		if (fresh < 0) {
			errno = ENODEV;
			return -1;
		}
		dup2(fresh, fd);
		close(fresh);
		device->is_broken = 0;
	}
	do
		outcome = ask_unix(fd, io, since, &error);
	while (outcome == 1);
	if (outcome < 0) {
		int is_late = outcome == -ETIMEDOUT;
		device->is_broken = 1;
		fill(io, (struct answer){ .host = is_late ? DID_TIME_OUT : DID_NO_CONNECT,
			.driver = is_late ? DRIVER_TIMEOUT : 0 }, since);
	}
	errno = error;
	return error ? -1 : 0;
}

#ifdef WITH_ISCSI
static int run_iscsi(struct device *device, struct sg_io_hdr *io)
{
	int64_t since = now_ms();
	int direction = io->dxfer_direction == SG_DXFER_TO_DEV ? SCSI_XFER_WRITE
		: io->dxfer_direction == SG_DXFER_NONE || !io->dxfer_len ? SCSI_XFER_NONE : SCSI_XFER_READ;
	int timeout_s = io->timeout ? (io->timeout + 999) / 1000 : 60;
	struct scsi_task *task = scsi_create_task(io->cmd_len, io->cmdp, direction,
						  direction == SCSI_XFER_NONE ? 0 : io->dxfer_len);
	struct iscsi_data out = { .size = io->dxfer_len, .data = io->dxferp };

	iscsi_set_timeout(device->iscsi, timeout_s > 86400 ? 86400 : timeout_s);
	task = iscsi_scsi_command_sync(device->iscsi, device->lun, task,
				       direction == SCSI_XFER_WRITE ? &out : NULL);
	if (!task) {
		fill(io, (struct answer){ .host = DID_NO_CONNECT }, since);
		return 0;
	}
	struct answer a = { .status = task->status };
	if (task->status > 0xff) { /* libiscsi's own: cancelled, failed, timed out */
		a.status = 0;
		a.host = task->status == SCSI_STATUS_TIMEOUT ? DID_TIME_OUT : DID_ERROR;
	} else if (task->status == SCSI_STATUS_CHECK_CONDITION && task->datain.size > 2) {
		int size = task->datain.data[0] << 8 | task->datain.data[1];
		if (size > task->datain.size - 2)
			size = task->datain.size - 2;
		a.sense = task->datain.data + 2;
		a.sense_size = size > 255 ? 255 : size;
	} else {
		a.data = task->datain.data;
		a.size = task->datain.size;
	}
	fill(io, a, since);
	scsi_free_scsi_task(task);
	return 0;
}
#endif

int run_command(int fd, struct device *device, struct sg_io_hdr *io)
{
	int outcome;
	if (io->interface_id != 'S' || !io->cmdp || io->cmd_len < 6) {
		errno = EINVAL;
		return -1;
	}
	pthread_mutex_lock(&device->lock);
#ifdef WITH_ISCSI
	outcome = device->iscsi ? run_iscsi(device, io) : run_unix(fd, device, io);
#else
	outcome = run_unix(fd, device, io);
#endif
	pthread_mutex_unlock(&device->lock);
	return outcome;
}

int connect_target(struct device *device, int *error)
{
	if (!strncmp(device->target, "unix:", 5))
		return connect_unix(device, error);
	if (!strncmp(device->target, "errno:", 6))
		*error = atoi(device->target + 6);
#ifdef WITH_ISCSI
	if (!strncmp(device->target, "iscsi:", 6))
		return connect_iscsi(device);
#endif
	return -1;
}

void settle_target(int fd, struct device *device)
{
#ifdef WITH_ISCSI
	if (device->iscsi && getenv("SGSHIM_EAT_UA"))
		eat_unit_attentions(fd, device);
#else
	(void)fd, (void)device;
#endif
}

void leave_target(int fd, struct device *device)
{
	struct pollfd wait = { fd, POLLIN, 0 };
	char rest[64];

	if (!strncmp(device->target, "unix:", 5) && !device->is_broken && device->opener == getpid()) {
		shutdown(fd, SHUT_WR);
		while (poll(&wait, 1, CLOSE_TIMEOUT_MS) > 0 && recv(fd, rest, sizeof rest, MSG_DONTWAIT) > 0)
			;
	}
#ifdef WITH_ISCSI
	if (device->iscsi) {
		iscsi_logout_sync(device->iscsi);
		iscsi_destroy_context(device->iscsi);
	}
#endif
}
