/* What a PAM module must not change of a process, recorded and compared. */
#ifndef STATE_H
#define STATE_H

#include <signal.h>
#include <sys/resource.h>

#define STATE_FDS 4096
#define STATE_LIMITS 16 /* RLIM_NLIMITS */

struct state {
	char namespace[64], root[64], cwd[64];
	unsigned umask;
	int threads, children, signals, above;
	char fds[STATE_FDS];
	sigset_t mask, pending;
	struct rlimit limits[STATE_LIMITS];
	void *handlers[NSIG];
	unsigned long environment; /* a checksum */
	unsigned ids[6];
};

extern int report_fd;
extern volatile int signals_seen; /* by handlers of the host's */

void state_take(struct state *state);
/* A line "changed: WHAT" on report_fd for each difference. */
void state_compare(const struct state *before, const struct state *after);
int mount_count(void);
long private_kib(void);

#endif
