/*
 * The session's record, a file that the worker has made: close_session, perhaps
 * in another process, is told its name through PAM and takes it away.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shim.h"

#define RECORD_DATA "gotmpns_record"

void record_remove(const char *name)
{
	char path[sizeof GOTMPNS_SESSIONS_DIR + 1 + 128];

	/* Best effort, also without privileges: a record of the dead is swept anyhow. */
	if (snprintf(path, sizeof path, "%s/%s", GOTMPNS_SESSIONS_DIR, name) < (int)sizeof path)
		(void)unlink(path);
}

static void record_free(pam_handle_t *pamh, void *data, int status)
{
	(void)pamh;
	(void)status;
	free(data);
}

int record_keep(pam_handle_t *pamh, const char *name)
{
	char *copy = strdup(name);
	int status;

	if (copy == NULL)
		return PAM_BUF_ERR;
	status = pam_set_data(pamh, RECORD_DATA, copy, record_free);
	if (status != PAM_SUCCESS)
		free(copy);
	return status;
}

void record_end(pam_handle_t *pamh)
{
	const void *name = NULL;

	if (pam_get_data(pamh, RECORD_DATA, &name) == PAM_SUCCESS && name != NULL)
		record_remove(name);
}
