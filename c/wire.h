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
#define GOTMPNS_VERSION 2

#define GOTMPNS_REQUEST_MAX 32768 /* bytes, header included */
#define GOTMPNS_REPLY_MAX 65536   /* bytes, header included */
#define GOTMPNS_STRING_MAX 4096   /* bytes, NUL included */
#define GOTMPNS_DESCRIPTORS_MAX 3 /* descriptors with one reply */
#define GOTMPNS_ENTRIES_MAX 512   /* entries in one message */

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
#define GOTMPNS_DEBUG 3   /* empty: log more */
#define GOTMPNS_USER 4    /* string, and so are all that follow */
#define GOTMPNS_SHELL 5
#define GOTMPNS_SERVICE 6
#define GOTMPNS_TTY 7
#define GOTMPNS_RHOST 8
#define GOTMPNS_RUSER 9
#define GOTMPNS_CONFIG 10
#define GOTMPNS_PAM_ENV 11     /* NAME=VALUE, from pam_getenv() */
#define GOTMPNS_PROCESS_ENV 12 /* NAME=VALUE, from getenv() */
#define GOTMPNS_HOME 13        /* the home directory, from the passwd database */

/* Reply entries: what to report, and what to do. */
#define GOTMPNS_LOG 32     /* u32 syslog priority, string */
#define GOTMPNS_SUMMARY 33 /* string: the outcome in one line, or the reason for a refusal */
#define GOTMPNS_RECORD 34  /* string: UID/PID-START-RANDOM, a file below GOTMPNS_SESSIONS_DIR */
#define GOTMPNS_ENV 35     /* string for pam_putenv(): NAME=VALUE or NAME */
#define GOTMPNS_TELL 36    /* string: a line for the user, shown after the commit */

/*
 * The one step of the commit, at most once in a reply: join a mount namespace.
 * Three u32, each an index into the reply's descriptors: the namespace; the
 * root directory; the working directory.  The last two may be GOTMPNS_NONE:
 * then the root, or the working directory, is the root of the namespace.
 */
#define GOTMPNS_JOIN 64
#define GOTMPNS_NONE 0xffffffffu

/* The statuses of a reply: PAM_SUCCESS, PAM_SYSTEM_ERR, PAM_BUF_ERR, PAM_USER_UNKNOWN. */

#endif
