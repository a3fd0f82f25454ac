/*
 * One login, timed: what sshd or su do with a PAM stack, in a process of its
 * own, so that every sample pays for what a login pays for and the namespace
 * ends with the process.
 *
 *   bench-host [-l|-k|-e|-s FIRST|-m FROM-TO-USERS] CONFDIR SERVICE USER
 *
 * Prints the microseconds that open_session took and whether /tmp is another
 * directory since (1) or not (0). With -l it prints instead what is there after
 * it that was not there before: threads, descriptors, children, KiB of private
 * memory. With -k it keeps the session until its standard input ends. With -s it comes
 * from a session of another user, as su does. With -e it prints the microseconds that the
 * end of the process took; with -m it keeps many sessions, each in a process of its own, of
 * the users whose names are USER and a number.
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

/* Signed, because a module may also remove something. */
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

static pam_handle_t *start(char **stack, const char *user)
{
	static const struct pam_conv conversation = {converse, NULL};
	pam_handle_t *pamh = NULL;

	if (pam_start_confdir(stack[1], user, &conversation, stack[0], &pamh) != PAM_SUCCESS)
		die("pam_start_confdir");
	return pamh;
}

/* Opens a session and returns the microseconds that it took. */
static double open_session(pam_handle_t *pamh, const char *service)
{
	struct timespec from, to;
	int status;

	(void)clock_gettime(CLOCK_MONOTONIC, &from);
	status = pam_open_session(pamh, 0);
	(void)clock_gettime(CLOCK_MONOTONIC, &to);
	if (status != PAM_SUCCESS) {
		fprintf(stderr, "bench-host: %s: %s\n", service, pam_strerror(pamh, status));
		exit(1);
	}
	return microseconds(&from, &to);
}

static void wait_for_end(void)
{
	char byte;

	while (read(STDIN_FILENO, &byte, 1) > 0)
		continue;
}

/* Runs the rest of main() in a child, and returns its exit status here. */
static bool fork_rest(int *status)
{
	pid_t child = fork();

	if (child < 0)
		die("fork");
	if (child == 0)
		return true;
	if (waitpid(child, status, 0) != child)
		die("waitpid");
	*status = WIFEXITED(*status) ? WEXITSTATUS(*status) : 1;
	return false;
}

/* -e: the microseconds from the last instruction of a login process until it has gone. */
static int time_end(char **stack)
{
	struct timespec from, to;
	int ends[2];
	pid_t child;

	if (pipe(ends) != 0)
		die("pipe");
	child = fork();
	if (child == 0) {
		(void)open_session(start(stack, stack[2]), stack[1]);
		(void)clock_gettime(CLOCK_MONOTONIC, &from);
		if (write(ends[1], &from, sizeof from) != sizeof from)
			_exit(1);
		_exit(0);
	}
	if (child < 0 || read(ends[0], &from, sizeof from) != sizeof from || waitpid(child, NULL, 0) != child)
		die("the session");
	(void)clock_gettime(CLOCK_MONOTONIC, &to);
	printf("%.1f\n", microseconds(&from, &to));
	return 0;
}

/*
 * -m FROM-TO-USERS: sessions with these numbers, of so many users in turn, each in a process
 * of its own that stays until the standard input ends.
 */
static int keep_many(char **stack, const char *range)
{
	int from, to, users, ready[2];
	char byte = 0, name[64];

	if (sscanf(range, "%d-%d-%d", &from, &to, &users) != 3)
		die(range);
	for (int i = from; i < to; i++) {
		pid_t child;

		if (pipe(ready) != 0)
			die("pipe");
		child = fork();
		if (child < 0)
			die("fork");
		if (child == 0) {
			(void)close(STDOUT_FILENO); /* its end says that the parent has failed */
			(void)snprintf(name, sizeof name, "%s%d", stack[2], i % users);
			(void)open_session(start(stack, name), stack[1]);
			if (write(ready[1], &byte, 1) != 1)
				_exit(1);
			(void)close(ready[0]);
			(void)close(ready[1]);
			wait_for_end();
			_exit(0);
		}
		(void)close(ready[1]);
		if (read(ready[0], &byte, 1) != 1)
			die("a session");
		(void)close(ready[0]);
	}
	puts("open");
	(void)fflush(stdout);
	wait_for_end();
	while (wait(NULL) > 0)
		continue;
	return 0;
}

int main(int argc, char **argv)
{
	struct belongings before = {0}, after;
	struct stat outside, inside;
	pam_handle_t *pamh, *first = NULL;
	const char *su = NULL, *range = NULL;
	int mode = 0, option, status = 0;
	double took;
	char **stack;

	while ((option = getopt(argc, argv, "lkes:m:")) != -1) {
		if (option == 's')
			su = optarg;
		else if (option == 'm')
			range = optarg;
		else
			mode = option;
	}
	if (argc - optind != 3 || mode == '?') {
		fprintf(stderr, "usage: bench-host [-l|-k|-e|-s FIRST|-m FROM-TO-USERS] CONFDIR SERVICE USER\n");
		return 2;
	}
	stack = argv + optind;
	if (mode == 'e')
		return time_end(stack);
	if (range != NULL)
		return keep_many(stack, range);
	outside = stat_tmp();
	if (su != NULL) {
		first = start(stack, su);
		(void)open_session(first, stack[1]);
		outside = stat_tmp();
		if (!fork_rest(&status)) {
			(void)pam_close_session(first, 0);
			return status;
		}
	}
	pamh = start(stack, stack[2]);
	if (mode == 'l') {
		before = look(); /* once for what looking itself leaves behind */
		before = look();
	}
	took = open_session(pamh, stack[1]);
	if (mode == 'l') {
		after = look();
		printf("%ld %ld %ld %ld\n", after.threads - before.threads,
		       after.descriptors - before.descriptors, after.children - before.children,
		       after.memory - before.memory);
	} else {
		inside = stat_tmp();
		printf("%.1f %d\n", took,
		       inside.st_ino != outside.st_ino || inside.st_dev != outside.st_dev);
	}
	if (mode == 'k') {
		(void)fflush(stdout);
		wait_for_end();
	}
	(void)pam_close_session(pamh, 0);
	return pam_end(pamh, PAM_SUCCESS) == PAM_SUCCESS ? 0 : 1;
}
