/*
 * The commit: the login process enters the namespace that the worker or the
 * broker has made.  setns(2) does all of it or nothing, and after it nothing can
 * refuse, but where the login process has a root directory of its own (chroot).
 *
 * The working directory of the login process may be on a user's FUSE mount, that
 * root cannot enter or that never answers: nobody looks at it here, unless it may
 * have to be restored.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "compat.h"
#include "shim.h"

/* ---- rollback ---- */

/* Where this thread was before the commit.  Descriptors are owned. */
struct origin {
	int ns, root, cwd;
};

static void origin_close(const struct origin *origin)
{
	int fds[] = {origin->ns, origin->root, origin->cwd};

	for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++) {
		if (fds[i] >= 0)
			(void)close(fds[i]);
	}
}

/* Always by chroot(2), also where root is the namespace's: one way is easier to trust than two. */
static bool restore_directories(const struct origin *origin)
{
	return fchdir(origin->root) == 0 && chroot(".") == 0 && fchdir(origin->cwd) == 0;
}

/* Into the original namespace, which moves root and working directory, and then those two. */
static bool roll_back(const struct origin *origin)
{
	return setns(origin->ns, CLONE_NEWNS) == 0 && restore_directories(origin);
}

static bool origin_open(struct origin *origin, struct reason *reason)
{
	*origin = (struct origin){-1, -1, -1};
	origin->ns = open("/proc/thread-self/ns/mnt", O_RDONLY | O_CLOEXEC);
	if (origin->ns < 0)
		return cannot(reason, errno, errno == ENOENT ? "is /proc mounted here?" : NULL,
			      "open /proc/thread-self/ns/mnt");
	origin->root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (origin->root < 0)
		return cannot(reason, errno, NULL, "open the root directory");
	origin->cwd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (origin->cwd < 0)
		return cannot(reason, errno, NULL, "open the working directory");
	return true;
}

/*
 * Does what a rollback would do, before it is needed: a kernel, a container or a
 * filter that would refuse it refuses now, while nothing has happened.
 */
static bool rehearse(const struct origin *origin, struct reason *reason)
{
	/*
	 * First what changes nothing even where it fails half way: root may have
	 * no right to return to a working directory on a user's FUSE mount.
	 */
	if (!restore_directories(origin)) {
		int error = errno;

		if (fchdir(origin->cwd) != 0)
			error = errno;
		return cannot(reason, error, NULL,
			      "return to the current root and working directory (fchdir, chroot)");
	}
	if (!roll_back(origin))
		return cannot(reason, errno, NULL,
			      "return to the current mount namespace (setns, fchdir, chroot)");
	return true;
}

/* ---- join ---- */

/*
 * Not left to setns(2) alone, which takes a pidfd, too.  Where the question itself
 * is denied (SELinux has a permission for it), setns(2) answers it.
 */
static bool is_mount_namespace(int fd, struct reason *reason)
{
	int type = ioctl(fd, NS_GET_NSTYPE);

	if (type == CLONE_NEWNS || (type < 0 && errno != ENOTTY))
		return true;
	set_reason(reason, "cannot enter the user's mount namespace: the descriptor in the reply "
			   "is something else");
	return false;
}

static bool enter(int ns, struct reason *reason)
{
	return setns(ns, CLONE_NEWNS) == 0 ||
	       cannot(reason, errno, NULL, "enter the user's mount namespace (setns)");
}

/* For a login process in a chroot: the same root directory, as the namespace has it. */
static bool enter_with_root(int ns, int root, struct reason *reason)
{
	struct origin origin;
	bool entered = origin_open(&origin, reason) && rehearse(&origin, reason) &&
		       enter(ns, reason);

	if (entered && (fchdir(root) != 0 || chroot(".") != 0)) {
		entered = cannot(reason, errno, NULL,
				 "enter the root directory of the login process in the user's "
				 "mount namespace (fchdir, chroot)");
		/* It was possible a moment ago. */
		if (!roll_back(&origin))
			(void)cannot(reason, errno, NULL, "return to the original mount namespace");
	}
	origin_close(&origin);
	return entered;
}

static bool join(const struct reply *reply, const struct entry *step, struct reason *reason,
		 struct reason *warning)
{
	int ns = reply->fds[step->numbers[0]];
	uint32_t root = step->numbers[1], cwd = step->numbers[2];

	if (!is_mount_namespace(ns, reason))
		return false;
	/* setns(2) asks for it: other threads of the host keep their directories. */
	if (unshare(CLONE_FS) != 0)
		return cannot(reason, errno, NULL, "unshare the file system attributes");
	if (root == GOTMPNS_NONE ? !enter(ns, reason)
				 : !enter_with_root(ns, reply->fds[root], reason))
		return false;
	/* The working directory is now the root directory; there it stays where this fails. */
	if (cwd != GOTMPNS_NONE && fchdir(reply->fds[cwd]) != 0)
		(void)cannot(warning, errno, "the session starts in the root directory",
			     "enter the working directory in the user's mount namespace");
	return true;
}

bool commit(const struct reply *reply, struct reason *reason, struct reason *warning)
{
	struct entry step;
	size_t cursor = 0;

	while (reply_next(reply, &cursor, &step)) {
		if (step.type == GOTMPNS_JOIN)
			return join(reply, &step, reason, warning);
	}
	return true; /* an exempt user */
}
