/*
 * The least that a private /tmp can cost if another process creates the namespace: a
 * connection, one question, one answer with a descriptor, and setns(2). Nothing is checked.
 * For comparison only; floor_server.c answers.
 *
 *   session required pam_asking.so SOCKET
 */
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <security/pam_modules.h>

static int connect_to(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	strncpy(address.sun_path, path, sizeof address.sun_path - 1);
	if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) != 0) {
		(void)close(fd);
		return -1;
	}
	return fd;
}

/* Returns the namespace, or -1. */
static int ask(int fd)
{
	char byte = 0;
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec data = {.iov_base = &byte, .iov_len = 1};
	struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control,
				 .msg_controllen = sizeof control};
	int ns = -1;

	if (send(fd, &byte, 1, 0) == 1 && recvmsg(fd, &message, MSG_CMSG_CLOEXEC) == 1 &&
	    CMSG_FIRSTHDR(&message) != NULL)
		memcpy(&ns, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof ns);
	return ns;
}

PAM_EXTERN int pam_sm_open_session(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	int fd = argc == 1 ? connect_to(argv[0]) : -1, ns = fd >= 0 ? ask(fd) : -1;
	int status = ns >= 0 && setns(ns, CLONE_NEWNS) == 0 ? PAM_SUCCESS : PAM_SESSION_ERR;

	(void)pamh;
	(void)flags;
	if (ns >= 0)
		(void)close(ns);
	if (fd >= 0)
		(void)close(fd);
	return status;
}

PAM_EXTERN int pam_sm_close_session(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	(void)pamh;
	(void)flags;
	(void)argc;
	(void)argv;
	return PAM_SUCCESS;
}
