/* The broker: a resident worker, asked over its socket when it is there. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "shim.h"

/*
 * The broker sees a process, not a thread.  One that has a mount namespace of
 * its own, as a thread of a threaded host may have, is left to a worker.
 */
static bool is_main_thread(void)
{
	return syscall(SYS_gettid) == getpid();
}

/* The listener has to be root: in a container, anybody may own /run. */
static bool peer_is_root(int fd)
{
	struct ucred peer = {.uid = (uid_t)-1};
	socklen_t length = sizeof peer;

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && peer.uid == 0;
}

bool broker_connect(struct worker *broker, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t length = strlen(path);
	int fd;

	if (length >= sizeof address.sun_path || !is_main_thread())
		return false;
	memcpy(address.sun_path, path, length);
	/* Not blocking: when the queue is full, a worker is quicker. */
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return false;
	if (connect(fd, (const struct sockaddr *)&address, sizeof address) != 0 ||
	    !peer_is_root(fd)) {
		(void)close(fd);
		return false;
	}
	*broker = (struct worker){.pidfd = -1, .socket = fd};
	return true;
}
