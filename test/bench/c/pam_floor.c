/*
 * The least that a private /tmp can cost: three system calls, no question
 * asked, nothing checked and no way back. For comparison only.
 *
 *   session required pam_floor.so DIRECTORY
 */
#include <sched.h>
#include <stddef.h>
#include <sys/mount.h>

#include <security/pam_modules.h>

PAM_EXTERN int pam_sm_open_session(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	(void)pamh;
	(void)flags;
	if (argc == 1 && unshare(CLONE_NEWNS) == 0 &&
	    mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL) == 0 &&
	    mount(argv[0], "/tmp", NULL, MS_BIND, NULL) == 0)
		return PAM_SUCCESS;
	return PAM_SESSION_ERR;
}

PAM_EXTERN int pam_sm_close_session(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	(void)pamh;
	(void)flags;
	(void)argc;
	(void)argv;
	return PAM_SUCCESS;
}
