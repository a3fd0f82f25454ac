/*
 * A PAM host that does what real ones do, and what hostile ones could: words on
 * the command line, carried out in order.
 *
 *   host CONFDIR SERVICE USER WORD...
 *
 * open and close say what PAM answered, and then, a line each, what of this
 * process is not as it was before: "changed: WHAT".
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <security/pam_appl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "state.h"

static const char *user, *service, *confdir;
static pam_handle_t *pamh;
static char **words; /* what is left of the command line */

static const char *next_word(void)
{
	if (*words == NULL) {
		fprintf(stderr, "host: a word is missing\n");
		_exit(2);
	}
	return *words++;
}

/* Reports what the user would see. */
static int converse(int n, const struct pam_message **m, struct pam_response **r, void *data)
{
	(void)data;
	for (int i = 0; i < n; i++)
		dprintf(report_fd, "%s=%s\n", m[i]->msg_style == PAM_ERROR_MSG ? "error" : "info", m[i]->msg);
	*r = calloc((size_t)n, sizeof **r);
	return *r == NULL ? PAM_BUF_ERR : PAM_SUCCESS;
}

static const struct pam_conv conversation = {converse, NULL};
static int flags;

static void start(void)
{
	if (pamh == NULL && pam_start_confdir(service, user, &conversation, confdir, &pamh) != PAM_SUCCESS)
		_exit(2);
}

static void obey(const char *word);

static int do_open(void)
{
	static struct state before, after; /* too large for small stacks */
	int status;

	start();
	state_take(&before);
	status = pam_open_session(pamh, flags);
	state_take(&after);
	dprintf(report_fd, "open=%d\n", status);
	state_compare(&before, &after);
	return status;
}

/* Without a look at this process: its working directory may never answer. */
static void just_open(void)
{
	start();
	dprintf(report_fd, "open=%d\n", pam_open_session(pamh, flags));
}

static void do_close(void)
{
	static struct state before, after;
	int status;

	start();
	state_take(&before);
	status = pam_close_session(pamh, 0);
	state_take(&after);
	dprintf(report_fd, "close=%d\n", status);
	state_compare(&before, &after);
}

static void in_child(void (*act)(void))
{
	pid_t pid = fork();

	if (pid == 0) {
		act();
		_exit(0);
	}
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

static void open_only(void)
{
	(void)do_open();
}

/* ---- threads ---- */

static atomic_bool busy_enough, stop;

/* Holds the locks of the dynamic linker and of malloc as much as it can. */
static void *busy(void *unused)
{
	(void)unused;
	while (!atomic_load(&stop)) {
		void *library = dlopen("libutil.so.1", RTLD_NOW);
		void *memory = malloc(100000);

		atomic_store(&busy_enough, true);
		free(memory);
		if (library != NULL)
			dlclose(library);
	}
	return NULL;
}

static void *open_in_thread(void *unused)
{
	(void)unused;
	(void)do_open();
	return NULL;
}

static void thread_open(void)
{
	pthread_t other, opener;

	start();
	if (pthread_create(&other, NULL, busy, NULL) != 0)
		_exit(2);
	while (!atomic_load(&busy_enough))
		sched_yield();
	if (pthread_create(&opener, NULL, open_in_thread, NULL) != 0)
		_exit(2);
	pthread_join(opener, NULL);
	atomic_store(&stop, true);
	pthread_join(other, NULL);
}

static void *open_often(void *unused)
{
	pam_handle_t *handle = NULL;
	int status = pam_start_confdir(service, user, &conversation, confdir, &handle);

	(void)unused;
	for (int i = 0; i < 10 && status == PAM_SUCCESS; i++) {
		status = pam_open_session(handle, 0);
		(void)pam_close_session(handle, 0);
	}
	(void)pam_end(handle, 0);
	dprintf(report_fd, "thread=%d\n", status);
	return NULL;
}

static void threads_open(void)
{
	static struct state before, after;
	long n = strtol(next_word(), NULL, 10);
	pthread_t threads[16];

	state_take(&before);
	for (long i = 0; i < n && i < 16; i++) {
		if (pthread_create(&threads[i], NULL, open_often, NULL) != 0)
			_exit(2);
	}
	for (long i = 0; i < n && i < 16; i++)
		pthread_join(threads[i], NULL);
	state_take(&after);
	state_compare(&before, &after);
}

/* ---- signals ---- */

static void reap_all(int number)
{
	int error = errno;

	(void)number;
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	errno = error;
}

/* As vsftpd has it: waits for the child that it expects to have ended. */
static void wait_in_handler(int number)
{
	int error = errno;

	(void)number;
	(void)waitpid(-1, NULL, 0);
	signals_seen++;
	errno = error;
}

static void set_action(void (*handler)(int), int action_flags)
{
	struct sigaction action = {.sa_flags = action_flags};

	action.sa_handler = handler;
	(void)sigaction(SIGCHLD, &action, NULL);
}

static void set_mask(int how)
{
	sigset_t child;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(how, &child, NULL);
}

/* Waits for all children there are, as a subreaper does. */
static void reap(void)
{
	int count = 0;

	while (waitpid(-1, NULL, __WALL) > 0)
		count++;
	dprintf(report_fd, "reaped=%d\n", count);
}

static atomic_int found;

/* Waits for any child, all the time. */
static void *wait_for_any(void *options)
{
	while (!atomic_load(&stop)) {
		if (waitpid(-1, NULL, *(int *)options) > 0)
			atomic_fetch_add(&found, 1);
		sched_yield();
	}
	return NULL;
}

/* A child of the host's own keeps that thread asleep in waitpid(2). */
static void open_beside_waiter(int options)
{
	pthread_t waiter;
	pid_t child = fork();

	if (child == 0) {
		for (;;)
			pause();
	}
	if (pthread_create(&waiter, NULL, wait_for_any, &options) != 0)
		_exit(2);
	start();
	(void)do_open();
	(void)kill(child, SIGKILL);
	while (kill(child, 0) == 0)
		sched_yield();
	atomic_store(&stop, true);
	pthread_join(waiter, NULL);
	dprintf(report_fd, "found=%d\n", atomic_load(&found));
}

static void set_all(void (*handler)(int))
{
	for (int n = 1; n < NSIG; n++) {
		if (n != SIGSEGV && n != SIGBUS) /* the sanitizers' */
			(void)signal(n, handler);
	}
}

static void block_all(void)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
}

