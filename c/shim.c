/*
 * pam_gotmpns.so, the module: asks a worker what to do for this login, does
 * it, and says so in one line.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <syslog.h>
#include <unistd.h>

#include <security/pam_ext.h>
#include <security/pam_modutil.h>

#include "shim.h"

#define EXPORT __attribute__((visibility("default")))

#define BROKER_PATIENCE 2u /* seconds; then a worker is asked */

static const char *const temporary[] = {"TMPDIR", "TMP", "TEMP", "TEMPDIR"};

/* One call of open_session. */
struct opening {
	pam_handle_t *pamh;
	struct args args;
	struct passwd *account; /* libpam's */
	struct timespec began;
	struct request request;
	struct reply reply;
	struct way way;
	struct reason why;
};

static double milliseconds_since(const struct timespec *began)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - began->tv_sec) * 1e3 +
	       (double)(now.tv_nsec - began->tv_nsec) / 1e6;
}

/* ---- the request ---- */

static void add_item(struct opening *opening, uint16_t type, int item)
{
	const void *value = NULL;

	if (pam_get_item(opening->pamh, item, &value) == PAM_SUCCESS && value != NULL)
		request_string(&opening->request, type, value);
}

static bool build_request(struct opening *opening)
{
	struct request *request = &opening->request;
	const struct passwd *account = opening->account;

	request_start(request);
	request_u32(request, GOTMPNS_UID, account->pw_uid);
	request_u32(request, GOTMPNS_GID, account->pw_gid);
	if (opening->args.debug)
		request_empty(request, GOTMPNS_DEBUG);
	request_string(request, GOTMPNS_USER, account->pw_name);
	if (account->pw_shell != NULL)
		request_string(request, GOTMPNS_SHELL, account->pw_shell);
	add_item(opening, GOTMPNS_SERVICE, PAM_SERVICE);
	add_item(opening, GOTMPNS_TTY, PAM_TTY);
	add_item(opening, GOTMPNS_RHOST, PAM_RHOST);
	add_item(opening, GOTMPNS_RUSER, PAM_RUSER);
	request_string(request, GOTMPNS_CONFIG, opening->args.config);
	for (size_t i = 0; i < sizeof temporary / sizeof temporary[0]; i++) {
		const char *value = pam_getenv(opening->pamh, temporary[i]);

		if (value != NULL)
			request_variable(request, GOTMPNS_PAM_ENV, temporary[i], value);
		value = getenv(temporary[i]);
		if (value != NULL)
			request_variable(request, GOTMPNS_PROCESS_ENV, temporary[i], value);
	}
	return request_finish(request);
}

/* ---- the reply ---- */

/* What the worker wants to be told to PAM; the steps have been carried out. */
static int apply_to_pam(struct opening *opening)
{
	struct entry entry;
	size_t cursor = 0;
	int status = PAM_SUCCESS;

	while (status == PAM_SUCCESS && reply_next(&opening->reply, &cursor, &entry)) {
		if (entry.type == GOTMPNS_ENV &&
		    /* Taking away what is not there is an error to libpam. */
		    (strchr(entry.string, '=') != NULL ||
		     pam_getenv(opening->pamh, entry.string) != NULL))
			status = pam_putenv(opening->pamh, entry.string);
		else if (entry.type == GOTMPNS_RECORD)
			status = record_keep(opening->pamh, entry.string);
	}
	return status;
}

static void drop_record(struct opening *opening)
{
	struct entry entry;
	size_t cursor = 0;

	while (reply_next(&opening->reply, &cursor, &entry)) {
		if (entry.type == GOTMPNS_RECORD)
			record_remove(entry.string);
	}
}

static void log_reply(struct opening *opening)
{
	struct entry entry;
	size_t cursor = 0;

	while (reply_next(&opening->reply, &cursor, &entry)) {
		if (entry.type == GOTMPNS_LOG)
			log_line(opening->pamh, (int)entry.number, entry.string);
	}
}

/* What the worker says in one line: of success or, with another status, why not. */
static void reply_reason(const struct reply *reply, struct reason *why)
{
	struct entry entry;
	size_t cursor = 0;

	because(why, "the worker gives no reason");
	while (reply_next(reply, &cursor, &entry)) {
		if (entry.type == GOTMPNS_SUMMARY)
			because(why, "%s", entry.string);
	}
}

static void log_success(struct opening *opening)
{
	struct reason line = {{0}};

	reply_reason(&opening->reply, &opening->why);
	because(&line, "%.64s (uid %u): %.1900s, %.1f ms", opening->account->pw_name,
		(unsigned)opening->account->pw_uid, opening->why.text,
		milliseconds_since(&opening->began));
	log_line(opening->pamh, LOG_INFO, line.text);
}

/* ---- open_session ---- */

static int act(struct opening *opening)
{
	int status;

	if (!reply_check(&opening->reply, &status, &opening->why))
		return PAM_SESSION_ERR;
	log_reply(opening);
	if (status != PAM_SUCCESS) {
		reply_reason(&opening->reply, &opening->why);
		return status;
	}
	if (!commit(&opening->reply, &opening->way, &opening->why)) {
		drop_record(opening);
		return PAM_SESSION_ERR;
	}
	status = apply_to_pam(opening);
	if (status != PAM_SUCCESS) {
		because(&opening->why, "cannot hand the environment to PAM: %s",
			pam_strerror(opening->pamh, status));
		(void)way_back(&opening->way, &opening->why);
		drop_record(opening);
		return status;
	}
	way_close(&opening->way);
	return PAM_SUCCESS;
}

