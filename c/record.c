/*
 * The session's record, a file that the maker of the session has written:
 * close_session, perhaps in another process, gets its name through PAM and
 * removes it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shim.h"

#define RECORD_DATA "gotmpns_record"

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

void record_remove(pam_handle_t *pamh, const char *name)
{
	char path[sizeof GOTMPNS_SESSIONS_DIR + 1 + RECORD_MAX];

	/*
	 * Best effort, also without privileges: the broker removes records of ended
	 * processes.  The directory stays, because the user may have other sessions.
	 */
	if (snprintf(path, sizeof path, "%s/%s", GOTMPNS_SESSIONS_DIR, name) < (int)sizeof path)
		(void)unlink(path);
	/* Frees NAME where it is the stored one. */
	(void)pam_set_data(pamh, RECORD_DATA, NULL, NULL);
}

void record_end(pam_handle_t *pamh)
{
	const void *name = NULL;

	if (pam_get_data(pamh, RECORD_DATA, &name) == PAM_SUCCESS && name != NULL)
		record_remove(pamh, name);
}
