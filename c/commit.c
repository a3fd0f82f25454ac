/*
 * The commit: the handful of calls that only the login process can make for
 * itself, and the way back from each of them.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "shim.h"

/* sys/mount.h and linux/mount.h do not go together before glibc 2.37. */
extern int umount2(const char *target, int flags);
#define DETACH_LAZILY 2 /* MNT_DETACH */
#define AS_SLAVE (1u << 19)   /* MS_SLAVE */
#define AS_PRIVATE (1u << 18) /* MS_PRIVATE */
#define WHOLE_TREE 0x8000u    /* AT_RECURSIVE */

static int open_path(const char *path, bool directory)
{
	struct open_how how = {
		/* Not O_NOFOLLOW: with O_PATH it would open a link instead of refusing it. */
		.flags = O_PATH | O_CLOEXEC | (uint64_t)(directory ? O_DIRECTORY : 0),
		.resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};

	return (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
}

/* Opens PATH and makes sure that it is what the worker saw there. */
static int open_same(const struct entry *step, bool directory, struct reason *why)
{
	int fd = open_path(step->string, directory);
	struct statx now;

	if (fd < 0) {
		because(why, "cannot open %s: %s%s", step->string, strerror(errno),
			errno == ELOOP	  ? " (a symbolic link is in it; name the real path)"
			: errno == ENOSYS ? "; Linux 5.12 or later is needed"
					  : "");
		return -1;
	}
	if (step->device == 0 && step->inode == 0)
		return fd;
	if (statx(fd, "", AT_EMPTY_PATH | AT_NO_AUTOMOUNT, STATX_INO, &now) == 0 &&
	    now.stx_ino == step->inode &&
	    ((uint64_t)now.stx_dev_major << 32 | now.stx_dev_minor) == step->device)
		return fd;
	because(why, "cannot use %s: something else has taken its place meanwhile", step->string);
	(void)close(fd);
	return -1;
}

/* ---- the way back ---- */

static int open_here(const char *path)
{
	return open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* Always by chroot(2), also where root is the namespace's: one way is easier to trust than two. */
static bool restore_place(const struct way *way)
{
	return fchdir(way->root) == 0 && chroot(".") == 0 && fchdir(way->cwd) == 0;
}

/* Into the remembered namespace, which moves root and cwd, and then those two. */
static bool return_to(const struct way *way)
{
	return setns(way->ns, CLONE_NEWNS) == 0 && restore_place(way);
}

void way_close(struct way *way)
{
	int *fds[] = {&way->ns, &way->root, &way->cwd};

	for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++) {
		if (*fds[i] >= 0)
			(void)close(*fds[i]);
		*fds[i] = -1;
	}
}

bool way_back(struct way *way, struct reason *why)
{
	bool back = true;

	if (way->left && !return_to(way)) {
		because(why, "cannot return to the mount namespace of before: %s", strerror(errno));
		back = false;
	}
	way->left = false;
	way_close(way);
	return back;
}

/*
 * Remembers where we are, and walks the way back once before it is needed: a
 * kernel, a container or a filter that would refuse it then says so now, while
 * nothing has happened.
 */
static bool way_prepare(struct way *way, struct reason *why)
{
	*way = (struct way)WAY_INIT;
	way->ns = open("/proc/thread-self/ns/mnt", O_RDONLY | O_CLOEXEC);
	if (way->ns < 0) {
		because(why, "cannot open /proc/thread-self/ns/mnt: %s%s", strerror(errno),
			errno == EACCES ? "; SELinux or AppArmor may keep this process from it"
					: "; is /proc mounted here?");
		return false;
	}
	way->root = open_here("/");
	way->cwd = open_here(".");
	if (way->root < 0 || way->cwd < 0) {
		because(why, "cannot open the root and the working directory: %s", strerror(errno));
		return false;
	}
	/* unshare(CLONE_NEWNS) would do this anyhow, and setns asks for it. */
	if (unshare(CLONE_FS) != 0) {
		because(why, "cannot unshare the file system attributes: %s", strerror(errno));
		return false;
	}
	/*
	 * First what changes nothing even where it fails half way: root may have
	 * no right to return to a working directory on a user's FUSE mount.
	 */
	if (!restore_place(way)) {
		because(why, "cannot come back to the working directory of before (fchdir, chroot): %s",
			strerror(errno));
		if (fchdir(way->cwd) != 0)
			because(why, "cannot come back to the working directory: %s", strerror(errno));
		return false;
	}
	if (!return_to(way)) {
		because(why,
			"cannot come back to the mount namespace of before (setns): %s; a container "
			"needs CAP_SYS_ADMIN and CAP_SYS_CHROOT for this",
			strerror(errno));
		return false;
	}
	return true;
}

/* ---- the steps ---- */

static bool do_unshare(struct way *way, struct reason *why)
{
	if (unshare(CLONE_NEWNS) != 0) {
		because(why, "cannot unshare the mount namespace: %s%s", strerror(errno),
			errno == EPERM ? "; this process, or its container, lacks CAP_SYS_ADMIN"
				       : "");
		return false;
	}
	way->left = true;
	return true;
}

static bool do_propagate(const struct entry *step, struct reason *why)
{
	struct mount_attr attr = {
		.propagation = step->number == GOTMPNS_SLAVE ? AS_SLAVE : AS_PRIVATE,
	};
	unsigned flags = AT_EMPTY_PATH | (step->flag ? WHOLE_TREE : 0);
	int fd = open_path(step->string, false);
	bool done;

	if (fd < 0) {
		because(why, "cannot open %s: %s", step->string, strerror(errno));
		return false;
	}
	done = syscall(SYS_mount_setattr, fd, "", flags, &attr, sizeof attr) == 0;
	if (!done)
		because(why, "cannot make the mount at %s %s (mount_setattr): %s%s", step->string,
			step->number == GOTMPNS_SLAVE ? "slave" : "private", strerror(errno),
			errno == EINVAL ? "; it is not a mount point here, as in a chroot"
			: errno == ENOSYS ? "; Linux 5.12 or later is needed"
					  : "");
	(void)close(fd);
	return done;
}

static bool do_detach(const struct entry *step, struct reason *why)
{
	int target = open_same(step, false, why);
	char path[64];
	bool done;

	if (target < 0)
		return false;
	/* By the descriptor: the path could lead elsewhere by now. */
	done = snprintf(path, sizeof path, "/proc/thread-self/fd/%d", target) < (int)sizeof path &&
	       umount2(path, DETACH_LAZILY) == 0;
	if (!done)
		because(why, "cannot detach the other user's %s: %s", step->string,
			strerror(errno));
	(void)close(target);
	return done;
}

static bool do_attach(const struct reply *reply, const struct entry *step, struct reason *why)
{
	int target = open_same(step, step->flag, why);
	bool done;

	if (target < 0)
		return false;
	done = syscall(SYS_move_mount, reply->fds[step->fd], "", target, "",
		       MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) == 0;
	if (!done)
		because(why, "cannot attach the mount to %s (move_mount): %s%s", step->string,
			strerror(errno), errno == ENOSYS ? "; Linux 5.12 or later is needed" : "");
	(void)close(target);
	return done;
}

static bool do_chdir(const struct entry *step, struct reason *why)
{
	int fd = open_path(step->string, true);
	bool done = fd >= 0 && fchdir(fd) == 0;

	if (!done)
		because(why, "cannot change directory to %s: %s", step->string, strerror(errno));
	if (fd >= 0)
		(void)close(fd);
	return done;
}

static bool carry_out(const struct reply *reply, const struct entry *step, struct way *way,
		      struct reason *why)
{
	switch (step->type) {
	case GOTMPNS_UNSHARE:
		return way_prepare(way, why) && do_unshare(way, why);
	case GOTMPNS_PROPAGATE:
		return do_propagate(step, why);
	case GOTMPNS_DETACH:
		return do_detach(step, why);
	case GOTMPNS_ATTACH:
		return do_attach(reply, step, why);
	case GOTMPNS_CHDIR:
		return do_chdir(step, why);
	default:
		return true; /* for the log or for PAM */
	}
}

bool commit(const struct reply *reply, struct way *way, struct reason *why)
{
	struct entry step;
	size_t cursor = 0;

	while (reply_next(reply, &cursor, &step)) {
		struct reason worse = {{0}};

		if (carry_out(reply, &step, way, why))
			continue;
		if (!way_back(way, &worse))
			*why = worse;
		return false;
	}
	return true;
}
