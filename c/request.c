/* The request, entry by entry.  Nothing is allocated; too much is an overflow. */
#include <string.h>

#include "shim.h"

static size_t padded(size_t length)
{
	return (length + 3u) & ~(size_t)3u;
}

static unsigned char *claim(struct request *request, uint16_t type, size_t length)
{
	struct gotmpns_entry entry = {.type = type, .length = (uint16_t)length};
	unsigned char *value;

	if (length > GOTMPNS_STRING_MAX ||
	    sizeof entry + padded(length) > sizeof request->bytes - request->length) {
		request->overflow = true;
		return NULL;
	}
	memcpy(request->bytes + request->length, &entry, sizeof entry);
	value = request->bytes + request->length + sizeof entry;
	memset(value, 0, padded(length));
	request->length += sizeof entry + padded(length);
	return value;
}

void request_start(struct request *request)
{
	request->length = sizeof(struct gotmpns_header);
	request->overflow = false;
}

void request_u32(struct request *request, uint16_t type, uint32_t value)
{
	unsigned char *at = claim(request, type, sizeof value);

	if (at != NULL)
		memcpy(at, &value, sizeof value);
}

void request_empty(struct request *request, uint16_t type)
{
	(void)claim(request, type, 0);
}

void request_string(struct request *request, uint16_t type, const char *value)
{
	size_t length = strnlen(value, GOTMPNS_STRING_MAX) + 1;
	unsigned char *at = claim(request, type, length);

	if (at != NULL)
		memcpy(at, value, length - 1);
}

void request_variable(struct request *request, uint16_t type, const char *name, const char *value)
{
	size_t name_length = strlen(name);
	size_t value_length = strnlen(value, GOTMPNS_STRING_MAX - 2 - name_length);
	unsigned char *at = claim(request, type, name_length + value_length + 2);

	if (at == NULL)
		return;
	memcpy(at, name, name_length);
	at[name_length] = '=';
	memcpy(at + name_length + 1, value, value_length);
}

bool request_finish(struct request *request)
{
	struct gotmpns_header header = {
		.magic = GOTMPNS_MAGIC,
		.version = GOTMPNS_VERSION,
		.kind = GOTMPNS_OPEN,
		.length = (uint32_t)request->length,
	};

	memcpy(request->bytes, &header, sizeof header);
	return !request->overflow;
}
