/* The wall clock of one process, set forth or back by a file: seconds, read at each look. The
   monotonic clock is the kernel's. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t id, struct timespec *now)
{
	long failed = syscall(SYS_clock_gettime, id, now);
	const char *path = getenv("TEST_CLOCK_OFFSET");
	char text[32] = "";

	if (failed == 0 && id == CLOCK_REALTIME && path) {
		int file = open(path, O_RDONLY | O_CLOEXEC);

		if (file >= 0) {
			if (read(file, text, sizeof text - 1) > 0)
				now->tv_sec += atol(text);
			close(file);
		}
	}
	return (int)failed;
}
