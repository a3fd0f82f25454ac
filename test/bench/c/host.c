/*
 * One login, timed: what sshd or su do with a PAM stack, in a process of its
 * own, so that every sample pays for what a login pays for and the namespace
 * ends with the process.
 *
 *   bench-host [-l|-k] CONFDIR SERVICE USER
 *
 * Prints the microseconds that open_session took and whether /tmp is another
 * directory since (1) or not (0). With -l it prints instead what is there after
 * it that was not there before: threads, descriptors, children, KiB of private
 * memory. With -k it keeps the session until its standard input ends.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <security/pam_appl.h>

/* Signed, because a module may also take something away. */
struct belongings {
	long threads, descriptors, children, memory;
};

static void die(const char *what)
{
	fprintf(stderr, "bench-host: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int converse(int count, const struct pam_message **messages,
		    struct pam_response **responses, void *data)
{
	(void)count;
	(void)messages;
	(void)responses;
	(void)data;
	return PAM_CONV_ERR; /* a session has nothing to ask */
}

static long entries(const char *path)
{
	DIR *dir = opendir(path);
	long count = 0;

	if (dir == NULL)
		die(path);
	for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
		count += entry->d_name[0] != '.';
	(void)closedir(dir);
	return count;
}

/* All values of a field of smaps_rollup together, in KiB. */
static long kilobytes(const char *text, const char *field)
{
	const char *found = strstr(text, field);

	if (found == NULL)
		die(field);
	return strtol(found + strlen(field), NULL, 10);
}

static long private_memory(void)
{
	static char text[4096]; /* not on the stack, which would grow by it */
	int fd = open("/proc/self/smaps_rollup", O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

	if (length < 0)
		die("/proc/self/smaps_rollup");
	text[length] = '\0';
	(void)close(fd);
	return kilobytes(text, "Private_Clean:") + kilobytes(text, "Private_Dirty:");
}

/* Anything but "no children" counts, one that is alive or a zombie. */
static bool has_children(void)
{
	siginfo_t info;

	return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

static struct belongings look(void)
{
	return (struct belongings){
		.threads = entries("/proc/self/task"),
		.descriptors = entries("/proc/self/fd"),
		.children = has_children(),
		.memory = private_memory(),
	};
}

static double microseconds(const struct timespec *from, const struct timespec *to)
{
	return (double)(to->tv_sec - from->tv_sec) * 1e6 +
	       (double)(to->tv_nsec - from->tv_nsec) / 1e3;
}

static struct stat stat_tmp(void)
{
	struct stat info;

	if (stat("/tmp", &info) != 0)
		die("/tmp");
	return info;
}

int main(int argc, char **argv)
{
	const struct pam_conv conversation = {converse, NULL};
	bool left = argc == 5 && strcmp(argv[1], "-l") == 0;
	bool keep = argc == 5 && strcmp(argv[1], "-k") == 0;
	pam_handle_t *pamh = NULL;
	struct belongings before = {0}, after;
	struct stat outside, inside;
	struct timespec from, to;
	int status;

	if (argc != 4 && !left && !keep) {
		fprintf(stderr, "usage: bench-host [-l|-k] CONFDIR SERVICE USER\n");
		return 2;
	}
	argv += left || keep;
	if (pam_start_confdir(argv[2], argv[3], &conversation, argv[1], &pamh) != PAM_SUCCESS)
		die("pam_start_confdir");
	outside = stat_tmp();
	if (left) {
		before = look(); /* once for what looking itself leaves behind */
		before = look();
	}
	(void)clock_gettime(CLOCK_MONOTONIC, &from);
	status = pam_open_session(pamh, 0);
	(void)clock_gettime(CLOCK_MONOTONIC, &to);
	if (status != PAM_SUCCESS) {
		fprintf(stderr, "bench-host: %s: %s\n", argv[2], pam_strerror(pamh, status));
		return 1;
	}
	if (left) {
		after = look();
		printf("%ld %ld %ld %ld\n", after.threads - before.threads,
		       after.descriptors - before.descriptors, after.children - before.children,
		       after.memory - before.memory);
	} else {
		inside = stat_tmp();
		printf("%.1f %d\n", microseconds(&from, &to),
		       inside.st_ino != outside.st_ino || inside.st_dev != outside.st_dev);
	}
	if (keep) {
		char byte;

		(void)fflush(stdout);
		while (read(STDIN_FILENO, &byte, 1) > 0)
			continue;
	}
	(void)pam_close_session(pamh, 0);
	return pam_end(pamh, PAM_SUCCESS) == PAM_SUCCESS ? 0 : 1;
}
