/* What shim.c and targets.c know of each other. */
#include <pthread.h>
#include <scsi/sg.h>
#include <stdint.h>

#pragma GCC visibility push(hidden) /* the program may have functions of these names */

struct device {
	int minor, flags, is_broken;
	int opener; /* the process; what it forks has the same connection */
	char path[256], target[256];
	pthread_mutex_t lock;
#ifdef WITH_ISCSI
	struct iscsi_context *iscsi;
	int lun;
#endif
};

/* Return a descriptor that stands for the device; -1 and the errno of open(2) where that fails. */
int connect_target(struct device *device, int *error);
/* Do what comes first once the device has its descriptor. */
void settle_target(int fd, struct device *device);
/* Do what comes last. When it returns, the device is closed for everybody to see. */
void leave_target(int fd, struct device *device);

/* The ioctl SG_IO. */
int run_command(int fd, struct device *device, struct sg_io_hdr *io);
/* The same for a command of the shim's own; -1, or status and host status (from bit 8 on). */
int run_quick(int fd, struct device *device, const uint8_t *cdb, int length, uint8_t *data, int size, uint8_t *sense);

#pragma GCC visibility pop
