/*
 * gotmpns: the command in PATH. For "gotmpns run" it becomes gotmpns-run, for everything else
 * gotmpns-full. Both are Go programs.
 *
 * Why C: a process with threads cannot enter a user namespace (unshare(2)), and every Go program
 * has threads before any code of ours runs. So the namespaces of a user without privileges are
 * created here, before Go starts. Everything that is a matter of choice, and every explanation
 * of what failed here, is left to the Go programs.
 *
 * Why without the C library: loading it takes longer than all that is done here (start.h).
 *
 * This program is not setuid: its caller gets nothing that they could not do themselves.
 */
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "start.h"

#define RUN GOTMPNS_LIBEXEC "/gotmpns-run"
#define FULL GOTMPNS_LIBEXEC "/gotmpns-full"
/* The name that gotmpns-run has in the namespaces, before what the caller was allowed to do. */
#define ENTERED "gotmpns-entered:" /* internal/run/caller.go */
#define CAPABILITY_BITS 64

/* What the caller may do: the sets of capabilities(7), as bits, and the securebits. */
struct privileges {
	uint64_t effective, permitted, inheritable, bounding, ambient, securebits;
};
#define PRIVILEGE_WORDS 6

/* ENTERED, six numbers of 16 hexadecimal digits with a comma or the end after each. */
static char entered_name[sizeof(ENTERED) + sizeof("0123456789abcdef") * PRIVILEGE_WORDS];

static bool equal(const char *a, const char *b)
{
	while (*a != '\0' && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

static size_t length(const char *text)
{
	size_t n = 0;

	while (text[n] != '\0')
		n++;
	return n;
}

static void print(const char *text)
{
	(void)call(SYS_write, 2, (long)text, (long)length(text), 0, 0);
}

/* Writes value in a base of 2 to 16, and returns the end, which is not terminated. */
static char *put_number(char *out, uint64_t value, unsigned base)
{
	char digits[20];
	size_t n = 0;

	do {
		digits[n++] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value != 0);
	while (n > 0)
		*out++ = digits[--n];
	return out;
}

/* ---- privileges ---- */

static bool read_privileges(struct privileges *p)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{0}};
	long bits;

	if (call(SYS_capget, (long)&header, (long)data, 0, 0, 0) != 0)
		return false;
	p->effective = (uint64_t)data[1].effective << 32 | data[0].effective;
	p->permitted = (uint64_t)data[1].permitted << 32 | data[0].permitted;
	p->inheritable = (uint64_t)data[1].inheritable << 32 | data[0].inheritable;
	for (long c = 0; c < CAPABILITY_BITS; c++) {
		bits = call(SYS_prctl, PR_CAPBSET_READ, c, 0, 0, 0);
		if (bits < 0)
			break; /* EINVAL: the kernel has no more of them */
		p->bounding |= (uint64_t)bits << c;
		bits = call(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, c, 0, 0);
		if (bits > 0)
			p->ambient |= (uint64_t)1 << c;
	}
	bits = call(SYS_prctl, PR_GET_SECUREBITS, 0, 0, 0, 0);
	if (bits < 0)
		return false;
	p->securebits = (uint64_t)bits;
	return true;
}

/* Without ambient capabilities, the execution of gotmpns-run would drop them. */
static bool keep_capabilities(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{0}};

	if (call(SYS_capget, (long)&header, (long)data, 0, 0, 0) != 0)
		return false;
	for (int i = 0; i < 2; i++)
		data[i].inheritable = data[i].permitted;
	if (call(SYS_capset, (long)&header, (long)data, 0, 0, 0) != 0)
		return false;
	for (long c = 0; c < CAPABILITY_BITS; c++)
		if (call(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, c, 0, 0) != 0)
			return c > CAP_SYS_ADMIN;
	return true;
}

/* ---- namespaces ---- */

