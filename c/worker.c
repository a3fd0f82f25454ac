/* The worker: started, asked once, and seen to its end. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shim.h"

#define CHILD_STACK ((size_t)32 * 1024)
#define KILL_PATIENCE 1u /* seconds for a killed worker to be gone */

/* ---- deadlines ---- */

struct deadline deadline_in(unsigned seconds)
{
	struct deadline deadline;

	(void)clock_gettime(CLOCK_MONOTONIC, &deadline.at);
	deadline.at.tv_sec += (time_t)seconds;
	return deadline;
}

int deadline_left(const struct deadline *deadline)
{
	struct timespec now;
	long long left;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	left = (long long)(deadline->at.tv_sec - now.tv_sec) * 1000000000LL +
	       (deadline->at.tv_nsec - now.tv_nsec);
	return left <= 0 ? 0 : (int)((left + 999999LL) / 1000000LL);
}

/* True once FD has one of EVENTS, or hung up; false when the deadline passes. */
static bool wait_for(int fd, short events, const struct deadline *deadline)
{
	struct pollfd pollfd = {.fd = fd, .events = events};
	int left;

	while ((left = deadline_left(deadline)) > 0) {
		int ready = poll(&pollfd, 1, left);

		if (ready > 0)
			return true;
		if (ready < 0 && errno != EINTR && errno != EAGAIN)
			return false;
	}
	return false;
}

/* ---- start ---- */

struct launch {
	const char *path;
	int socket;
	int error; /* written by the child, which shares our memory until it execs */
};

/*
 * pam_selinux(8), where it stands before us in the stack (login, systemd-user),
 * has told the kernel which label the session's program will have: whatever this
 * process executes next.  That is not the worker; the login process keeps its
 * own.  Written only where there is something, for not every domain may.
 * No open(2) and the like of the C library: those are cancellation points, and the
 * thread that could be cancelled is the host's.
 */
static void drop_exec_label(void)
{
	char label;
	long fd = syscall(SYS_openat, AT_FDCWD, "/proc/thread-self/attr/exec",
			  O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return;
	if (syscall(SYS_pread64, fd, &label, sizeof label, 0L) > 0)
		(void)syscall(SYS_pwrite64, fd, "", 0L, 0L);
	(void)syscall(SYS_close, fd);
}

/*
 * Runs in the child, on its own stack in our memory, all signals blocked: only
 * system calls from here to execve.  Everything else that a clean start needs
 * is done by the launcher, behind the exec, where it can do no harm.
 */
static int child(void *argument)
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
		drop_exec_label();
		(void)execve(launch->path, argv, envp);
	}
	launch->error = errno;
	_exit(GOTMPNS_EXIT_EXEC);
}

/* Clones like vfork: this thread goes on when the child has exec'd or ended. */
static pid_t clone_child(struct launch *launch, int *pidfd)
{
	sigset_t all, before;
	unsigned char *stack;
	pid_t pid;
	int error;

	stack = mmap(NULL, CHILD_STACK, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (stack == MAP_FAILED)
		return -1;
	/* A handler of the host must not run in the child: it would run in our memory. */
	(void)sigfillset(&all);
	(void)sigprocmask(SIG_BLOCK, &all, &before);
	pid = clone(child, stack + CHILD_STACK, CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD,
		    launch, pidfd);
	error = errno;
	(void)sigprocmask(SIG_SETMASK, &before, NULL);
	(void)munmap(stack, CHILD_STACK);
	errno = error;
	return pid;
}

static void close_and_forget(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

int worker_start(struct worker *worker, const char *path, struct reason *why)
{
	struct launch launch = {.path = path};
	int pair[2];

	*worker = (struct worker){.pid = 0, .pidfd = -1, .socket = -1};
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
		because(why, "cannot make a socket for the worker: %s", strerror(errno));
		return PAM_SESSION_ERR;
	}
	launch.socket = pair[1];
	worker->socket = pair[0];
	worker->pid = clone_child(&launch, &worker->pidfd);
	int error = errno;
	(void)close(pair[1]);
	if (worker->pid < 0) {
		worker->pid = 0;
		worker->pidfd = -1;
		close_and_forget(&worker->socket);
		because(why, "cannot start the worker %s: %s", path, strerror(error));
		return error == ENOMEM ? PAM_BUF_ERR : PAM_SESSION_ERR;
	}
	if (launch.error != 0) {
		struct deadline soon = deadline_in(KILL_PATIENCE);

		worker_finish(worker, &soon, NULL);
		because(why,
			"cannot execute the worker %s: %s; is the package installed as a whole? "
			"(module argument worker=/FILE names another)",
			path, strerror(launch.error));
		return PAM_SESSION_ERR;
	}
	return PAM_SUCCESS;
}

/* ---- ask ---- */

static bool send_request(int fd, const struct request *request, const struct deadline *deadline)
{
	for (;;) {
		ssize_t sent =
			send(fd, request->bytes, request->length, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (sent == (ssize_t)request->length)
			return true;
		if (sent >= 0 || (errno != EINTR && errno != EAGAIN))
			return false;
		if (!wait_for(fd, POLLOUT, deadline))
			return false;
	}
}

/* Takes over every descriptor that the kernel has already put into our table. */
static void take_descriptors(struct msghdr *message, struct reply *reply)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c)) {
		size_t count;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
			if (reply->fd_count < GOTMPNS_ATTACHMENTS_MAX)
				reply->fds[reply->fd_count++] = fd;
			else
				(void)close(fd);
		}
	}
}

