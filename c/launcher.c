/*
 * gotmpns-worker: makes a clean process out of whatever it was exec'd from (at
 * worst, a setuid program started by a stranger), then hands over to
 * gotmpns-session.so in its own directory.
 *
 * Descriptor 0 is the socket to the login process.  Why C, and why before Go
 * starts: the Go runtime reads its limits, signals and environment before any
 * code of ours, and has several threads by then.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <malloc.h>
#include <poll.h>
#include <security/_pam_types.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "compat.h"
#include "wire.h"

#define LIBRARY "gotmpns-session.so"
/*
 * While the package is upgraded from 0.1, a login process may have the old
 * module and this launcher: the package keeps the old library for these.
 */
#define OLD_LIBRARY "gotmpns-session-1.so"
#define OLD_VERSION 1
#define ENTRY "gotmpns_session_serve"
/* The Go runtime reserves address space in large pieces before it starts: with 768 MiB it does. */
#define ADDRESS_SPACE_NEEDED ((rlim_t)1 << 30)
/* Its heap, and the stacks of its threads: it starts with 96 MiB. */
#define DATA_NEEDED ((rlim_t)192 << 20)
/* Longer than the longest timeout of the module: no worker lives longer. */
#define LIFETIME 660u /* seconds */

static void reset_signals(void)
{
	sigset_t none;

	/* exec resets handlers, but what was ignored or blocked stays so. */
	for (int number = 1; number < NSIG; number++)
		(void)signal(number, SIG_DFL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* ---- refusing ---- */

/* Answers the login process with a refusal, and exits. */
__attribute__((noreturn)) static void refuse(const char *why)
{
	struct {
		struct gotmpns_header header;
		struct gotmpns_entry entry;
		char text[1024];
	} reply = {.header = {.magic = GOTMPNS_MAGIC,
			      .version = GOTMPNS_VERSION,
			      .kind = GOTMPNS_REPLY,
			      .status = PAM_SYSTEM_ERR},
		   .entry = {.type = GOTMPNS_SUMMARY}};
	size_t length = strnlen(why, sizeof reply.text - 1);

	memcpy(reply.text, why, length);
	reply.entry.length = (uint16_t)(length + 1);
	reply.header.length = (uint32_t)(sizeof reply.header + sizeof reply.entry +
					 ((length + 1 + 3) & ~(size_t)3));
	/* The request stays unread, which the other end is prepared for (ask.c). */
	(void)send(0, &reply, reply.header.length, MSG_NOSIGNAL);
	_exit(1);
}

static bool is_socket(void)
{
	int type = 0;
	socklen_t length = sizeof type;

	return getsockopt(0, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type == SOCK_SEQPACKET;
}

/* ---- the caller's traces ---- */

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

/* Both to WANTED or, without CAP_SYS_RESOURCE, as near to it as the hard limit is. */
static rlim_t raise_limit(__rlimit_resource_t resource, rlim_t wanted)
{
	struct rlimit limit, raised;

	if (getrlimit(resource, &limit) != 0)
		return 0;
	raised.rlim_cur = wanted;
	raised.rlim_max = limit.rlim_max < wanted ? wanted : limit.rlim_max;
	if (setrlimit(resource, &raised) == 0)
		return wanted;
	limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
	return setrlimit(resource, &limit) == 0 ? limit.rlim_cur : 0;
}

static void set_limits(void)
{
	const struct rlimit no_core = {0, 0};

	(void)raise_limit(RLIMIT_CPU, RLIM_INFINITY);
	(void)raise_limit(RLIMIT_FSIZE, RLIM_INFINITY);
	(void)raise_limit(RLIMIT_NPROC, RLIM_INFINITY);
	(void)raise_limit(RLIMIT_MEMLOCK, RLIM_INFINITY);
	(void)raise_limit(RLIMIT_NOFILE, 1024);
	(void)raise_limit(RLIMIT_STACK, (rlim_t)8 << 20);
	(void)setrlimit(RLIMIT_CORE, &no_core);
	if (raise_limit(RLIMIT_AS, RLIM_INFINITY) < ADDRESS_SPACE_NEEDED)
		refuse("the limit on address space (RLIMIT_AS) of the login process is too low "
		       "and cannot be raised; 1 GiB is needed");
	if (raise_limit(RLIMIT_DATA, RLIM_INFINITY) < DATA_NEEDED)
		refuse("the limit on data (RLIMIT_DATA) of the login process is too low and "
		       "cannot be raised; 192 MiB are needed");
}

/* A user may start a setuid program with a low priority: others wait for what this makes. */
static void set_priority(void)
{
	const struct sched_param none = {0};

	(void)sched_setscheduler(0, SCHED_OTHER, &none);
	(void)setpriority(PRIO_PROCESS, 0, 0);
	(void)syscall(SYS_ioprio_set, 1 /* a process */, 0 /* this one */, 0 /* as nice has it */);
}

/* Is it below a slice or a manager of a user's?  The user could stop it there. */
static bool is_in_users_cgroup(void)
{
	char text[PATH_MAX];
	FILE *file = fopen("/proc/self/cgroup", "re");
	bool is = false;

	if (file == NULL)
		return false;
	while (fgets(text, sizeof text, file) != NULL) {
		if (strncmp(text, "0::", 3) == 0)
			is = strstr(text, "/user.slice") != NULL || strstr(text, "/user@") != NULL;
	}
	(void)fclose(file);
	return is;
}

/* Has the other process, which has the writing end, got as far as its first byte? */
static bool has_begun(pid_t pid, const int begun[2])
{
	char byte;

	(void)close(begun[1]);
	if (read(begun[0], &byte, 1) == 1)
		return true;
	(void)close(begun[0]);
	(void)waitpid(pid, NULL, 0);
	return false;
}

/*
 * Goes on as another process, in the root of the cgroups, or stays where it is.
 * To move this process there would wait for all other threads of the system. Where
 * cgroup.kill was ever used on the cgroup that it comes from, the kernel (seen with
 * Linux 6.18) takes the new process for one that has escaped from that, and kills it.
 */
static void leave_cgroup(void)
{
	struct gotmpns_clone_args args = {.flags = GOTMPNS_CLONE_INTO_CGROUP, .exit_signal = SIGCHLD};
	int begun[2];
	int root;
	pid_t pid;

	if (!is_in_users_cgroup() || pipe2(begun, O_CLOEXEC) < 0)
		return;
	root = open("/sys/fs/cgroup", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return;
	/*
	 * As in fork(3): where the C library keeps the number of this thread, if that is
	 * known.  Eight bytes, which a 64-bit kernel writes for a 32-bit program, too.
	 */
	if (prctl(PR_GET_TID_ADDRESS, &args.child_tid) == 0)
		args.flags |= CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID;
	args.cgroup = (uint64_t)root;
	pid = (pid_t)syscall(SYS_clone3, &args, sizeof args);
	if (pid > 0 && has_begun(pid, begun))
		_exit(0);
	if (pid == 0)
		(void)!write(begun[1], "", 1);
	/* The descriptors are closed with all others. */
}

/* Nothing but the socket comes in; what the runtime may print goes nowhere. */
static void keep_only_socket(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0 || dup2(null, 1) != 1 || dup2(null, 2) != 2)
		refuse("the worker cannot open /dev/null");
	if (syscall(SYS_close_range, 3U, ~0U, 0U) != 0)
		refuse("the worker cannot close descriptors (close_range); Linux 5.12 or later is "
		       "needed, and a filter of system calls (seccomp) has to allow close_range");
}

/* Out of the user's hands: no terminal signal, no core. */
static bool detach_from_caller(void)
{
	(void)setsid(); /* fails only for the leader of a group, which has one already */
	(void)umask(077);
	return chdir("/") == 0 && prctl(PR_SET_DUMPABLE, 0) == 0;
}

/* ---- the session library ---- */

/*
 * SIGIO comes with a message as well, and then late: the sender raises it after
 * the message can be read.
 */
static void end_if_hung_up(int signal)
{
	struct pollfd pollfd = {.fd = 0, .events = POLLIN};
	int error = errno;

	(void)signal;
	if (poll(&pollfd, 1, 0) == 1 && (pollfd.revents & POLLHUP) != 0)
		_exit(1);
	errno = error;
}

/*
 * From now on this process ends with the login process, or when that closes the
 * socket, whatever the session library is doing.  The Go runtime does not use
 * SIGIO, and wants every handler on the alternate stack.
 */
static bool end_with_caller(void)
{
	struct sigaction action = {.sa_flags = SA_RESTART | SA_ONSTACK};

	action.sa_handler = end_if_hung_up;
	(void)alarm(LIFETIME);
	if (sigaction(SIGIO, &action, NULL) != 0 || fcntl(0, F_SETOWN, getpid()) != 0 ||
	    fcntl(0, F_SETFL, O_RDWR | O_ASYNC) != 0)
		return false;
	end_if_hung_up(SIGIO); /* before it could be noticed */
	return true;
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

static void refuse_library(void)
{
	const char *error = dlerror();
	char why[512];

	if (error == NULL)
		error = "no reason given";
	(void)snprintf(why, sizeof why, "cannot load the session library: %.300s; %s", error,
		       loader_hint(error));
	refuse(why);
}

/* The message version of the module that asks; 0 where there is no request. */
static unsigned asked_version(void)
{
	struct gotmpns_header header;

	return recv(0, &header, sizeof header, MSG_PEEK) == (ssize_t)sizeof header ? header.version
										    : 0;
}

static int serve(const char *name)
{
	/* The file that the kernel executed: neither argv nor /proc is asked. */
	const char *self = (const char *)getauxval(AT_EXECFN);
	const char *slash = self != NULL && self[0] == '/' ? strrchr(self, '/') : NULL;
	char path[PATH_MAX];
	void *library;
	int (*entry)(int);

	if (slash == NULL || snprintf(path, sizeof path, "%.*s/%s", (int)(slash - self), self,
				      name) >= (int)sizeof path)
		refuse("cannot load the session library: the path of the worker is not absolute, "
		       "or too long");
	library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (library == NULL)
		refuse_library();
	*(void **)&entry = dlsym(library, ENTRY);
	if (entry == NULL)
		refuse_library();
	return entry(0);
}

/*
 * The first process of a pid namespace, for a program of "on_create": runs it, and ends when
 * it ends. So does everything that the program has started then. The program is not the
 * first process itself: if SELinux has another domain for it, it does not get the signal that
 * it should end with its parent, and signals without a handler do nothing to a first process.
 */
static int run_program(const char *path, char **argv)
{
	pid_t ended, program = fork();
	int status = 0;

	if (program == 0) {
		(void)execv(path, argv);
		(void)fprintf(stderr, "cannot execute it: %s\n", strerror(errno));
		_exit(127);
	}
	if (program < 0) {
		(void)fprintf(stderr, "cannot start it: %s\n", strerror(errno));
		return 127;
	}
	do
		ended = waitpid(-1, &status, 0);
	while (ended != program && (ended > 0 || errno == EINTR));
	if (ended == program && WIFEXITED(status))
		return WEXITSTATUS(status);
	(void)fprintf(stderr, "killed by signal %d\n", WTERMSIG(status));
	return 127;
}

int main(int argc, char **argv)
{
	bool old;

	reset_signals();
	if (argc > 3 && strcmp(argv[1], "--run") == 0)
		return run_program(argv[2], argv + 3);
	if (!is_socket())
		return 1; /* started by hand */
	old = asked_version() == OLD_VERSION;
	if (!become_root())
		refuse("the worker cannot become root; is the login process missing capabilities?");
	if (!old) /* the old module waits for the process that it has started */
		leave_cgroup();
	set_priority();
	set_limits();
	keep_only_socket();
	if (!detach_from_caller())
		refuse("the worker cannot change to the root directory");
	if (!end_with_caller())
		refuse("the worker cannot watch the socket to the login process");
	stay_in_one_place();
	/* Straight to the kernel: there is nothing that wants to be tidied up. */
	_exit(serve(old ? OLD_LIBRARY : LIBRARY));
}
