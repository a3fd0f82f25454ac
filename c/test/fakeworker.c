/*
 * A worker whose behaviour the name of its file says: broken in every way there
 * is, or as good as the real one for what the shim has to do.  It takes its
 * request from descriptor 0 like the real one.
 *
 * With -DLIBRARY='"MODE"' it is a session library instead, for the launcher.
 */
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <syslog.h>
#include <unistd.h>

#include "../wire.h"

static unsigned char message[2 * GOTMPNS_REPLY_MAX];
static size_t length;
static int descriptors[100];
static uint32_t count;

/* ---- the reply ---- */

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

static uint32_t add_descriptor(int fd)
{
	descriptors[count] = fd;
	return count++;
}

static void add_join(uint32_t namespace, uint32_t root, uint32_t cwd)
{
	uint32_t value[3] = {namespace, root, cwd};

	add(GOTMPNS_JOIN, value, sizeof value);
}

static void send_reply(void)
{
	union {
		struct cmsghdr align;
		unsigned char bytes[CMSG_SPACE(sizeof descriptors)];
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
		memcpy(CMSG_DATA(c), descriptors, count * sizeof(int));
	}
	(void)!sendmsg(0, &m, MSG_NOSIGNAL);
}

static void take_request(void)
{
	static char request[GOTMPNS_REQUEST_MAX];

	(void)!recv(0, request, sizeof request, 0);
}

/* ---- as the real one ---- */

/* The path that /proc/PID/NAME of the login process leads to. */
static void login_path(const char *name, char *path)
{
	struct ucred peer = {.pid = 0};
	socklen_t size = sizeof peer;
	char link[64];
	ssize_t used;

	(void)getsockopt(0, SOL_SOCKET, SO_PEERCRED, &peer, &size);
	snprintf(link, sizeof link, "/proc/%d/%s", peer.pid, name);
	used = readlink(link, path, PATH_MAX - 1);
	path[used < 0 ? 0 : used] = '\0';
}

/* Read before this process has a namespace of its own: afterwards they lead elsewhere. */
static char login_root[PATH_MAX], login_cwd[PATH_MAX];

static uint32_t add_directory(const char *path)
{
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? GOTMPNS_NONE : add_descriptor(fd);
}

/* A namespace with an empty /tmp; this process is in it afterwards. */
static uint32_t add_namespace(void)
{
	login_path("root", login_root);
	login_path("cwd", login_cwd);
	if (unshare(CLONE_NEWNS) != 0 || mount("", "/", "", MS_REC | MS_PRIVATE, NULL) != 0 ||
	    mount("tmpfs", "/tmp", "tmpfs", 0, "mode=1777") != 0)
		_exit(1);
	return add_descriptor(open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC));
}

static void joins(void)
{
	uint32_t namespace = add_namespace();

	add_text(GOTMPNS_SUMMARY, "private /tmp");
	add_join(namespace, GOTMPNS_NONE, add_directory(login_cwd));
}

static void joins_without_directory(void)
{
	add_join(add_namespace(), GOTMPNS_NONE, GOTMPNS_NONE);
}

static void joins_with_root(void)
{
	uint32_t namespace = add_namespace(), root = add_directory(login_root);

	add_text(GOTMPNS_SUMMARY, "private /tmp");
	add_join(namespace, root, add_directory(login_cwd));
}

static void joins_with_all(void)
{
	static const struct {
		uint32_t priority;
		char text[12];
	} log = {LOG_WARNING, "a warning"};

	add(GOTMPNS_LOG, &log, sizeof log.priority + strlen(log.text) + 1);
	add_text(GOTMPNS_ENV, "TMPDIR=/tmp");
	add_text(GOTMPNS_ENV, "TMP");
	add_text(GOTMPNS_ENV, "TEMPDIR");
	add_text(GOTMPNS_RECORD, "1000/12-34-ab");
	add_text(GOTMPNS_TELL, "your /tmp is private");
	joins();
}

/* ---- as it must not be: refused by the commit ---- */

static uint32_t add_file(void)
{
	return add_descriptor(open("/etc/hosts", O_RDONLY));
}