static bool receive_reply(int fd, struct reply *reply)
{
	union {
		struct cmsghdr align;
		unsigned char bytes[CMSG_SPACE(GOTMPNS_ATTACHMENTS_MAX * sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = reply->bytes, .iov_len = sizeof reply->bytes};
	struct msghdr message = {.msg_iov = &iov,
				 .msg_iovlen = 1,
				 .msg_control = control.bytes,
				 .msg_controllen = sizeof control.bytes};
	ssize_t length;

	do {
		length = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	} while (length < 0 && errno == EINTR);
	if (length < 0)
		return false;
	take_descriptors(&message, reply);
	reply->length = (size_t)length;
	reply->truncated = (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0;
	return length > 0;
}

bool worker_ask(struct worker *worker, const struct request *request, struct reply *reply,
		const struct deadline *deadline, struct reason *why)
{
	reply->fd_count = 0;
	reply->length = 0;
	reply->truncated = false;
	if (!send_request(worker->socket, request, deadline)) {
		because(why, "the worker took no request");
		return false;
	}
	if (!wait_for(worker->socket, POLLIN, deadline)) {
		because(why, "the worker did not answer in time; if user and group lookups are slow "
			     "here, raise the module argument timeout=SECONDS");
		return false;
	}
	if (!receive_reply(worker->socket, reply)) {
		because(why, "the worker ended without an answer");
		return false;
	}
	return true;
}

/* ---- finish ---- */

static const char *meaning(int exit_code)
{
	switch (exit_code) {
	case GOTMPNS_EXIT_USAGE:
		return "it found no socket";
	case GOTMPNS_EXIT_CREDENTIALS:
		return "it cannot become root: has this process all of root's capabilities?";
	case GOTMPNS_EXIT_LIBRARY:
		return "it cannot load gotmpns-session.so from its own directory";
	case GOTMPNS_EXIT_DESCRIPTORS:
		return "it cannot open /dev/null";
	case GOTMPNS_EXIT_SETUP:
		return "it cannot set itself up";
	case GOTMPNS_EXIT_MEMORY:
		return "the limit on address space (RLIMIT_AS) is too small and cannot be raised";
	case GOTMPNS_EXIT_REPLY:
		return "it could not send its answer";
	default:
		return "it failed; see the journal";
	}
}

static void add_ending(struct reason *why, const siginfo_t *info)
{
	struct reason ending = {{0}};

	if (info->si_code == CLD_EXITED)
		because(&ending, "exit status %d, %s", info->si_status, meaning(info->si_status));
	else
		because(&ending, "ended by signal %d", info->si_status);
	size_t used = strlen(why->text);
	struct reason whole = {{0}};

	memcpy(whole.text, why->text, used);
	because(&whole, "%.*s (%.200s)", (int)used, why->text, ending.text);
	*why = whole;
}

void worker_finish(struct worker *worker, const struct deadline *deadline, struct reason *why)
{
	struct deadline last;
	siginfo_t info = {.si_pid = 0};

	close_and_forget(&worker->socket);
	if (worker->pid == 0)
		return;
	if (!wait_for(worker->pidfd, POLLIN, deadline)) {
		(void)syscall(SYS_pidfd_send_signal, worker->pidfd, SIGKILL, NULL, 0);
		last = deadline_in(KILL_PATIENCE);
		(void)wait_for(worker->pidfd, POLLIN, &last);
	}
	/*
	 * ECHILD is no error: a host that ignores SIGCHLD or that reaps whatever
	 * it finds has been here before us.
	 */
	if (waitid(P_PIDFD, (id_t)worker->pidfd, &info, WEXITED | WNOHANG) == 0 &&
	    info.si_pid != 0 && why != NULL)
		add_ending(why, &info);
	close_and_forget(&worker->pidfd);
	worker->pid = 0;
}
