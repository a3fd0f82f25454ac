/*
 * A name service that is slow or down, for groups whose name says so
 * (nsswitch.conf: "group: files test").
 */
#include <errno.h>
#include <grp.h>
#include <nss.h>
#include <string.h>
#include <unistd.h>

enum nss_status _nss_test_getgrnam_r(const char *name, struct group *result, char *buffer,
				     size_t size, int *error);

enum nss_status _nss_test_getgrnam_r(const char *name, struct group *result, char *buffer,
				     size_t size, int *error)
{
	(void)result;
	(void)buffer;
	(void)size;
	if (strcmp(name, "slow") == 0) {
		for (;;)
			(void)pause();
	}
	*error = strcmp(name, "down") == 0 ? EIO : ENOENT;
	return strcmp(name, "down") == 0 ? NSS_STATUS_UNAVAIL : NSS_STATUS_NOTFOUND;
}
