/*
 * Answers pam_asking.so: the three system calls of pam_floor.so, made for another process. One
 * caller after the other, nothing checked. For comparison only.
 *
 *   floor-server SOCKET DIRECTORY
 */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int create_namespace(const char *directory)
{
	if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL) != 0 ||
	    mount(directory, "/tmp", NULL, MS_BIND, NULL) != 0)
		return -1;
	return open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
}

static int answer(int fd, int ns)
{
	char byte = 0;
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {.header = {.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
				.cmsg_len = CMSG_LEN(sizeof(int))}};
	struct iovec data = {.iov_base = &byte, .iov_len = 1};
	struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control,
				 .msg_controllen = sizeof control};

	memcpy(CMSG_DATA(&control.header), &ns, sizeof ns);
	return sendmsg(fd, &message, 0) == 1 ? 0 : -1;
}

int main(int argc, char **argv)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int host = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	char byte;

	if (argc != 3)
		return 2;
	strncpy(address.sun_path, argv[1], sizeof address.sun_path - 1);
	if (host < 0 || bind(listener, (const struct sockaddr *)&address, sizeof address) != 0 ||
	    listen(listener, 128) != 0) {
		perror("floor-server");
		return 1;
	}
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC), ns = -1;

		if (fd < 0)
			return 1;
		if (recv(fd, &byte, 1, 0) == 1 && (ns = create_namespace(argv[2])) >= 0)
			(void)answer(fd, ns);
		if (setns(host, CLONE_NEWNS) != 0)
			return 1;
		if (ns >= 0)
			(void)close(ns);
		(void)close(fd);
	}
}
