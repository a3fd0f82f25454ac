/* libFuzzer: whatever comes for a reply, it is refused, or all of it makes sense. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "../shim.h"

void because(struct reason *why, const char *format, ...)
{
	(void)format;
	why->text[0] = '\0';
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct reply reply;
	struct reason why = {{0}};
	struct entry entry;
	size_t cursor = 0;
	int status;

	if (size > sizeof reply.bytes)
		return 0;
	memcpy(reply.bytes, data, size);
	/* What lies behind the message must not be read. */
	memset(reply.bytes + size, 'x', sizeof reply.bytes - size);
	reply.length = size;
	reply.fd_count = size % 3;
	reply.truncated = false;
	if (!reply_check(&reply, &status, &why))
		return 0;
	while (reply_next(&reply, &cursor, &entry)) {
		const char *end = (const char *)reply.bytes + size;

		if (cursor > size || (entry.string[0] != '\0' && entry.string + strlen(entry.string) >= end))
			abort();
		if (entry.type == GOTMPNS_ATTACH && entry.fd >= reply.fd_count)
			abort();
	}
	if (cursor != size && cursor != 0)
		abort();
	return 0;
}
