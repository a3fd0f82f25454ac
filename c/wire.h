/*
 * The only contract between C and Go: one request, one reply, each one
 * message on a SOCK_SEQPACKET socket.
 *
 * A message is a header and then entries, each an entry header and its value,
 * the value padded with zeros to a multiple of four bytes.  Integers are in
 * the machine's own order: both ends are the same build on the same machine,
 * and GOTMPNS_VERSION says so.  A string ends with its one and only NUL.
 *
 * internal/wire is the Go side; a test there reads this file and compares
 * every number, so the two cannot drift apart.
 */
#ifndef GOTMPNS_WIRE_H
#define GOTMPNS_WIRE_H

#include <stdint.h>

#define GOTMPNS_MAGIC 0x676f746du /* "gotm" */
#define GOTMPNS_VERSION 1

#define GOTMPNS_REQUEST_MAX 32768  /* bytes, header included */
#define GOTMPNS_REPLY_MAX 65536    /* bytes, header included */
#define GOTMPNS_STRING_MAX 4096    /* bytes, NUL included */
#define GOTMPNS_ATTACHMENTS_MAX 64 /* descriptors with one reply */
#define GOTMPNS_ENTRIES_MAX 512    /* entries in one message */

#define GOTMPNS_SESSIONS_DIR "/run/gotmpns/sessions"

/* Message kinds. */
#define GOTMPNS_OPEN 1
#define GOTMPNS_REPLY 2

struct gotmpns_header {
	uint32_t magic;
	uint16_t version;
	uint16_t kind;
	uint32_t length; /* of the whole message, in bytes */
	uint32_t status; /* reply: a PAM status; request: 0 */
};

struct gotmpns_entry {
	uint16_t type;
	uint16_t length; /* of the value, without its padding */
};

/* Request entries: the facts that only the login process has. */
#define GOTMPNS_UID 1     /* u32 */
#define GOTMPNS_GID 2     /* u32 */
#define GOTMPNS_DEBUG 3   /* empty: say more */
#define GOTMPNS_USER 4    /* string, and so are all that follow */
#define GOTMPNS_SHELL 5
#define GOTMPNS_SERVICE 6
#define GOTMPNS_TTY 7
#define GOTMPNS_RHOST 8
#define GOTMPNS_RUSER 9
#define GOTMPNS_CONFIG 10
#define GOTMPNS_PAM_ENV 11     /* NAME=VALUE, from pam_getenv() */
#define GOTMPNS_PROCESS_ENV 12 /* NAME=VALUE, from getenv() */

/* Reply entries: what to tell, and what to do, in order. */
#define GOTMPNS_LOG 32     /* u32 syslog priority, string */
#define GOTMPNS_SUMMARY 33 /* string: the outcome in one line, or why there is none */
#define GOTMPNS_RECORD 34  /* string: a file name in GOTMPNS_SESSIONS_DIR */
#define GOTMPNS_ENV 35     /* string for pam_putenv(): NAME=VALUE or NAME */

/* Steps of the commit. A path is absolute and has no symbolic link in it. */
#define GOTMPNS_UNSHARE 64   /* empty: a mount namespace of one's own */
#define GOTMPNS_PROPAGATE 65 /* u32 propagation, u32 recursive, string path */
#define GOTMPNS_DETACH 66    /* u64 device, u64 inode, string path */
#define GOTMPNS_ATTACH 67    /* u64 device, u64 inode, u32 descriptor, u32 directory, string path */
#define GOTMPNS_CHDIR 68     /* string path */

/* Propagation types of GOTMPNS_PROPAGATE. */
#define GOTMPNS_SLAVE 1
#define GOTMPNS_PRIVATE 2

/*
 * A device is (major << 32 | minor), as statx(2) gives them.  Device and inode
 * both 0 in GOTMPNS_ATTACH: whatever a GOTMPNS_DETACH has uncovered there.
 */

/* How the worker ends when it cannot so much as reply. */
#define GOTMPNS_EXIT_USAGE 64       /* started by hand, without a socket */
#define GOTMPNS_EXIT_CREDENTIALS 65 /* cannot become root altogether */
#define GOTMPNS_EXIT_LIBRARY 66     /* cannot load gotmpns-session.so */
#define GOTMPNS_EXIT_DESCRIPTORS 67 /* cannot set up descriptors 0 to 2 */
#define GOTMPNS_EXIT_SETUP 68       /* directory, signals, parent */
#define GOTMPNS_EXIT_MEMORY 69      /* address space too small for the library */
#define GOTMPNS_EXIT_REPLY 70       /* the login process took no reply */
#define GOTMPNS_EXIT_EXEC 71        /* the worker could not be executed at all */

#endif
