/*
 * The worker: started so that the host never notices.  A child of the host's
 * would be in its waitpid(2), raise its SIGCHLD, run its handler.  So an
 * intermediate process starts the worker and ends, and is waited for here: its
 * exit signal is none, and waitpid(2) without __WALL or __WCLONE does not see it.
 * The worker belongs to init, or to the nearest subreaper, like any orphan.
 *
 *   host          clone  intermediate  VM, VFORK, FILES; exit signal 0
 *   intermediate  clone  worker        VM, VFORK, PIDFD; goes on when it has exec'd
 *   intermediate  exit                 and the host goes on
 *
 * The intermediate shares the host's descriptors, and so leaves the pidfd there;
 * the worker has a copy of them, to close.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "compat.h"
#include "shim.h"

#define STACK ((size_t)32 * 1024)

/* Shared by host, intermediate and, until its exec, the worker. */
struct launch {
	_Alignas(16) unsigned char intermediate_stack[STACK];
	_Alignas(16) unsigned char worker_stack[STACK];
	const char *path;
	int socket, pidfd;
	int start_error, exec_error; /* errno, or 0 */
	/* 1 while the worker uses this memory; the kernel clears it on exec and exit. */
	_Atomic(int) busy;
};

/*
 * pam_selinux(8), where it is before this module in the stack (login,
 * systemd-user), has told the kernel which label the session's program gets: the
 * next program that this process executes.  That is not the worker; the login
 * process keeps its own.  Written only where there is one, for not every domain
 * may.  No open(2) and the like of the C library: those are cancellation points,
 * and the thread that could be cancelled is the host's.  No pread(2): its offset
 * is half lost on its way through syscall(2) with 32 bits.
 */