static void all_but_the_join(void)
{
	add_text(GOTMPNS_ENV, "TMPDIR=/tmp");
	add_text(GOTMPNS_ENV, "TMP");
	add_text(GOTMPNS_RECORD, "1000/12-34-ab");
	add_text(GOTMPNS_TELL, "not to be seen");
}

static void a_file(void)
{
	all_but_the_join();
	add_join(add_file(), GOTMPNS_NONE, GOTMPNS_NONE);
}

static void a_process(void)
{
	add_join(add_descriptor((int)syscall(SYS_pidfd_open, getpid(), 0)), GOTMPNS_NONE, GOTMPNS_NONE);
}

static void a_network(void)
{
	add_join(add_descriptor(open("/proc/self/ns/net", O_RDONLY)), GOTMPNS_NONE, GOTMPNS_NONE);
}

static void root_is_a_file(void)
{
	uint32_t namespace = add_namespace();

	all_but_the_join();
	add_join(namespace, add_file(), GOTMPNS_NONE);
}

static void cwd_is_a_file(void)
{
	uint32_t namespace = add_namespace();

	add_text(GOTMPNS_SUMMARY, "private /tmp");
	add_join(namespace, GOTMPNS_NONE, add_file());
}

/* ---- as it must not be: malformed ---- */

static void empty(void) { length = 0; }
static void short_header(void) { length = 5; }
static void magic(void) { message[0] ^= 1; }
static void version(void) { message[4] ^= 3; }
static void kind(void) { message[6] ^= 3; }
static void status_7(void) { begin(7); }
static void status_14(void) { begin(14); }
static void unknown(void) { add_text(99, "x"); }
static void request_entry(void) { add_text(GOTMPNS_USER, "x"); }
static void no_nul(void) { add(GOTMPNS_SUMMARY, "abcd", 4); }
static void two_nuls(void) { add(GOTMPNS_SUMMARY, "a\0b", 4); }
static void half_entry(void) { length += 2; }
static void oversized(void) { length = sizeof message; }
static void record_up(void) { add_text(GOTMPNS_RECORD, "../../../etc/passwd"); }
static void record_root(void) { add_text(GOTMPNS_RECORD, "/1-2-3"); }
static void record_two(void) { add_text(GOTMPNS_RECORD, "1000/1/2-3"); }
static void record_flat(void) { add_text(GOTMPNS_RECORD, "1-2-3"); }
static void record_user(void) { add_text(GOTMPNS_RECORD, "alice/1-2-3"); }
static void record_dots(void) { add_text(GOTMPNS_RECORD, "1000/.."); }
static void record_directory(void) { add_text(GOTMPNS_RECORD, "1000/"); }
static void environment(void) { add_text(GOTMPNS_ENV, "LD_PRELOAD=/tmp/x.so"); }
static void no_descriptor(void) { add_join(0, GOTMPNS_NONE, GOTMPNS_NONE); }

static void beyond(void)
{
	add_text(GOTMPNS_SUMMARY, "abc");
	message[sizeof(struct gotmpns_header) + 2] = 200;
}

static void many_entries(void)
{
	for (int i = 0; i < GOTMPNS_ENTRIES_MAX + 1; i++)
		add(GOTMPNS_SUMMARY, "", 1);
}

static void record_twice(void)
{
	add_text(GOTMPNS_RECORD, "1000/1-2-3");
	add_text(GOTMPNS_RECORD, "1000/1-2-4");
}

static void join_twice(void)
{
	uint32_t namespace = add_namespace();

	add_join(namespace, GOTMPNS_NONE, GOTMPNS_NONE);
	add_join(namespace, GOTMPNS_NONE, GOTMPNS_NONE);
}

static void join_short(void)
{
	uint32_t value[2] = {add_namespace(), GOTMPNS_NONE};

	add(GOTMPNS_JOIN, value, sizeof value);
}

static void root_beyond(void)
{
	add_join(add_namespace(), 1, GOTMPNS_NONE);
}

static void cwd_beyond(void)
{
	add_join(add_namespace(), GOTMPNS_NONE, 0xfffffffeu);
}

static void refuses_and_acts(void)
{
	begin(4);
	add_join(add_namespace(), GOTMPNS_NONE, GOTMPNS_NONE);
}

