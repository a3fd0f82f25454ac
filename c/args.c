/* The arguments after the module's name in a PAM stack. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include <security/pam_ext.h>

#include "shim.h"

#define DEFAULT_CONFIG "/etc/security/gotmpns.toml"
#define DEFAULT_SOCKET "/run/gotmpns/broker.sock"
#define DEFAULT_TIMEOUT 5u
#define LONGEST_TIMEOUT 600u
#define SOCKET_PATH_MAX 108 /* NUL included, unix(7) */

#ifndef GOTMPNS_WORKER
#error "GOTMPNS_WORKER must name the installed worker; build with make"
#endif

/* Is ARG of the form NAME=VALUE? Then *VALUE is what follows. */
static bool is_named(const char *arg, const char *name, const char **value)
{
	size_t length = strlen(name);

	if (strncmp(arg, name, length) != 0 || arg[length] != '=')
		return false;
	*value = arg + length + 1;
	return true;
}

static bool parse_path(const char *value, const char **path)
{
	if (value[0] != '/' || strlen(value) >= PATH_MAX)
		return false;
	*path = value;
	return true;
}

static bool parse_seconds(const char *value, unsigned *seconds)
{
	char *end = NULL;
	unsigned long number;

	if (value[0] < '0' || value[0] > '9')
		return false;
	errno = 0;
	number = strtoul(value, &end, 10);
	if (errno != 0 || *end != '\0' || number < 1 || number > LONGEST_TIMEOUT)
		return false;
	*seconds = (unsigned)number;
	return true;
}

static bool parse_one(const char *arg, struct args *args)
{
	const char *value = NULL;

	if (strcmp(arg, "debug") == 0) {
		args->debug = true;
		return true;
	}
	if (strcmp(arg, "socket=none") == 0) {
		args->socket = NULL;
		return true;
	}
	if (is_named(arg, "config", &value))
		return parse_path(value, &args->config);
	if (is_named(arg, "worker", &value))
		return parse_path(value, &args->worker);
	if (is_named(arg, "socket", &value))
		return strlen(value) < SOCKET_PATH_MAX && parse_path(value, &args->socket);
	if (is_named(arg, "timeout", &value))
		return parse_seconds(value, &args->timeout);
	return false;
}

void args_parse(pam_handle_t *pamh, int argc, const char **argv, struct args *args)
{
	*args = (struct args){
		.config = DEFAULT_CONFIG,
		.worker = GOTMPNS_WORKER,
		.socket = DEFAULT_SOCKET,
		.timeout = DEFAULT_TIMEOUT,
	};
	for (int i = 0; i < argc; i++) {
		/* A typo in a PAM stack must not lock anybody out. */
		if (argv[i] != NULL && !parse_one(argv[i], args))
			pam_syslog(pamh, LOG_ERR,
				   "ignoring the module argument \"%.200s\": valid arguments are "
				   "debug, config=/FILE, worker=/FILE, socket=/PATH|none, "
				   "timeout=SECONDS (1 to %u)",
				   argv[i], LONGEST_TIMEOUT);
	}
}
