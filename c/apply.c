/*
 * What PAM gets from a reply, before the commit: all of this can fail, and can be
 * undone.
 */
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "shim.h"

/* The argument of pam_putenv() that brings back what is there now; NULL without memory. */
static char *current(pam_handle_t *pamh, const char *name)
{
	const char *value = pam_getenv(pamh, name);
	char *text = NULL;

	if (value == NULL)
		return strdup(name);
	return asprintf(&text, "%s=%s", name, value) < 0 ? NULL : text;
}

static int put(pam_handle_t *pamh, const char *text)
{
	/* Unsetting what is not there is an error to libpam. */
	if (strchr(text, '=') == NULL && pam_getenv(pamh, text) == NULL)
		return PAM_SUCCESS;
	return pam_putenv(pamh, text);
}

static int put_variable(pam_handle_t *pamh, const char *text, struct replaced *replaced)
{
	size_t i = variable_index(text);

	if (i == VARIABLES)
		return PAM_SYSTEM_ERR; /* reply_check() has refused it */
	if (replaced->variables[i] == NULL)
		replaced->variables[i] = current(pamh, variables[i]);
	return replaced->variables[i] == NULL ? PAM_BUF_ERR : put(pamh, text);
}

void apply_keep(struct replaced *replaced)
{
	for (size_t i = 0; i < VARIABLES; i++) {
		free(replaced->variables[i]);
		replaced->variables[i] = NULL;
	}
}

void apply_undo(pam_handle_t *pamh, const struct reply *reply, struct replaced *replaced)
{
	struct entry entry;
	size_t cursor = 0;

	for (size_t i = 0; i < VARIABLES; i++) {
		if (replaced->variables[i] != NULL)
			(void)put(pamh, replaced->variables[i]);
	}
	apply_keep(replaced);
	while (reply_next(reply, &cursor, &entry)) {
		if (entry.type == GOTMPNS_RECORD)
			record_remove(pamh, entry.string);
	}
}

int apply(pam_handle_t *pamh, const struct reply *reply, struct replaced *replaced)
{
	struct entry entry;
	size_t cursor = 0;
	int status = PAM_SUCCESS;

	*replaced = (struct replaced){{NULL}};
	while (status == PAM_SUCCESS && reply_next(reply, &cursor, &entry)) {
		if (entry.type == GOTMPNS_ENV)
			status = put_variable(pamh, entry.string, replaced);
		else if (entry.type == GOTMPNS_RECORD)
			status = record_keep(pamh, entry.string);
	}
	if (status != PAM_SUCCESS)
		apply_undo(pamh, reply, replaced);
	return status;
}
