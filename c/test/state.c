#include "state.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

int report_fd = 1;
volatile int signals_seen;

static void identity(const char *path, char *text, size_t size)
{
	struct statx st;

	if (statx(AT_FDCWD, path, AT_NO_AUTOMOUNT, STATX_INO | STATX_MNT_ID, &st) != 0)
		snprintf(text, size, "gone");
	else /* not the mount id: a new namespace has other ones */
		snprintf(text, size, "%u:%u:%llu", st.stx_dev_major, st.stx_dev_minor,
			 (unsigned long long)st.stx_ino);
}

/* Every descriptor but the one that is used to look, and what it is. */
static void list_fds(char *text, size_t size)
{
	size_t used = 0;

	text[0] = '\0';
	for (int fd = 0; fd < 1024; fd++) {
		char link[32], target[128];
		ssize_t length;

		snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
		length = readlink(link, target, sizeof target - 1);
		if (length < 0 || used + 200 > size)
			continue;
		target[length] = '\0';
		/* syslog(3) keeps its socket; it is libc's, and close-on-exec. */
		if (strncmp(target, "socket:", 7) == 0 && (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0)
			continue;
		used += (size_t)snprintf(text + used, size - used, "%d=%s ", fd, target);
	}
}

/* Counted without a descriptor: there may be none free. */
static int count_threads(void)
{
	struct stat st;

	return stat("/proc/self/task", &st) == 0 ? (int)st.st_nlink - 2 : -1;
}

/* Is there a child of any kind, living or dead? */
static int has_children(void)
{
	siginfo_t info;

	return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0;
}

/* The highest descriptor at or above the limit, the log's connection included. */
static int highest_above(rlim_t limit)
{
	for (int fd = 1023; fd >= 0 && (rlim_t)fd >= limit; fd--) {
		if (fcntl(fd, F_GETFD) >= 0)
			return fd;
	}
	return -1;
}

static unsigned long checksum(char **environment)
{
	unsigned long sum = 5381;

	for (; environment != NULL && *environment != NULL; environment++) {
		for (const char *c = *environment; *c != '\0'; c++)
			sum = sum * 33 + (unsigned char)*c;
		sum = sum * 33 + '\n';
	}
	return sum;
}

void state_take(struct state *state)
{
	extern char **environ;
	ssize_t length;

	memset(state, 0, sizeof *state);
	length = readlink("/proc/thread-self/ns/mnt", state->namespace, sizeof state->namespace - 1);
	if (length < 0)
		snprintf(state->namespace, sizeof state->namespace, "unknown");
	identity("/", state->root, sizeof state->root);
	identity(".", state->cwd, sizeof state->cwd);
	state->umask = umask(0);
	(void)umask((mode_t)state->umask);
	state->threads = count_threads();
	state->children = has_children();
	state->signals = signals_seen;
	sigpending(&state->pending);
	for (int n = 0; n < STATE_LIMITS; n++)
		getrlimit((__rlimit_resource_t)n, &state->limits[n]);
	state->above = highest_above(state->limits[RLIMIT_NOFILE].rlim_cur);
	list_fds(state->fds, sizeof state->fds);
	sigprocmask(SIG_BLOCK, NULL, &state->mask);
	for (int n = 1; n < NSIG; n++) {
		struct sigaction action;

		if (sigaction(n, NULL, &action) == 0)
			state->handlers[n] = (void *)action.sa_handler;
	}
	state->environment = checksum(environ);
	getresuid(&state->ids[0], &state->ids[1], &state->ids[2]);
	getresgid(&state->ids[3], &state->ids[4], &state->ids[5]);
}

static void tell(const char *what, int differs)
{
	if (differs)
		dprintf(report_fd, "changed: %s\n", what);
}

void state_compare(const struct state *before, const struct state *after)
{
	tell("namespace", strcmp(before->namespace, after->namespace) != 0);
	tell("root", strcmp(before->root, after->root) != 0);
	tell("cwd", strcmp(before->cwd, after->cwd) != 0);
	tell("umask", before->umask != after->umask);
	tell("threads", before->threads != after->threads);
	tell("children", before->children != after->children);
	tell("signals", before->signals != after->signals);
	tell("limits", memcmp(before->limits, after->limits, sizeof before->limits) != 0);
	tell("descriptor above the limit", before->above != after->above);
	tell("environment", before->environment != after->environment);
	tell("ids", memcmp(before->ids, after->ids, sizeof before->ids) != 0);
	tell("handlers", memcmp(before->handlers, after->handlers, sizeof before->handlers) != 0);
	for (int n = 1; n < NSIG; n++) {
		if (sigismember(&before->mask, n) != sigismember(&after->mask, n))
			tell("mask", 1);
		if (sigismember(&before->pending, n) != sigismember(&after->pending, n))
			tell("pending", 1);
	}
	if (strcmp(before->fds, after->fds) != 0)
		dprintf(report_fd, "changed: descriptors %s-> %s\n", before->fds, after->fds);
}

int mount_count(void)
{
	FILE *file = fopen("/proc/1/mountinfo", "re");
	int c, count = 0;

	if (file == NULL)
		return -1;
	while ((c = fgetc(file)) != EOF)
		count += c == '\n';
	fclose(file);
	return count;
}

long private_kib(void)
{
	FILE *file = fopen("/proc/self/smaps_rollup", "re");
	char line[256];
	long sum = 0, number;

	if (file == NULL)
		return -1;
	while (fgets(line, sizeof line, file) != NULL) {
		if (sscanf(line, "Private_Clean: %ld", &number) == 1 ||
		    sscanf(line, "Private_Dirty: %ld", &number) == 1)
			sum += number;
	}
	fclose(file);
	return sum;
}
