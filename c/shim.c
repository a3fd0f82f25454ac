/*
 * pam_gotmpns.so, the module: asks what to do for this login, does it, and logs
 * it in one line.
 */
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <syslog.h>
#include <unistd.h>

#include <security/pam_ext.h>
#include <security/pam_modutil.h>

#include "shim.h"

#define EXPORT __attribute__((visibility("default")))

#define BROKER_TIMEOUT 2u	  /* seconds; then a worker is asked */
#define UPGRADE_INTERVAL 50000000L /* ns; between two workers of another version */

/* One call of open_session. */
struct opening {
	pam_handle_t *pamh;
	struct args args;
	struct passwd *account; /* libpam's */
	struct timespec began;
	struct request request;
	struct reply reply;
	bool checked; /* the reply may be read, also when its descriptors are closed */
	struct reason reason, warning;
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
	if (account->pw_dir != NULL)
		request_string(request, GOTMPNS_HOME, account->pw_dir);
	add_item(opening, GOTMPNS_SERVICE, PAM_SERVICE);
	add_item(opening, GOTMPNS_TTY, PAM_TTY);
	add_item(opening, GOTMPNS_RHOST, PAM_RHOST);
	add_item(opening, GOTMPNS_RUSER, PAM_RUSER);
	request_string(request, GOTMPNS_CONFIG, opening->args.config);
	for (size_t i = 0; i < VARIABLES; i++) {
		const char *value = pam_getenv(opening->pamh, variables[i]);

		if (value != NULL)
			request_variable(request, GOTMPNS_PAM_ENV, variables[i], value);
		value = getenv(variables[i]);
		if (value != NULL)
			request_variable(request, GOTMPNS_PROCESS_ENV, variables[i], value);
	}
	return request_finish(request);
}

/* ---- the reply ---- */

/* The summary: of what has been done or, with another status, why it was refused. */
static void summarize(const struct reply *reply, struct reason *reason)
{
	struct entry entry;
	size_t cursor = 0;

	set_reason(reason, "no reason given");
	while (reply_next(reply, &cursor, &entry)) {
		if (entry.type == GOTMPNS_SUMMARY)
			set_reason(reason, "%s", entry.string);
	}
}

/* Everything that can fail comes before the commit, and the commit is all or nothing. */
static int act(struct opening *opening)
{
	struct replaced replaced;
	int status;

	if (!reply_check(&opening->reply, &status, &opening->reason))
		return PAM_SYSTEM_ERR;
	opening->checked = true;
	if (status != PAM_SUCCESS) {
		summarize(&opening->reply, &opening->reason);
		return status;
	}
	status = apply(opening->pamh, &opening->reply, &replaced);
	if (status != PAM_SUCCESS) {
		set_reason(&opening->reason, "cannot set the environment of the session: %s",
			   pam_strerror(opening->pamh, status));
		return status;
	}
	if (!commit(&opening->reply, &opening->reason, &opening->warning)) {
		apply_undo(opening->pamh, &opening->reply, &replaced);
		return PAM_SYSTEM_ERR;
	}
	apply_keep(&replaced);
	return PAM_SUCCESS;
}

/* ---- asking ---- */

static void log_slow_broker(const struct opening *opening, unsigned timeout)
{
	bool has_systemd = access("/run/systemd/system", F_OK) == 0;

	pam_syslog(opening->pamh, LOG_WARNING,
		   "the broker at %.100s did not answer within %u s; asking a worker%s",
		   opening->args.socket, timeout,
		   has_systemd ? "; \"systemctl restart gotmpns\" may help" : "");
}

/*
 * Asks the broker, if there is one.  Whatever comes back instead of a complete
 * answer, nothing has happened, and a worker is asked.
 */
static bool ask_broker(struct opening *opening, struct worker *broker)
{
	unsigned timeout =
		opening->args.timeout < BROKER_TIMEOUT ? opening->args.timeout : BROKER_TIMEOUT;
	struct deadline deadline = deadline_in(timeout);
	int status;

	if (opening->args.socket == NULL || !broker_connect(broker, opening->args.socket))
		return false;
	if (worker_ask(broker, &opening->request, &opening->reply, &deadline, &opening->reason) &&
	    reply_check(&opening->reply, &status, &opening->reason))
		return true;
	reply_close(&opening->reply);
	worker_close(broker);
	if (deadline_passed(&deadline))
		log_slow_broker(opening, timeout);
	return false;
}

static int ask_one_worker(struct opening *opening, struct worker *worker)
{
	int status = worker_start(worker, opening->args.worker, &opening->reason);
	struct deadline deadline = deadline_in(opening->args.timeout);

	if (status != PAM_SUCCESS)
		return status;
	if (worker_ask(worker, &opening->request, &opening->reply, &deadline, &opening->reason))
		return PAM_SUCCESS;
	worker_kill(worker);
	worker_close(worker);
	return PAM_SYSTEM_ERR;
}

/*
 * An upgrade replaces one file after the other, this module before the worker: in
 * between, the old worker answers.  This waits for the new one.
 */
static int ask_worker(struct opening *opening, struct worker *worker)
{
	const struct timespec interval = {.tv_nsec = UPGRADE_INTERVAL};
	struct deadline deadline = deadline_in(opening->args.timeout);
	int status;

	for (;;) {
		status = ask_one_worker(opening, worker);
		if (status != PAM_SUCCESS || !reply_is_foreign(&opening->reply) ||
		    deadline_passed(&deadline))
			return status;
		reply_close(&opening->reply);
		worker_close(worker);
		(void)nanosleep(&interval, NULL);
	}
}