/* Writes text to a file of this process; dir is its directory in /proc. */
static bool write_file(long dir, const char *name, const char *text, size_t size)
{
	long fd = call(SYS_openat, dir, (long)name, O_WRONLY | O_CLOEXEC, 0, 0);

	if (fd < 0)
		return false;
	long written = call(SYS_write, fd, (long)text, (long)size, 0, 0);
	(void)call(SYS_close, fd, 0, 0, 0, 0);
	return written == (long)size;
}

/* Maps an id of the caller to itself; nobody else is known in the namespace. */
static bool map_id(long dir, const char *name, long id)
{
	char text[2 * 20 + 4], *end = text;

	for (int i = 0; i < 2; i++) {
		end = put_number(end, (uint64_t)id, 10);
		*end++ = ' ';
	}
	*end++ = '1';
	return write_file(dir, name, text, (size_t)(end - text));
}

/*
 * Enters a user namespace in which the caller has the ids that they had, and a mount namespace
 * that belongs to it. If the kernel refuses, nothing has changed, and gotmpns-run explains it.
 */
static bool enter_namespaces(void)
{
	/* Before this process may be unable to return: the maps are in /proc. */
	long uid = call(SYS_geteuid, 0, 0, 0, 0, 0), gid = call(SYS_getegid, 0, 0, 0, 0, 0);
	long dir = call(SYS_openat, AT_FDCWD, (long)"/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC, 0, 0);

	if (dir < 0)
		return false;
	if (call(SYS_unshare, CLONE_NEWUSER | CLONE_NEWNS, 0, 0, 0, 0) != 0) {
		(void)call(SYS_close, dir, 0, 0, 0, 0);
		return false;
	}
	if (!write_file(dir, "setgroups", "deny", 4) || !map_id(dir, "uid_map", uid) ||
	    !map_id(dir, "gid_map", gid) || !keep_capabilities()) {
		print("gotmpns: error: cannot map the user into a user namespace: the system "
		      "forbids it; ask root to run the command for you\n");
		leave(1);
	}
	(void)call(SYS_close, dir, 0, 0, 0, 0);
	return true;
}

/*
 * Whether the namespaces are to be created here. A pid namespace begins with a child, which
 * gotmpns-run starts. If this misjudges an odd command line, gotmpns-run starts a child where
 * none was needed, or creates a user namespace in this one.
 */
static bool wants_namespaces(char **words, const struct privileges *p)
{
	if (p->effective & (uint64_t)1 << CAP_SYS_ADMIN)
		return false;
	for (; *words != NULL && !equal(*words, "--"); words++)
		if (equal(*words, "--pid"))
			return false;
	return true;
}

static void name_entered(const struct privileges *p)
{
	const uint64_t numbers[PRIVILEGE_WORDS] = {p->effective, p->permitted, p->inheritable,
						   p->bounding, p->ambient, p->securebits};
	char *out = entered_name;

	for (const char *c = ENTERED; *c != '\0'; c++)
		*out++ = *c;
	for (int i = 0; i < PRIVILEGE_WORDS; i++) {
		if (i > 0)
			*out++ = ',';
		out = put_number(out, numbers[i], 16);
	}
	*out = '\0';
}

/* ---- */

static int execute(const char *program, char **argv, char **envp)
{
	char number[20] = {0};
	long failed = call(SYS_execve, (long)program, (long)argv, (long)envp, 0, 0);

	(void)put_number(number, (uint64_t)-failed, 10);
	print("gotmpns: error: cannot execute ");
	print(program);
	print(": error ");
	print(number);
	print(" of execve(2); if it is missing, install the package again\n");
	return 126;
}

int front(int argc, char **argv, char **envp)
{
	struct privileges before = {0};
	static char name[] = "gotmpns";

	if (argc < 1)
		return 126;
	argv[0] = name; /* the other one is given by this program only */
	if (argc < 2 || !equal(argv[1], "run"))
		return execute(FULL, argv, envp);
	if (read_privileges(&before) && wants_namespaces(argv + 2, &before) && enter_namespaces()) {
		name_entered(&before);
		argv[0] = entered_name;
	}
	return execute(RUN, argv, envp);
}