/* ---- limits and filters ---- */

static void set_rlimit(void)
{
	static const struct {
		const char *name;
		__rlimit_resource_t resource;
	} names[] = {{"AS", RLIMIT_AS},	      {"NPROC", RLIMIT_NPROC}, {"NOFILE", RLIMIT_NOFILE},
		     {"FSIZE", RLIMIT_FSIZE}, {"CORE", RLIMIT_CORE},   {"CPU", RLIMIT_CPU},
		     {"STACK", RLIMIT_STACK}, {"DATA", RLIMIT_DATA},   {"MEMLOCK", RLIMIT_MEMLOCK}};
	const char *name = next_word();
	struct rlimit limit;

	limit.rlim_cur = strtoul(next_word(), NULL, 10);
	const char *hard = next_word();
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		struct rlimit now;

		if (strcmp(names[i].name, name) != 0)
			continue;
		getrlimit(names[i].resource, &now);
		limit.rlim_max = strcmp(hard, "-") == 0 ? now.rlim_max : strtoul(hard, NULL, 10);
		if (setrlimit(names[i].resource, &limit) == 0)
			return;
	}
	perror("host: setrlimit");
	_exit(2);
}

/* From now on, in this process and what it starts, one system call fails. */
static void deny(void)
{
	unsigned number = (unsigned)strtoul(next_word(), NULL, 10);
	unsigned error = (unsigned)strtoul(next_word(), NULL, 10);
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof code / sizeof code[0], code};

	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
		perror("host: seccomp");
		_exit(2);
	}
}

/* As su has it, started by a user: real ids his, effective ones root's. */
static void like_setuid(void)
{
	if (setresgid(1000, 1000, 1000) != 0 || setresuid(1000, 0, 0) != 0)
		_exit(2);
}

static void drop(void)
{
	if (setresgid(1000, 1000, 1000) != 0 || setresuid(1000, 1000, 1000) != 0)
		_exit(2);
}

/* Opens and closes over and over: what grows? */
static void repeat(void)
{
	static struct state before, after;
	long times = strtol(next_word(), NULL, 10), kib = 0;
	char data[512];

	for (long i = 0; i < times; i++) {
		if (i == times / 10) {
			state_take(&before);
			kib = private_kib();
		}
		start();
		if (pam_open_session(pamh, 0) != PAM_SUCCESS)
			dprintf(report_fd, "open failed in round %ld\n", i);
		(void)pam_close_session(pamh, 0);
		(void)pam_end(pamh, 0);
		pamh = NULL;
	}
	state_take(&after);
	snprintf(data, sizeof data, "mounts=%d kib=%ld\n", mount_count(), private_kib() - kib);
	dprintf(report_fd, "%s", data);
	state_compare(&before, &after);
}

