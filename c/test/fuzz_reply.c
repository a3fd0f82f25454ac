/* libFuzzer: whatever comes as a reply, it is refused, or all of it makes sense. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "../shim.h"

void set_reason(struct reason *reason, const char *format, ...)
{
	(void)format;
	reason->text[0] = '\0';
}

static void check_join(const struct reply *reply, const struct entry *entry, int joins)
{
	if (joins > 1 || entry->numbers[0] >= reply->fd_count)
		abort();
	for (int i = 1; i < 3; i++) {
		if (entry->numbers[i] != GOTMPNS_NONE && entry->numbers[i] >= reply->fd_count)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct reply reply;
	struct reason reason = {{0}};
	struct entry entry;
	size_t cursor = 0;
	int status, joins = 0;

	if (size > sizeof reply.bytes)
		return 0;
	memcpy(reply.bytes, data, size);
	/* What lies behind the message must not be read. */
	memset(reply.bytes + size, 'x', sizeof reply.bytes - size);
	reply.length = size;
	reply.fd_count = size % (GOTMPNS_DESCRIPTORS_MAX + 1);
	reply.truncated = false;
	if (!reply_check(&reply, &status, &reason))
		return 0;
	while (reply_next(&reply, &cursor, &entry)) {
		const char *end = (const char *)reply.bytes + size;

		if (cursor > size ||
		    (entry.string[0] != '\0' && entry.string + strlen(entry.string) >= end))
			abort();
		if (entry.type == GOTMPNS_JOIN)
			check_join(&reply, &entry, ++joins);
		if (entry.type == GOTMPNS_RECORD &&
		    (strstr(entry.string, "..") != NULL || entry.string[0] == '/' ||
		     strchr(entry.string, '/') != strrchr(entry.string, '/')))
			abort();
	}
	if (cursor != size && cursor != 0)
		abort();
	return 0;
}
