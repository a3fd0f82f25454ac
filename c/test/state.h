/* What of a process a PAM module must not change, taken down and compared. */
#ifndef STATE_H
#define STATE_H

#include <signal.h>

#define STATE_FDS 4096

struct state {
	char namespace[64], root[64], cwd[64];
	unsigned umask;
	int threads, children;
	char fds[STATE_FDS];
	sigset_t mask;
	void *handlers[NSIG];
	unsigned long environment; /* a checksum */
	unsigned ids[6];
};

extern int report_fd;

void state_take(struct state *state);
/* A line "changed: WHAT" on report_fd for each difference. */
void state_compare(const struct state *before, const struct state *after);
int mount_count(void);
long private_kib(void);

#endif