static int ask_and_act(struct opening *opening)
{
	struct worker worker;
	int status;

	if (!build_request(opening)) {
		set_reason(&opening->reason,
			   "request too large: user name, tty or host name too long");
		return PAM_SYSTEM_ERR;
	}
	if (!ask_broker(opening, &worker)) {
		status = ask_worker(opening, &worker);
		if (status != PAM_SUCCESS)
			return status;
	}
	status = act(opening);
	reply_close(&opening->reply);
	worker_close(&worker);
	return status;
}

static int find_account(struct opening *opening)
{
	const char *user = NULL;
	int status = pam_get_user(opening->pamh, &user, NULL);

	if (status != PAM_SUCCESS || user == NULL || user[0] == '\0') {
		set_reason(&opening->reason, "PAM did not provide a user name");
		return status == PAM_BUF_ERR ? PAM_BUF_ERR : PAM_USER_UNKNOWN;
	}
	opening->account = pam_modutil_getpwnam(opening->pamh, user);
	if (opening->account == NULL) {
		set_reason(&opening->reason,
			   "cannot find the user \"%.64s\": is the name service running?", user);
		return PAM_USER_UNKNOWN;
	}
	return PAM_SUCCESS;
}

/* ---- reporting ---- */

static void log_entries(struct opening *opening)
{
	struct entry entry;
	size_t cursor = 0;

	while (opening->checked && reply_next(&opening->reply, &cursor, &entry)) {
		if (entry.type == GOTMPNS_LOG)
			log_line(opening->pamh, (int)entry.numbers[0], entry.string);
	}
}

/* "alice (uid 1000): PREFIX TEXT" */
static void log_account(const struct opening *opening, int priority, const char *prefix,
			const char *text)
{
	const struct passwd *account = opening->account;
	struct reason line = {{0}};

	set_reason(&line, "%.64s (uid %u): %s%.1900s", account->pw_name, (unsigned)account->pw_uid,
		   prefix, text);
	log_line(opening->pamh, priority, line.text);
}

/* When all other descriptors are closed, so that the log's has the lowest number. */
static void log_outcome(struct opening *opening, int status)
{
	struct reason success = {{0}};

	log_entries(opening);
	if (opening->account == NULL) {
		log_line(opening->pamh, LOG_ERR, opening->reason.text);
		return;
	}
	if (opening->warning.text[0] != '\0')
		log_account(opening, LOG_WARNING, "", opening->warning.text);
	if (status == PAM_SUCCESS) {
		summarize(&opening->reply, &opening->reason);
		set_reason(&success, "%.1900s, %.1f ms", opening->reason.text,
			   milliseconds_since(&opening->began));
		log_account(opening, LOG_INFO, "", success.text);
	} else if (opening->account->pw_uid == 0) {
		log_account(opening, LOG_WARNING, "continuing without a private /tmp: ",
			    opening->reason.text);
	} else {
		log_account(opening, LOG_ERR, "", opening->reason.text);
	}
}

static void show_to_user(struct opening *opening, int status)
{
	struct entry entry;
	size_t cursor = 0;

	if (status != PAM_SUCCESS) {
		(void)pam_error(opening->pamh,
				"This session cannot get a private /tmp. Ask your administrator; "
				"the system log has the reason.");
		return;
	}
	while (reply_next(&opening->reply, &cursor, &entry)) {
		if (entry.type == GOTMPNS_TELL)
			(void)pam_info(opening->pamh, "%s", entry.string);
	}
}

/* ---- the two calls of PAM ---- */

static int open_session(struct opening *opening, int flags, int argc, const char **argv)
{
	struct rlimit saved;
	int status;

	limit_raise(&saved);
	args_parse(opening->pamh, argc, argv, &opening->args);
	status = find_account(opening);
	if (status == PAM_SUCCESS)
		status = ask_and_act(opening);
	log_outcome(opening, status);
	limit_restore(&saved);
	/* Root gets in: an administrator must be able to fix what is broken. */
	if (status != PAM_SUCCESS && opening->account != NULL && opening->account->pw_uid == 0)
		return PAM_SUCCESS;
	if (((unsigned)flags & PAM_SILENT) == 0)
		show_to_user(opening, status);
	return status;
}

EXPORT int pam_sm_open_session(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	struct opening *opening;
	int status, cancel;

	/* Not from the heap: what is freed there stays with the login process. */
	opening = mmap(NULL, sizeof *opening, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);
	if (opening == MAP_FAILED) {
		pam_syslog(pamh, LOG_CRIT, "cannot allocate memory for this login");
		return PAM_BUF_ERR;
	}
	opening->pamh = pamh;
	(void)clock_gettime(CLOCK_MONOTONIC, &opening->began);
	/* A thread that a host cancels half way would leave a login half made. */
	(void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	status = open_session(opening, flags, argc, argv);
	(void)pthread_setcancelstate(cancel, NULL);
	(void)munmap(opening, sizeof *opening);
	return status;
}

/*
 * May come from another process, without privileges, twice or never: the kernel
 * removes the namespace with its last process, and nothing depends on this call
 * but how soon the record goes.
 */
EXPORT int pam_sm_close_session(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	(void)flags;
	(void)argc;
	(void)argv;
	record_end(pamh);
	return PAM_SUCCESS;
}