static void drop_exec_label(void)
{
	char label;
	long fd = syscall(SYS_openat, AT_FDCWD, "/proc/thread-self/attr/exec",
			  O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return;
	if (syscall(SYS_read, fd, &label, sizeof label) > 0 &&
	    syscall(SYS_lseek, fd, 0L, SEEK_SET) == 0)
		(void)syscall(SYS_write, fd, "", 0L);
	(void)syscall(SYS_close, fd);
}

/*
 * The worker until its exec, on its own stack in the host's memory, all signals
 * blocked: only system calls.  Everything else that a clean start needs is done
 * by the launcher, after the exec, where it can do no harm.
 */
static int worker_main(void *argument)
{
	static const char name[] = "gotmpns-worker";
	struct launch *launch = argument;
	char *argv[] = {(char *)(uintptr_t)name, NULL};
	/*
	 * The whole environment: nothing of the caller's.  The Go runtime reads
	 * it before anything of ours runs.
	 */
	char *envp[] = {(char *)(uintptr_t) "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
			(char *)(uintptr_t) "LANG=C.UTF-8", (char *)(uintptr_t) "GOGC=off",
			(char *)(uintptr_t) "GOTRACEBACK=none", NULL};

	/* Descriptor 0 is there whatever RLIMIT_NOFILE says, as with inetd. */
	if (launch->socket == 0 ? fcntl(0, F_SETFD, 0) == 0 : dup2(launch->socket, 0) == 0) {
		/*
		 * Nothing but the socket, so that the launcher's new domain is not
		 * denied the host's terminal or files, one line in the log for each.
		 * This makes room for one more, too, where the table was full.
		 */
		(void)syscall(SYS_close_range, 1U, ~0U, 0U);
		/*
		 * If the loader of the C library cannot start the worker, its error
		 * arrives where the reply would (ask.c).
		 */
		(void)dup2(0, 2);
		drop_exec_label();
		(void)execve(launch->path, argv, envp);
	}
	launch->exec_error = errno;
	return 1;
}

static int intermediate_main(void *argument)
{
	struct launch *launch = argument;
	pid_t pid;

	atomic_store(&launch->busy, 1);
	pid = clone(worker_main, launch->worker_stack + STACK,
		    CLONE_VM | CLONE_VFORK | CLONE_PIDFD | CLONE_CHILD_CLEARTID, launch,
		    &launch->pidfd, NULL, (int *)&launch->busy);
	if (pid < 0) {
		launch->start_error = errno;
		atomic_store(&launch->busy, 0);
	} else if (launch->exec_error != 0) {
		/* A subreaper is not to find it: it has never been a worker. */
		(void)waitpid(pid, NULL, __WALL);
	}
	return 0; /* clone(2) of the C library makes it the exit of the process */
}

/*
 * True once the worker has left the memory in LAUNCH.  That it has when the
 * intermediate ends, unless that was killed: a user may kill what a setuid
 * program of theirs starts.
 */
static bool is_released(struct launch *launch)
{
	const struct timespec second = {.tv_sec = 1};

	if (atomic_load(&launch->busy) != 0)
		(void)syscall(SYS_futex, &launch->busy, FUTEX_WAIT, 1, &second, NULL, 0);
	return atomic_load(&launch->busy) == 0;
}

/* Runs the intermediate to its end; an errno, or 0. */
static int run_intermediate(struct launch *launch)
{
	sigset_t all, before;
	pid_t pid;
	int error = 0;

	/* A handler of the host must not run in the other two: it would run in our memory. */
	(void)sigfillset(&all);
	(void)sigprocmask(SIG_BLOCK, &all, &before);
	pid = clone(intermediate_main, launch->intermediate_stack + STACK,
		    CLONE_VM | CLONE_VFORK | CLONE_FILES, launch);
	if (pid < 0)
		error = errno;
	else
		/* ECHILD: a thread that waits for all there is (__WALL) was quicker. */
		(void)waitpid(pid, NULL, (int)__WCLONE);
	(void)sigprocmask(SIG_SETMASK, &before, NULL);
	return error;
}

/* Starts PATH with SOCKET as its descriptor 0; a PAM status. */
static int launch_worker(const char *path, int socket, int *pidfd, struct reason *reason)
{
	struct launch *launch = mmap(NULL, sizeof *launch, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	int start_error, exec_error = 0;

	if (launch == MAP_FAILED) {
		(void)cannot(reason, errno, NULL, "allocate memory for the worker");
		return PAM_BUF_ERR;
	}
	launch->path = path;
	launch->socket = socket;
	launch->pidfd = -1;
	start_error = run_intermediate(launch);
	if (start_error == 0) {
		start_error = launch->start_error;
		exec_error = launch->exec_error;
		*pidfd = launch->pidfd;
	}
	if (is_released(launch))
		(void)munmap(launch, sizeof *launch);
	if (exec_error != 0)
		(void)cannot(reason, exec_error,
			     "is the installation complete? (the module argument worker=/FILE "
			     "names another worker)",
			     "execute the worker %s", path);
	else if (start_error != 0)
		(void)cannot(reason, start_error, NULL, "start the worker %s", path);
	else if (*pidfd < 0)
		set_reason(reason, "cannot start the worker %s: it was killed", path);
	else
		return PAM_SUCCESS;
	return start_error == ENOMEM ? PAM_BUF_ERR : PAM_SYSTEM_ERR;
}

int worker_start(struct worker *worker, const char *path, struct reason *reason)
{
	int pair[2], status;

	*worker = (struct worker){.pidfd = -1, .socket = -1};
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
		(void)cannot(reason, errno, NULL, "create a socket for the worker");
		return PAM_SYSTEM_ERR;
	}
	worker->socket = pair[0];
	status = launch_worker(path, pair[1], &worker->pidfd, reason);
	(void)close(pair[1]);
	if (status != PAM_SUCCESS)
		worker_close(worker);
	return status;
}

void worker_kill(const struct worker *worker)
{
	if (worker->pidfd >= 0)
		(void)syscall(SYS_pidfd_send_signal, worker->pidfd, SIGKILL, NULL, 0);
}

void worker_close(struct worker *worker)
{
	if (worker->socket >= 0)
		(void)close(worker->socket);
	if (worker->pidfd >= 0)
		(void)close(worker->pidfd);
	*worker = (struct worker){.pidfd = -1, .socket = -1};
}
