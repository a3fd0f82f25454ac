/*
 * The parts of the shim.  A login goes through them in this order:
 *
 *   args     what the administrator wrote behind the module's name
 *   request  what only this process knows, as one message
 *   broker   the resident helper, when there is one; or else
 *   worker   a process exec'd for this login; the message out, the reply in
 *   reply    the bytes that came back, checked, as steps
 *   commit   the steps carried out, or every one of them taken back
 *
 * Nothing here decides what a session gets, and nothing prints, exits or waits
 * without a deadline: this is sshd's, login's or su's process, not ours.
 */
#ifndef GOTMPNS_SHIM_H
#define GOTMPNS_SHIM_H

#include <limits.h>
#include <security/pam_modules.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "wire.h"

#define GOTMPNS_HIDDEN __attribute__((visibility("hidden")))

/* Errors that a part finds are told in one buffer, which the caller logs. */
#define REASON_MAX 2048 /* a configuration can have several mistakes in it */
struct reason {
	char text[REASON_MAX];
};

GOTMPNS_HIDDEN void because(struct reason *why, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* One line through pam_syslog(3), whatever is in TEXT. */
GOTMPNS_HIDDEN void log_line(pam_handle_t *pamh, int priority, const char *text);

/* ---- args ---- */

struct args {
	bool debug;
	const char *config; /* points into argv or a literal, as do the next two */
	const char *worker;
	const char *socket;
	unsigned timeout; /* seconds */
};

GOTMPNS_HIDDEN void args_parse(pam_handle_t *pamh, int argc, const char **argv,
			       struct args *args);

/* ---- request ---- */

struct request {
	unsigned char bytes[GOTMPNS_REQUEST_MAX];
	size_t length;
	bool overflow; /* something did not fit: the request must not be sent */
};

GOTMPNS_HIDDEN void request_start(struct request *request);
GOTMPNS_HIDDEN void request_u32(struct request *request, uint16_t type, uint32_t value);
GOTMPNS_HIDDEN void request_empty(struct request *request, uint16_t type);
GOTMPNS_HIDDEN void request_string(struct request *request, uint16_t type, const char *value);
/* NAME=VALUE; a value too long for the wire is cut, for it is only compared. */
GOTMPNS_HIDDEN void request_variable(struct request *request, uint16_t type, const char *name,
				     const char *value);
/* False when something did not fit. */
GOTMPNS_HIDDEN bool request_finish(struct request *request);

/* ---- reply ---- */

struct reply {
	unsigned char bytes[GOTMPNS_REPLY_MAX];
	size_t length;
	int fds[GOTMPNS_ATTACHMENTS_MAX]; /* owned; reply_close() */
	size_t fd_count;
	bool truncated; /* the kernel said that message or descriptors were cut */
};

/* One entry of a reply, decoded.  Strings point into reply.bytes. */
struct entry {
	uint16_t type;
	uint32_t number; /* LOG: priority, PROPAGATE: type */
	bool flag;       /* PROPAGATE: recursive, ATTACH: directory */
	uint64_t device, inode;
	uint32_t fd; /* ATTACH: index into reply.fds */
	const char *string;
};

/* Looks at every byte once, before anything is done.  On success *status has a PAM code. */
GOTMPNS_HIDDEN bool reply_check(const struct reply *reply, int *status, struct reason *why);
/*
 * The entries of a checked reply in order: start with *cursor = 0.  False at
 * the end, and at the first entry that is not well formed.
 */
GOTMPNS_HIDDEN bool reply_next(const struct reply *reply, size_t *cursor, struct entry *entry);
GOTMPNS_HIDDEN void reply_close(struct reply *reply);

/* ---- worker ---- */

/* A moment on CLOCK_MONOTONIC. */
struct deadline {
	struct timespec at;
};

GOTMPNS_HIDDEN struct deadline deadline_in(unsigned seconds);
/* Milliseconds that are left, rounded up; 0 when it has passed. */
GOTMPNS_HIDDEN int deadline_left(const struct deadline *deadline);

/* A process at the other end of a socket: a worker of this login's, or the broker. */
struct worker {
	pid_t pid;  /* 0: not a child of ours */
	int pidfd;  /* owned */
	int socket; /* owned */
};

/*
 * Starts the worker at PATH and gives it one end of a socket.  Returns a PAM
 * status: PAM_SUCCESS, PAM_BUF_ERR or PAM_SESSION_ERR with a reason.
 */
GOTMPNS_HIDDEN int worker_start(struct worker *worker, const char *path, struct reason *why);
/* Sends the request and receives the reply into *reply, whose fds the caller then owns. */
GOTMPNS_HIDDEN bool worker_ask(struct worker *worker, const struct request *request,
			       struct reply *reply, const struct deadline *deadline,
			       struct reason *why);
/*
 * Closes the socket, waits for the end of the worker and reaps it; kills it
 * when the deadline passes.  How it ended is added to *why when that is the
 * only explanation there is (ask failed); why may be NULL.
 */
GOTMPNS_HIDDEN void worker_finish(struct worker *worker, const struct deadline *deadline,
				  struct reason *why);

/* ---- broker ---- */

/* False where nobody listens at PATH who may answer for this process: no error. */
GOTMPNS_HIDDEN bool broker_connect(struct worker *broker, const char *path);

/* ---- record ---- */

GOTMPNS_HIDDEN void record_remove(const char *name);
/* Lets close_session know what open_session's record is called; a PAM status. */
GOTMPNS_HIDDEN int record_keep(pam_handle_t *pamh, const char *name);
/* Takes away what record_keep has told, if anything. */
GOTMPNS_HIDDEN void record_end(pam_handle_t *pamh);

/* ---- commit ---- */

/*
 * The way back: where this thread was before the commit.  Descriptors are
 * owned; way_close() keeps the new place, way_back() returns to the old.
 */
struct way {
	int ns, root, cwd;
	bool left; /* unshare(CLONE_NEWNS) has happened */
};

#define WAY_INIT {-1, -1, -1, false}

/* Carries out the steps.  On failure the way back has already been taken. */
GOTMPNS_HIDDEN bool commit(const struct reply *reply, struct way *way, struct reason *why);
/* False only when the kernel refuses what it granted a moment ago. */
GOTMPNS_HIDDEN bool way_back(struct way *way, struct reason *why);
GOTMPNS_HIDDEN void way_close(struct way *way);

#endif
