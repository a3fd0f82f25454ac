/*
 * A worker that is broken, in the way that the name of its file says.  It takes
 * its request from descriptor 0 like the real one.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../wire.h"

static unsigned char message[2 * GOTMPNS_REPLY_MAX];
static size_t length;

static void begin(uint32_t status)
{
	struct gotmpns_header header = {GOTMPNS_MAGIC, GOTMPNS_VERSION, GOTMPNS_REPLY, 0, status};

	memcpy(message, &header, sizeof header);
	length = sizeof header;
}

static void add(uint16_t type, const void *value, size_t size)
{
	struct gotmpns_entry entry = {type, (uint16_t)size};

	memcpy(message + length, &entry, sizeof entry);
	memcpy(message + length + sizeof entry, value, size);
	length += sizeof entry + ((size + 3) & ~(size_t)3);
}

static void add_text(uint16_t type, const char *text)
{
	add(type, text, strlen(text) + 1);
}

static void add_attach(uint32_t fd, const char *path)
{
	struct {
		uint64_t device, inode;
		uint32_t fd, directory;
		char path[64];
	} value = {0, 0, fd, 1, ""};

	snprintf(value.path, sizeof value.path, "%s", path);
	add(GOTMPNS_ATTACH, &value, 24 + strlen(path) + 1);
}

/* Sends what has been put together, with COUNT descriptors of FD. */
static void reply(int fd, size_t count)
{
	union {
		struct cmsghdr align;
		unsigned char bytes[CMSG_SPACE(253 * sizeof(int))];
	} control;
	struct iovec iov = {message, length};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	uint32_t whole = (uint32_t)length;

	memcpy(message + 8, &whole, sizeof whole);
	if (count > 0) {
		struct cmsghdr *c;

		memset(&control, 0, sizeof control);
		m.msg_control = control.bytes;
		m.msg_controllen = CMSG_SPACE(count * sizeof(int));
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(count * sizeof(int));
		for (size_t i = 0; i < count; i++)
			memcpy(CMSG_DATA(c) + i * sizeof fd, &fd, sizeof fd);
	}
	(void)!sendmsg(0, &m, MSG_NOSIGNAL);
}

static int is(const char *mode, const char *name)
{
	return strcmp(mode, name) == 0;
}

static void misbehave(const char *mode)
{
	static char request[GOTMPNS_REQUEST_MAX];
	int file = open("/etc/hosts", O_RDONLY), directory = open("/opt", O_PATH);

	if (is(mode, "exits"))
		_exit(3);
	if (is(mode, "crashes"))
		abort();
	(void)!recv(0, request, sizeof request, 0);
	if (is(mode, "silent")) {
		for (;;)
			pause();
	}
	if (is(mode, "closes"))
		_exit(0);
	begin(0);
	if (is(mode, "empty"))
		length = 0;
	else if (is(mode, "short"))
		length = 5;
	else if (is(mode, "magic"))
		message[0] ^= 1;
	else if (is(mode, "version"))
		message[4] ^= 1;
	else if (is(mode, "kind"))
		message[6] ^= 3;
	else if (is(mode, "status"))
		begin(7);
	else if (is(mode, "unknown"))
		add_text(99, "x");
	else if (is(mode, "request-entry"))
		add_text(GOTMPNS_USER, "x");
	else if (is(mode, "no-nul"))
		add(GOTMPNS_SUMMARY, "abcd", 4);
	else if (is(mode, "two-nuls"))
		add(GOTMPNS_SUMMARY, "a\0b", 4);
	else if (is(mode, "beyond")) {
		add_text(GOTMPNS_SUMMARY, "abc");
		message[sizeof(struct gotmpns_header) + 2] = 200;
	} else if (is(mode, "half-entry"))
		length += 2;
	else if (is(mode, "oversized"))
		length = sizeof message;
	else if (is(mode, "many-entries")) {
		for (int i = 0; i < GOTMPNS_ENTRIES_MAX + 1; i++)
			add(GOTMPNS_SUMMARY, "", 1);
	} else if (is(mode, "record-path"))
		add_text(GOTMPNS_RECORD, "../../../etc/passwd");
	else if (is(mode, "environment"))
		add_text(GOTMPNS_ENV, "LD_PRELOAD=/tmp/x.so");
	else if (is(mode, "attach-without-namespace"))
		add_attach(0, "/tmp");
	else if (is(mode, "detach-without-namespace"))
		add(GOTMPNS_DETACH, "0000000000000000/tmp", 21);
	else if (is(mode, "twice-unshare")) {
		add(GOTMPNS_UNSHARE, "", 0);
		add(GOTMPNS_UNSHARE, "", 0);
	} else if (is(mode, "refuses-and-acts")) {
		begin(14);
		add(GOTMPNS_UNSHARE, "", 0);
	} else if (is(mode, "relative-path")) {
		add(GOTMPNS_UNSHARE, "", 0);
		add_attach(0, "tmp");
	} else if (is(mode, "no-descriptor") || is(mode, "a-file") || is(mode, "a-directory") ||
		   is(mode, "too-many") || is(mode, "not-there")) {
		add(GOTMPNS_UNSHARE, "", 0);
		add_attach(0, is(mode, "not-there") ? "/nowhere" : "/tmp");
		add_text(GOTMPNS_RECORD, "1-2-3");
	} else if (is(mode, "control-characters"))
		add_text(GOTMPNS_SUMMARY, "a\nb\x1b[31m\xc2\x9b");
	if (is(mode, "no-descriptor"))
		reply(-1, 0);
	else if (is(mode, "too-many"))
		reply(file, 100);
	else if (is(mode, "a-file"))
		reply(file, 1);
	else
		reply(directory, is(mode, "a-directory") || is(mode, "not-there") ? 1 : 0);
	if (is(mode, "twice"))
		reply(file, 3);
	if (is(mode, "lingers")) {
		for (;;)
			pause();
	}
	if (is(mode, "leaves-a-child") && fork() == 0) {
		sigset_t none;

		/* It lets go of the test's pipe, and ends by itself soon. */
		(void)close(1);
		(void)close(2);
		(void)sigemptyset(&none);
		(void)sigprocmask(SIG_SETMASK, &none, NULL); /* it was started with all blocked */
		(void)alarm(1);
		for (;;)
			pause();
	}
}

int main(void)
{
	const char *self = (const char *)getauxval(AT_EXECFN);
	const char *slash = self != NULL ? strrchr(self, '/') : NULL;

	if (slash != NULL)
		misbehave(slash + 1);
	return 0;
}
