/*
 * gotmpns-worker: makes a clean process out of whatever it was exec'd from (a
 * setuid program started by a stranger, at worst), then hands over to
 * gotmpns-session.so, which lies beside it.
 *
 * Descriptor 0 is the socket to the login process.  Why C, and why before Go
 * starts: the Go runtime reads its limits, signals and environment before any
 * code of ours, and has several threads by then.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "wire.h"

#define LIBRARY "gotmpns-session.so"
#define ENTRY "gotmpns_session_serve"
/* The Go runtime reserves address space in large pieces before it starts. */
#define ADDRESS_SPACE_NEEDED ((rlim_t)1 << 30)

/* exec resets handlers, but what was ignored or blocked stays so. */
static void reset_signals(void)
{
	sigset_t none;

	for (int number = 1; number < NSIG; number++)
		(void)signal(number, SIG_DFL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static bool become_root(void)
{
	const gid_t root = 0;
	uid_t real, effective, saved;
	gid_t rgid, egid, sgid;

	if (setgroups(1, &root) != 0 || setresgid(0, 0, 0) != 0 || setresuid(0, 0, 0) != 0)
		return false;
	return getresuid(&real, &effective, &saved) == 0 && getresgid(&rgid, &egid, &sgid) == 0 &&
	       real == 0 && effective == 0 && saved == 0 && rgid == 0 && egid == 0 && sgid == 0;
}

/* As high as we are allowed to: to no limit with CAP_SYS_RESOURCE, else to the hard one. */
static void raise_limit(__rlimit_resource_t resource, rlim_t wanted)
{
	struct rlimit limit = {.rlim_cur = wanted, .rlim_max = RLIM_INFINITY};

	if (setrlimit(resource, &limit) == 0 || getrlimit(resource, &limit) != 0)
		return;
	limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
	(void)setrlimit(resource, &limit);
}

static bool set_limits(void)
{
	const struct rlimit no_core = {0, 0};
	struct rlimit space;

	raise_limit(RLIMIT_AS, RLIM_INFINITY);
	raise_limit(RLIMIT_DATA, RLIM_INFINITY);
	raise_limit(RLIMIT_CPU, RLIM_INFINITY);
	raise_limit(RLIMIT_FSIZE, RLIM_INFINITY);
	raise_limit(RLIMIT_NPROC, RLIM_INFINITY);
	raise_limit(RLIMIT_MEMLOCK, RLIM_INFINITY);
	raise_limit(RLIMIT_NOFILE, 1024);
	raise_limit(RLIMIT_STACK, (rlim_t)8 << 20);
	(void)setrlimit(RLIMIT_CORE, &no_core);
	return getrlimit(RLIMIT_AS, &space) == 0 && space.rlim_cur >= ADDRESS_SPACE_NEEDED;
}

/* Out of the user's hands: no terminal signal, no core, no life after the login process. */
static bool settle(void)
{
	(void)setsid(); /* fails only for a leader of its group, which has one already */
	(void)umask(077);
	return chdir("/") == 0 && prctl(PR_SET_DUMPABLE, 0) == 0 &&
	       prctl(PR_SET_PDEATHSIG, SIGKILL) == 0;
}

/* Nothing but the socket comes in; what the runtime may print goes nowhere. */
static bool only_the_socket(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0 || dup2(null, 1) != 1 || dup2(null, 2) != 2)
		return false;
	return close_range(3, ~0U, 0) == 0;
}

static bool is_socket(void)
{
	int type = 0;
	socklen_t length = sizeof type;

	return getsockopt(0, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type == SOCK_SEQPACKET;
}

/*
 * One CPU and one malloc arena: the work is one sequence of system calls, and
 * spreading it over threads and CPUs costs more than it gives. With a long timer
 * slack, the runtime's monitor thread does not interrupt it every 20 us.
 */
static void stay_in_one_place(void)
{
	cpu_set_t set;
	int cpu = sched_getcpu();

	(void)mallopt(M_ARENA_MAX, 1);
	(void)prctl(PR_SET_TIMERSLACK, 100000000UL); /* ns */
	if (cpu < 0 || cpu >= CPU_SETSIZE)
		return;
	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	(void)sched_setaffinity(0, sizeof set, &set);
}

/* Beside the file that the kernel executed: neither argv nor /proc is asked. */
static bool library_path(char *path, size_t size)
{
	const char *self = (const char *)getauxval(AT_EXECFN);
	const char *slash = self != NULL ? strrchr(self, '/') : NULL;

	return slash != NULL && self[0] == '/' &&
	       snprintf(path, size, "%.*s/%s", (int)(slash - self), self, LIBRARY) < (int)size;
}

/* In the words of pam_syslog(3): the module may be past listening. */
static void complain(const char *text)
{
	openlog("pam_gotmpns", LOG_PID, LOG_AUTHPRIV);
	syslog(LOG_ERR, "cannot load the session library: %s", text != NULL ? text : "no reason");
}

static int serve(void)
{
	char path[PATH_MAX];
	void *library;
	int (*entry)(int);

	if (!library_path(path, sizeof path))
		return GOTMPNS_EXIT_USAGE;
	library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (library == NULL) {
		complain(dlerror());
		return GOTMPNS_EXIT_LIBRARY;
	}
	*(void **)&entry = dlsym(library, ENTRY);
	if (entry == NULL) {
		complain(dlerror());
		return GOTMPNS_EXIT_LIBRARY;
	}
	return entry(0);
}

int main(void)
{
	reset_signals();
	if (!is_socket())
		return GOTMPNS_EXIT_USAGE;
	if (!become_root())
		return GOTMPNS_EXIT_CREDENTIALS;
	if (!set_limits())
		return GOTMPNS_EXIT_MEMORY;
	if (!only_the_socket())
		return GOTMPNS_EXIT_DESCRIPTORS;
	if (!settle())
		return GOTMPNS_EXIT_SETUP;
	stay_in_one_place();
	/* Straight to the kernel: there is nothing that wants to be tidied up. */
	_exit(serve());
}