/*
 * Asks the broker, if there is one.  Whatever it is that comes back but a whole
 * answer, nothing has happened, and a worker is asked instead.
 */
static bool ask_broker(struct opening *opening, struct worker *broker)
{
	unsigned patience = opening->args.timeout < BROKER_PATIENCE ? opening->args.timeout
								    : BROKER_PATIENCE;
	struct deadline deadline = deadline_in(patience);
	int status;

	if (opening->args.socket == NULL || !broker_connect(broker, opening->args.socket))
		return false;
	if (worker_ask(broker, &opening->request, &opening->reply, &deadline, &opening->why) &&
	    reply_check(&opening->reply, &status, &opening->why))
		return true;
	if (deadline_left(&deadline) == 0)
		pam_syslog(opening->pamh, LOG_WARNING,
			   "the broker at %.100s did not answer within %u s, asking a worker; "
			   "\"systemctl restart gotmpns\" may help",
			   opening->args.socket, patience);
	reply_close(&opening->reply);
	worker_finish(broker, &deadline, NULL);
	return false;
}

static int ask_and_act(struct opening *opening)
{
	struct worker worker;
	struct deadline deadline;
	int status;
	bool answered;

	if (!build_request(opening)) {
		because(&opening->why, "cannot ask the worker: a name of this login is too long");
		return PAM_SESSION_ERR;
	}
	answered = ask_broker(opening, &worker);
	deadline = deadline_in(opening->args.timeout);
	if (!answered) {
		status = worker_start(&worker, opening->args.worker, &opening->why);
		if (status != PAM_SUCCESS)
			return status;
		answered = worker_ask(&worker, &opening->request, &opening->reply, &deadline,
				      &opening->why);
	}
	status = answered ? act(opening) : PAM_SESSION_ERR;
	if (status == PAM_SUCCESS)
		log_success(opening); /* while the worker comes to its end */
	reply_close(&opening->reply);
	worker_finish(&worker, &deadline, answered ? NULL : &opening->why);
	return status;
}

static int find_account(struct opening *opening)
{
	const char *user = NULL;
	int status = pam_get_user(opening->pamh, &user, NULL);

	if (status != PAM_SUCCESS || user == NULL || user[0] == '\0') {
		because(&opening->why, "cannot tell whose session this is: PAM has no user name");
		return status == PAM_BUF_ERR ? PAM_BUF_ERR : PAM_USER_UNKNOWN;
	}
	opening->account = pam_modutil_getpwnam(opening->pamh, user);
	if (opening->account == NULL) {
		because(&opening->why, "cannot find the user \"%.64s\": is the name service up?",
			user);
		return PAM_USER_UNKNOWN;
	}
	return PAM_SUCCESS;
}

/* The last word: how it went wrong, and that root gets in all the same. */
static int refuse(struct opening *opening, int status)
{
	const struct passwd *account = opening->account;
	struct reason line = {{0}};

	if (account == NULL) {
		log_line(opening->pamh, LOG_ERR, opening->why.text);
		return status;
	}
	if (account->pw_uid == 0) {
		because(&line, "%.64s (uid 0): going on without a private /tmp: %.1900s",
			account->pw_name, opening->why.text);
		log_line(opening->pamh, LOG_WARNING, line.text);
		return PAM_SUCCESS;
	}
	because(&line, "%.64s (uid %u): %.1900s", account->pw_name, (unsigned)account->pw_uid,
		opening->why.text);
	log_line(opening->pamh, LOG_ERR, line.text);
	return status;
}

static int open_session(struct opening *opening, int argc, const char **argv)
{
	int status;

	args_parse(opening->pamh, argc, argv, &opening->args);
	status = find_account(opening);
	if (status == PAM_SUCCESS)
		status = ask_and_act(opening);
	return status == PAM_SUCCESS ? PAM_SUCCESS : refuse(opening, status);
}

EXPORT int pam_sm_open_session(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	struct opening *opening;
	int status, cancel;

	(void)flags; /* PAM_SILENT: nothing is ever said to the user */
	/* Not from the heap: what is freed there stays with the login process. */
	opening = mmap(NULL, sizeof *opening, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);
	if (opening == MAP_FAILED) {
		pam_syslog(pamh, LOG_CRIT, "cannot allocate memory for this login");
		return PAM_BUF_ERR;
	}
	opening->pamh = pamh;
	opening->way = (struct way)WAY_INIT;
	(void)clock_gettime(CLOCK_MONOTONIC, &opening->began);
	/* A thread that a host cancels half way would leave a login half made. */
	(void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	status = open_session(opening, argc, argv);
	(void)pthread_setcancelstate(cancel, NULL);
	(void)munmap(opening, sizeof *opening);
	return status;
}

/*
 * May come from another process, without privileges, twice or never: the
 * kernel takes the namespace away with its last process, and nothing depends
 * on this call but how soon the record goes.
 */
EXPORT int pam_sm_close_session(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	(void)flags;
	(void)argc;
	(void)argv;
	record_end(pamh);
	return PAM_SUCCESS;
}
