/*
 * Kernel interfaces that older headers lack (glibc 2.31 with those of Linux
 * 5.4): the kernel decides what there is, not the machine of the build.
 */
#ifndef GOTMPNS_COMPAT_H
#define GOTMPNS_COMPAT_H

#include <features.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#ifndef __GLIBC__
#error "glibc is needed: a Go c-shared library uses initial-exec TLS, and musl cannot load that with dlopen()"
#endif

/* The same numbers on every architecture but alpha, whose headers must have them. */
#ifndef __alpha__
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef SYS_clone3
#define SYS_clone3 435
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#endif

#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x00001000
#endif
#ifndef NS_GET_NSTYPE
#define NS_GET_NSTYPE _IO(0xb7, 3)
#endif
#ifndef PR_GET_TID_ADDRESS
#define PR_GET_TID_ADDRESS 40
#endif

/* CLONE_INTO_CGROUP and struct clone_args as Linux 5.7 has them. */
#define GOTMPNS_CLONE_INTO_CGROUP 0x200000000ULL
struct gotmpns_clone_args {
	uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid,
		set_tid_size, cgroup;
};

/* What to do about an ERROR of the C library's loader. */
static inline const char *loader_hint(const char *error)
{
	return strstr(error, "`GLIBC_") != NULL ?
		       "the C library of this system is too old for this build" :
		       "is the installation complete, and made for this system?";
}

#endif
