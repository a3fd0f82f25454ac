/*
 * RLIMIT_NOFILE for the duration of one call.  A user sets it before starting a
 * setuid program, and must not decide by it whether that session is private.
 */
#include <errno.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <syslog.h>
#include <unistd.h>

#include "shim.h"

/* More than any host has open; the default of fs.nr_open, the most there can be, is 16 times this. */
#define ENOUGH_FILES ((rlim_t)65536)

/*
 * The limit is the process's: of threads that open sessions at the same time, one
 * raises and restores it, and nobody restores what another has raised.
 */
static atomic_flag raised_by_a_thread = ATOMIC_FLAG_INIT;

void limit_raise(struct rlimit *saved)
{
	struct rlimit raised;

	saved->rlim_cur = RLIM_INFINITY; /* nothing to restore: no process can have this */
	if (atomic_flag_test_and_set(&raised_by_a_thread))
		return;
	if (getrlimit(RLIMIT_NOFILE, saved) != 0) {
		saved->rlim_cur = RLIM_INFINITY;
		atomic_flag_clear(&raised_by_a_thread);
		return;
	}
	raised = *saved;
	if (raised.rlim_max < ENOUGH_FILES)
		raised.rlim_max = ENOUGH_FILES;
	raised.rlim_cur = raised.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
		return;
	/* Without CAP_SYS_RESOURCE, or where fs.nr_open is lower: to the hard limit. */
	raised = *saved;
	raised.rlim_cur = raised.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &raised);
}

void limit_restore(const struct rlimit *saved)
{
	int fd;

	if (saved->rlim_cur == RLIM_INFINITY)
		return;
	(void)setrlimit(RLIMIT_NOFILE, saved);
	atomic_flag_clear(&raised_by_a_thread);
	/*
	 * All of ours are closed.  What may remain is the connection of syslog(3):
	 * above the limit when nothing below is free.  The next log line makes another.
	 */
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd >= 0)
		(void)close(fd);
	else if (errno == EMFILE)
		closelog();
}