static void run(void)
{
	const char *command = next_word();
	pid_t pid = fork();

	if (pid == 0) {
		dup2(report_fd, 1);
		execl("/bin/sh", "sh", "-c", command, (char *)NULL);
		_exit(127);
	}
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

static void many_fds(void)
{
	for (long n = strtol(next_word(), NULL, 10); n > 0; n--)
		(void)open("/dev/null", O_RDONLY);
}

/* Leaves so many descriptors free below the limit. */
static void free_fds(void)
{
	long n = strtol(next_word(), NULL, 10);
	int fd, first = open("/dev/null", O_RDONLY);

	if (first < 0)
		return; /* none to begin with */
	while ((fd = open("/dev/null", O_RDONLY)) >= 0)
		;
	for (fd = first; n > 0 && fd < 65536; fd++) {
		if (fd != report_fd && close(fd) == 0)
			n--;
	}
}

static void change_root(void)
{
	const char *path = next_word();

	if (chroot(path) != 0 || chdir("/") != 0)
		_exit(2);
}

static void become_root(void)
{
	if (setresgid(0, 0, 0) != 0 || setresuid(0, 0, 0) != 0)
		_exit(2);
}

static void put_variable(void)
{
	start();
	(void)pam_putenv(pamh, next_word());
}

static void get_variable(void)
{
	const char *name = next_word(), *value = pam_getenv(pamh, name);

	dprintf(report_fd, "%s=%s\n", name, value == NULL ? "(unset)" : value);
}

static void print_directory(void)
{
	char path[4096];

	dprintf(report_fd, "cwd=%s\n", getcwd(path, sizeof path) == NULL ? strerror(errno) : path);
}

static void deleted_cwd(void)
{
	if (mkdir("/opt/gone", 0755) != 0 || chdir("/opt/gone") != 0 || rmdir("/opt/gone") != 0)
		_exit(2);
}

static void reap_all_children(void) { set_action(reap_all, SA_RESTART); }
static void ignore_sigchld(void) { set_action(SIG_IGN, 0); }
static void no_zombies(void) { set_action(reap_all, SA_NOCLDWAIT); }
static void ignore_all(void) { set_all(SIG_IGN); }
static void be_subreaper(void) { (void)prctl(PR_SET_CHILD_SUBREAPER, 1); }
static void open_beside_wait(void) { open_beside_waiter(0); }
static void open_beside_wall(void) { open_beside_waiter(__WALL); }
static void open_in_child(void) { in_child(open_only); }
static void close_in_child(void) { in_child(do_close); }
static void be_silent(void) { flags = PAM_SILENT; }

/* Serves another user as well, as a file server does: the session that is open stays. */
static void serve_another(void)
{
	pam_handle_t *before = pamh;

	pamh = NULL;
	user = next_word();
	obey(next_word());
	if (pamh != NULL)
		(void)pam_end(pamh, 0);
	pamh = before;
}

static void block_and_wait(void)
{
	set_action(wait_in_handler, SA_RESTART);
	set_mask(SIG_BLOCK);
}

static void unblock(void)
{
	set_mask(SIG_UNBLOCK);
	dprintf(report_fd, "signals=%d\n", signals_seen);
}

static void set_umask(void)
{
	(void)umask((mode_t)strtoul(next_word(), NULL, 8));
}

static void close_standard(void)
{
	for (int fd = 0; fd < 3; fd++)
		(void)close(fd);
}

static void change_directory(void)
{
	if (chdir(next_word()) != 0)
		_exit(2);
}

static void set_environment(void)
{
	const char *name = next_word();

	(void)setenv(name, next_word(), 1);
}

static const struct {
	const char *word;
	void (*act)(void);
} acts[] = {
	{"open", open_only},
	{"just-open", just_open},
	{"close", do_close},
	{"start", start},
	{"fork-open", open_in_child},
	{"fork-close", close_in_child},
	{"thread-open", thread_open},
	{"threads-open", threads_open},
	{"open-beside-wait", open_beside_wait},
	{"open-beside-wall", open_beside_wall},
	{"reap-all", reap_all_children},
	{"ignore-sigchld", ignore_sigchld},
	{"no-zombies", no_zombies},
	{"block-and-wait", block_and_wait},
	{"unblock", unblock},
	{"subreaper", be_subreaper},
	{"reap", reap},
	{"ignore-all", ignore_all},
	{"block-all", block_all},
	{"rlimit", set_rlimit},
	{"deny", deny},
	{"like-setuid", like_setuid},
	{"become-root", become_root},
	{"drop", drop},
	{"repeat", repeat},
	{"run", run},
	{"many-fds", many_fds},
	{"free-fds", free_fds},
	{"deleted-cwd", deleted_cwd},
	{"umask", set_umask},
	{"close-std", close_standard},
	{"chdir", change_directory},
	{"chroot", change_root},
	{"cwd", print_directory},
	{"setenv", set_environment},
	{"putenv", put_variable},
	{"getenv", get_variable},
	{"silent", be_silent},
	{"another", serve_another},
};

static void obey(const char *word)
{
	for (size_t i = 0; i < sizeof acts / sizeof acts[0]; i++) {
		if (strcmp(acts[i].word, word) == 0) {
			acts[i].act();
			return;
		}
	}
	fprintf(stderr, "host: unknown word %s\n", word);
	_exit(2);
}

int main(int argc, char **argv)
{
	if (argc < 5)
		return 2;
	/* Beyond what close-std closes and what limits on descriptors cut off late. */
	report_fd = fcntl(1, F_DUPFD_CLOEXEC, 9);
	confdir = argv[1];
	service = argv[2];
	user = argv[3];
	words = argv + 4;
	while (*words != NULL)
		obey(*words++);
	if (pamh != NULL)
		(void)pam_end(pamh, 0);
	return 0;
}
