/* Reasons and log lines. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#include <linux/capability.h>
#include <security/pam_ext.h>

#include "shim.h"

void set_reason(struct reason *reason, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(reason->text, sizeof reason->text, format, arguments);
	va_end(arguments);
}

/* What an administrator looks at first, for the errors that say too little by themselves. */
static const struct {
	int error;
	const char *hint;
} hints[] = {
	{EPERM, "the login process, or its container, needs CAP_SYS_ADMIN and CAP_SYS_CHROOT"},
	{EACCES, "SELinux or AppArmor may deny it; look for denials in the kernel log"},
	{ENOSYS, "Linux 5.12 or later is needed"},
	{EMFILE, "the limit on open files (RLIMIT_NOFILE) is too low"},
	{ENFILE, "the system is at its limit on open files (fs.file-max)"},
	{EAGAIN, "the system, or the login process, is at its limit of processes"},
};

/*
 * A filter refuses with the errors of a missing privilege or system call.  Without the
 * capability, the filter of a container refuses because of that.
 */
static const char *hint_for(int error)
{
	bool is_filtered = prctl(PR_GET_SECCOMP) == 2 && prctl(PR_CAPBSET_READ, CAP_SYS_ADMIN) == 1;

	if (is_filtered && (error == EPERM || error == ENOSYS))
		return "the login process has a filter of system calls (seccomp), which has to allow "
		       "this: see the profile of the container, or SystemCallFilter= of the service";
	for (size_t i = 0; i < sizeof hints / sizeof hints[0]; i++) {
		if (hints[i].error == error)
			return hints[i].hint;
	}
	return NULL;
}

bool cannot(struct reason *reason, int error, const char *hint, const char *format, ...)
{
	va_list arguments;
	int used = snprintf(reason->text, sizeof reason->text, "cannot ");

	if (hint == NULL)
		hint = hint_for(error);
	va_start(arguments, format);
	used += vsnprintf(reason->text + used, sizeof reason->text - (size_t)used, format, arguments);
	va_end(arguments);
	if (used < (int)sizeof reason->text)
		(void)snprintf(reason->text + used, sizeof reason->text - (size_t)used, ": %s%s%s",
			       strerror(error), hint != NULL ? "; " : "", hint != NULL ? hint : "");
	return false;
}

/* C0 controls, DEL, and the C1 controls as UTF-8 has them (c2 80 to c2 9f). */
static bool is_control(const char *text, size_t i)
{
	unsigned char c = (unsigned char)text[i];
	unsigned char before = i > 0 ? (unsigned char)text[i - 1] : 0;

	return c < 0x20 || c == 0x7f || (before == 0xc2 && c >= 0x80 && c <= 0x9f);
}

/* A log line is one line, whatever a user name or a worker put into it. */
void log_line(pam_handle_t *pamh, int priority, const char *text)
{
	char line[REASON_MAX];
	size_t length = strnlen(text, sizeof line - 1);

	for (size_t i = 0; i < length; i++)
		line[i] = is_control(text, i) ? '?' : text[i];
	line[length] = '\0';
	pam_syslog(pamh, priority, "%s", line);
}