static void refuses_and_tells(void)
{
	begin(4);
	add_text(GOTMPNS_TELL, "x");
}

static void too_many(void)
{
	add_join(0, GOTMPNS_NONE, GOTMPNS_NONE);
	while (count < 100)
		add_file();
}

static void one_too_many(void)
{
	add_join(0, GOTMPNS_NONE, GOTMPNS_NONE);
	while (count < GOTMPNS_DESCRIPTORS_MAX + 1)
		add_file();
}

/* ---- odd ---- */

static void refuses(void)
{
	begin(4);
	add_text(GOTMPNS_SUMMARY, "no room for this user");
}

static void control_characters(void)
{
	add_text(GOTMPNS_SUMMARY, "a\nb\x1b[31m\xc2\x9b");
}

static void twice(void)
{
	send_reply();
	while (count < 3)
		add_file();
}

static void nothing(void) {}

static const struct {
	const char *name;
	void (*compose)(void);
} modes[] = {
	{"joins", joins},
	{"joins-without-directory", joins_without_directory},
	{"joins-with-root", joins_with_root},
	{"joins-with-all", joins_with_all},
	{"a-file", a_file},
	{"a-process", a_process},
	{"a-network", a_network},
	{"root-is-a-file", root_is_a_file},
	{"cwd-is-a-file", cwd_is_a_file},
	{"empty", empty},
	{"short", short_header},
	{"magic", magic},
	{"version", version},
	{"kind", kind},
	{"status-7", status_7},
	{"status-14", status_14},
	{"unknown", unknown},
	{"request-entry", request_entry},
	{"no-nul", no_nul},
	{"two-nuls", two_nuls},
	{"beyond", beyond},
	{"half-entry", half_entry},
	{"oversized", oversized},
	{"many-entries", many_entries},
	{"record-up", record_up},
	{"record-root", record_root},
	{"record-two", record_two},
	{"record-flat", record_flat},
	{"record-user", record_user},
	{"record-dots", record_dots},
	{"record-directory", record_directory},
	{"record-twice", record_twice},
	{"environment", environment},
	{"no-descriptor", no_descriptor},
	{"join-twice", join_twice},
	{"join-short", join_short},
	{"root-beyond", root_beyond},
	{"cwd-beyond", cwd_beyond},
	{"refuses-and-acts", refuses_and_acts},
	{"refuses-and-tells", refuses_and_tells},
	{"too-many", too_many},
	{"one-too-many", one_too_many},
	{"refuses", refuses},
	{"control-characters", control_characters},
	{"twice", twice},
	{"lingers", nothing},
	{"leaves-a-child", nothing},
};

/* The test ends it, or it ends by itself. */
static void pause_briefly(void)
{
	sigset_t none;

	/* It lets go of the test's pipe, too, as a child would hold it. */
	(void)close(1);
	(void)close(2);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL); /* it was started with all blocked */
	(void)alarm(60);
	for (;;)
		pause();
}

static void behave(const char *mode)
{
	if (strcmp(mode, "exits") == 0)
		_exit(3);
	if (strcmp(mode, "crashes") == 0)
		abort();
	take_request();
	if (strcmp(mode, "silent") == 0) {
		for (;;)
			pause(); /* until it is killed */
	}
	if (strcmp(mode, "closes") == 0)
		_exit(0);
	begin(0);
	for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
		if (strcmp(modes[i].name, mode) == 0)
			modes[i].compose();
	}
	send_reply();
	if (strcmp(mode, "lingers") == 0 || (strcmp(mode, "leaves-a-child") == 0 && fork() == 0))
		pause_briefly();
}

#ifdef LIBRARY
int gotmpns_session_serve(int socket);

int gotmpns_session_serve(int socket)
{
	(void)socket; /* it is 0 */
	behave(LIBRARY);
	return 0;
}
#else
int main(void)
{
	const char *self = (const char *)getauxval(AT_EXECFN);
	const char *slash = self != NULL ? strrchr(self, '/') : NULL;

	if (slash != NULL)
		behave(slash + 1);
	return 0;
}
#endif
