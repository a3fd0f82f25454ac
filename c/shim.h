/*
 * The parts of the shim.  A login goes through them in this order:
 *
 *   args     what the administrator wrote after the module's name
 *   limit    enough descriptors, whatever the caller's limit is
 *   request  what only this process knows, as one message
 *   broker   the resident helper, when there is one; or else
 *   worker   a process exec'd for this login
 *   ask      the message out, the reply in, with a deadline
 *   reply    the bytes that came back, checked, as entries
 *   apply    what PAM is to know: the environment and the session's record
 *   commit   the user's mount namespace entered, or nothing changed
 *
 * Nothing here decides what a session gets, and nothing prints, exits or waits
 * without a deadline: the process belongs to sshd, login or su.
 */
#ifndef GOTMPNS_SHIM_H
#define GOTMPNS_SHIM_H

#include <limits.h>
#include <security/pam_modules.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <time.h>

#include "wire.h"

/* ---- log ---- */

/* Why something failed: written by the part that found it, logged by shim.c. */
#define REASON_MAX 2048 /* a configuration can have several errors */
struct reason {
	char text[REASON_MAX];
};

void set_reason(struct reason *reason, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/*
 * "cannot ACTION: CAUSE; HINT", where FORMAT and what follows make ACTION, ERROR
 * is an errno, and the hint, if NULL, the usual one for that errno.  Always false.
 */
bool cannot(struct reason *reason, int error, const char *hint, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* One line through pam_syslog(3), whatever is in TEXT. */
void log_line(pam_handle_t *pamh, int priority, const char *text);

/* ---- args ---- */

struct args {
	bool debug;
	const char *config; /* points into argv or a literal, as do the next two */
	const char *worker;
	const char *socket; /* NULL: ask no broker */
	unsigned timeout;   /* seconds */
};

void args_parse(pam_handle_t *pamh, int argc, const char **argv, struct args *args);

/* ---- limit ---- */

/* Raises RLIMIT_NOFILE as far as this process may; *saved is for limit_restore(). */
void limit_raise(struct rlimit *saved);
/* Afterwards no descriptor that was opened in between is above the limit. */
void limit_restore(const struct rlimit *saved);

/* ---- request ---- */

struct request {
	unsigned char bytes[GOTMPNS_REQUEST_MAX];
	size_t length;
	bool overflow; /* something did not fit: the request must not be sent */
};

void request_start(struct request *request);
void request_u32(struct request *request, uint16_t type, uint32_t value);
void request_empty(struct request *request, uint16_t type);
void request_string(struct request *request, uint16_t type, const char *value);
/* NAME=VALUE; a value too long for the wire is cut, because it is only compared. */
void request_variable(struct request *request, uint16_t type, const char *name, const char *value);
/* False when something did not fit. */
bool request_finish(struct request *request);

/* ---- reply ---- */

struct reply {
	unsigned char bytes[GOTMPNS_REPLY_MAX];
	size_t length;
	int fds[GOTMPNS_DESCRIPTORS_MAX]; /* owned; reply_close() */
	size_t fd_count;
	bool truncated; /* the kernel cut the message or its descriptors */
};

/* One entry of a reply, decoded.  Strings point into reply.bytes. */
struct entry {
	uint16_t type;
	uint32_t numbers[3]; /* LOG: priority; JOIN: namespace, root, working directory */
	const char *string;
};

/* Does it come from a worker of another version, complete or cut short? */
bool reply_is_foreign(const struct reply *reply);
/* Looks at every byte once, before anything is done.  On success *status has a PAM code. */
bool reply_check(const struct reply *reply, int *status, struct reason *reason);
/*
 * The entries of a checked reply in order: start with *cursor = 0.  False at
 * the end, and at the first entry that is not well formed.
 */
bool reply_next(const struct reply *reply, size_t *cursor, struct entry *entry);
/* The variables that this module is about. */
#define VARIABLES 4
extern const char *const variables[VARIABLES];
/* The index of the variable that TEXT, NAME or NAME=VALUE, is about; or VARIABLES. */
size_t variable_index(const char *text);
/* Closes the descriptors; the bytes stay. */
void reply_close(struct reply *reply);

/* ---- worker ---- */

/* A process at the other end of a socket: a worker for this login, or the broker. */
struct worker {
	int pidfd;  /* owned; -1: the broker */
	int socket; /* owned */
};

/*
 * Starts the worker at PATH with one end of a socket as its descriptor 0.  It is
 * not a child of this process.  Returns a PAM status: PAM_SUCCESS, PAM_BUF_ERR or
 * PAM_SYSTEM_ERR with a reason.
 */
int worker_start(struct worker *worker, const char *path, struct reason *reason);
/* Kills a worker that owes an answer; the broker only notices the end of the connection. */
void worker_kill(const struct worker *worker);
/* Closes the socket, which ends the worker, and the pidfd.  Waits for nothing. */
void worker_close(struct worker *worker);

/* ---- broker ---- */

/* False where nobody listens at PATH that may answer for this process: no error. */
bool broker_connect(struct worker *broker, const char *path);

/* ---- ask ---- */

/* A moment on CLOCK_MONOTONIC. */
struct deadline {
	struct timespec at;
};

struct deadline deadline_in(unsigned seconds);
bool deadline_passed(const struct deadline *deadline);

/* Sends the request and receives the reply into *reply, whose fds the caller then owns. */
bool worker_ask(const struct worker *worker, const struct request *request, struct reply *reply,
		const struct deadline *deadline, struct reason *reason);

/* ---- record ---- */

#define RECORD_MAX 128 /* bytes, NUL included */

/* Stores the name of open_session's record for close_session; a PAM status. */
int record_keep(pam_handle_t *pamh, const char *name);
/* Removes the record NAME, and forgets the stored name. */
void record_remove(pam_handle_t *pamh, const char *name);
/* The same for the record that record_keep() has stored, if any. */
void record_end(pam_handle_t *pamh);

/* ---- apply ---- */

/* What apply() has replaced.  Owned strings as for pam_putenv(); NULL: not replaced. */
struct replaced {
	char *variables[VARIABLES];
};

/*
 * Gives PAM the environment and the record of a checked reply.  Returns a PAM
 * status; on failure nothing is changed.
 */
int apply(pam_handle_t *pamh, const struct reply *reply, struct replaced *replaced);
/* Restores what apply() has replaced, and removes the record. */
void apply_undo(pam_handle_t *pamh, const struct reply *reply, struct replaced *replaced);
/* Frees what apply_undo() would have needed. */
void apply_keep(struct replaced *replaced);

/* ---- commit ---- */

/*
 * Enters the namespace that the reply names, if any.  On failure the thread is
 * where it was.  On success, WARNING is empty or says what is not as asked.
 */
bool commit(const struct reply *reply, struct reason *reason, struct reason *warning);

#endif
