/* Reasons and log lines. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <security/pam_ext.h>

#include "shim.h"

void because(struct reason *why, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(why->text, sizeof why->text, format, arguments);
	va_end(arguments);
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
