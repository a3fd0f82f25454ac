/* One message out, one message in, on the socket of a worker or of the broker. */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "compat.h"
#include "shim.h"

#define ACTIVE_WAIT 100000LL /* ns */

/* ---- deadlines ---- */

struct deadline deadline_in(unsigned seconds)
{
	struct deadline deadline;

	(void)clock_gettime(CLOCK_MONOTONIC, &deadline.at);
	deadline.at.tv_sec += (time_t)seconds;
	return deadline;
}

/* Nanoseconds that are left; negative when it has passed. */
static long long left(const struct deadline *deadline)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (long long)(deadline->at.tv_sec - now.tv_sec) * 1000000000LL +
	       (deadline->at.tv_nsec - now.tv_nsec);
}

bool deadline_passed(const struct deadline *deadline)
{
	return left(deadline) <= 0;
}

static bool is_ready(int fd, int milliseconds)
{
	struct pollfd pollfd = {.fd = fd, .events = POLLIN};

	return poll(&pollfd, 1, milliseconds) > 0;
}

/* True once FD can be read, or has hung up; false when the deadline passes. */
static bool wait_for(int fd, const struct deadline *deadline)
{
	long long rest;

	while ((rest = left(deadline)) > 0) {
		if (is_ready(fd, (int)((rest + 999999LL) / 1000000LL)))
			return true;
		if (errno != EINTR && errno != EAGAIN && left(deadline) > 0)
			return false;
	}
	return false;
}

/*
 * A broker that is awake answers sooner than this thread would fall asleep and be
 * woken again.  Not for long, and not where the broker has to wait for this very
 * processor.
 */
static bool wait_awake(int fd)
{
	struct deadline soon = deadline_in(0);
	cpu_set_t set;

	/* It fails where there are more processors than a cpu_set_t has. */
	if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) < 2)
		return false;
	do {
		if (is_ready(fd, 0))
			return true;
	} while (left(&soon) > -ACTIVE_WAIT);
	return false;
}

/* ---- messages ---- */

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
			if (reply->fd_count < GOTMPNS_DESCRIPTORS_MAX) {
				reply->fds[reply->fd_count++] = fd;
			} else {
				(void)close(fd);
				reply->truncated = true;
			}
		}
	}
}

static bool receive_reply(int fd, struct reply *reply)
{
	union {
		struct cmsghdr align;
		unsigned char bytes[CMSG_SPACE(GOTMPNS_DESCRIPTORS_MAX * sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = reply->bytes, .iov_len = sizeof reply->bytes};
	struct msghdr message = {.msg_iov = &iov,
				 .msg_iovlen = 1,
				 .msg_control = control.bytes,
				 .msg_controllen = sizeof control.bytes};
	ssize_t length;

	/* ECONNRESET: it ended without taking the request; a refusal may follow. */
	do {
		length = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	} while (length < 0 && (errno == EINTR || errno == ECONNRESET));
	if (length < 0)
		return false;
	reply->truncated = (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0;
	take_descriptors(&message, reply);
	reply->length = (size_t)length;
	return length > 0;
}

/*
 * The loader of the C library writes its error, "PROGRAM: TEXT", to descriptor 2, which is
 * the socket until the launcher runs (worker.c).
 */
static bool is_loaders(const struct reply *reply, struct reason *reason)
{
	static const char program[] = "gotmpns-worker: ";
	const size_t skip = sizeof program - 1;
	char text[512];
	size_t length;

	if (reply->length <= skip || memcmp(reply->bytes, program, skip) != 0)
		return false;
	length = reply->length - skip < sizeof text ? reply->length - skip : sizeof text - 1;
	memcpy(text, reply->bytes + skip, length);
	text[length] = '\0';
	text[strcspn(text, "\n")] = '\0';
	set_reason(reason, "the worker cannot start: %s; %s", text, loader_hint(text));
	return true;
}

bool worker_ask(const struct worker *worker, const struct request *request, struct reply *reply,
		const struct deadline *deadline, struct reason *reason)
{
	bool is_broker = worker->pidfd < 0;

	reply->fd_count = 0;
	reply->length = 0;
	/* The first message on a socket never waits.  EPIPE: it has ended; a refusal may be there. */
	if (send(worker->socket, request->bytes, request->length, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 &&
	    errno != EPIPE && errno != ECONNRESET)
		return cannot(reason, errno, NULL, "send the request to the worker");
	if (!(is_broker && wait_awake(worker->socket)) && !wait_for(worker->socket, deadline)) {
		set_reason(reason, "the worker did not answer in time; if user and group lookups "
				   "are slow here, raise the module argument timeout=SECONDS");
		return false;
	}
	if (!receive_reply(worker->socket, reply)) {
		set_reason(reason, "the worker ended without an answer; a resource limit of the "
				   "login process may be too low, or the installation incomplete "
				   "(\"gotmpns check\" looks at it)");
		return false;
	}
	return !is_loaders(reply, reason);
}
