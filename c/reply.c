/*
 * The reply, checked before anything is done with it.  It comes from our own
 * worker, but a worker that was broken by a bug or by an interrupted upgrade must
 * not be able to lead the login process anywhere.
 */
#include <string.h>
#include <unistd.h>

#include "shim.h"

/* The value of an entry: some u32, then perhaps a string. */
struct shape {
	uint16_t type;
	uint8_t numbers;
	bool string;
};

static const struct shape shapes[] = {
	{GOTMPNS_LOG, 1, true}, {GOTMPNS_SUMMARY, 0, true}, {GOTMPNS_RECORD, 0, true},
	{GOTMPNS_ENV, 0, true}, {GOTMPNS_TELL, 0, true},    {GOTMPNS_JOIN, 3, false},
};

static const struct shape *shape_of(uint16_t type)
{
	for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
		if (shapes[i].type == type)
			return &shapes[i];
	}
	return NULL;
}

static bool is_string(const unsigned char *value, size_t length)
{
	return length >= 1 && length <= GOTMPNS_STRING_MAX &&
	       memchr(value, '\0', length) == value + length - 1;
}

bool reply_next(const struct reply *reply, size_t *cursor, struct entry *entry)
{
	size_t at = *cursor == 0 ? sizeof(struct gotmpns_header) : *cursor;
	struct gotmpns_entry head;
	const struct shape *shape;
	const unsigned char *value;
	size_t numbers;

	if (at > reply->length || reply->length - at < sizeof head)
		return false;
	memcpy(&head, reply->bytes + at, sizeof head);
	at += sizeof head;
	shape = shape_of(head.type);
	if (shape == NULL || head.length > reply->length - at)
		return false;
	value = reply->bytes + at;
	numbers = shape->numbers * sizeof entry->numbers[0];
	if (head.length < numbers || (!shape->string && head.length != numbers))
		return false;
	*entry = (struct entry){.type = head.type, .string = ""};
	memcpy(entry->numbers, value, numbers);
	if (shape->string) {
		if (!is_string(value + numbers, head.length - numbers))
			return false;
		entry->string = (const char *)(value + numbers);
	}
	at += (head.length + 3u) & ~(size_t)3u;
	if (at > reply->length)
		return false;
	*cursor = at;
	return true;
}

/* The shim unlinks it as root: UID/PID-START-RANDOM and nothing else. */
static bool is_record(const char *name)
{
	static const char digits[] = "0123456789", rest[] = "0123456789abcdef-";
	size_t uid = strspn(name, digits);
	const char *file = name + uid + 1;

	return uid > 0 && name[uid] == '/' && file[0] >= '0' && file[0] <= '9' &&
	       file[strspn(file, rest)] == '\0' && strlen(name) < RECORD_MAX;
}

const char *const variables[VARIABLES] = {"TMPDIR", "TMP", "TEMP", "TEMPDIR"};

size_t variable_index(const char *text)
{
	size_t i = 0;

	for (; i < VARIABLES; i++) {
		size_t length = strlen(variables[i]);

		if (strncmp(text, variables[i], length) == 0 &&
		    (text[length] == '\0' || text[length] == '='))
			break;
	}
	return i;
}

static bool is_join(const struct reply *reply, const struct entry *entry)
{
	if (entry->numbers[0] >= reply->fd_count)
		return false;
	for (size_t i = 1; i < 3; i++) {
		if (entry->numbers[i] != GOTMPNS_NONE && entry->numbers[i] >= reply->fd_count)
			return false;
	}
	return true;
}

static bool makes_sense(const struct reply *reply, const struct entry *entry)
{
	switch (entry->type) {
	case GOTMPNS_LOG:
		return entry->numbers[0] <= 7; /* LOG_EMERG to LOG_DEBUG */
	case GOTMPNS_RECORD:
		return is_record(entry->string);
	case GOTMPNS_ENV:
		return variable_index(entry->string) < VARIABLES;
	case GOTMPNS_JOIN:
		return is_join(reply, entry);
	default:
		return true;
	}
}

static bool is_status(uint32_t status)
{
	return status == PAM_SUCCESS || status == PAM_SYSTEM_ERR || status == PAM_BUF_ERR ||
	       status == PAM_USER_UNKNOWN;
}

bool reply_is_foreign(const struct reply *reply)
{
	struct gotmpns_header header;

	if (reply->length < sizeof header)
		return false;
	memcpy(&header, reply->bytes, sizeof header);
	return header.magic == GOTMPNS_MAGIC && header.kind == GOTMPNS_REPLY &&
	       header.version != GOTMPNS_VERSION;
}

static bool check_header(const struct reply *reply, struct gotmpns_header *header,
			 struct reason *reason)
{
	if (reply->truncated) {
		set_reason(reason,
			   "the worker's reply was cut short: the login process may be at its "
			   "limit of open files (RLIMIT_NOFILE), or SELinux or AppArmor may keep "
			   "it from receiving a directory; look for denials in the kernel log");
		return false;
	}
	if (reply->length < sizeof *header) {
		set_reason(reason, "the worker's reply is too short (%zu bytes)", reply->length);
		return false;
	}
	memcpy(header, reply->bytes, sizeof *header);
	if (header->magic != GOTMPNS_MAGIC || header->kind != GOTMPNS_REPLY ||
	    header->version != GOTMPNS_VERSION) {
		set_reason(reason, "the worker and this module are of different versions; "
				   "install both from the same build");
		return false;
	}
	if (header->length != reply->length || !is_status(header->status)) {
		set_reason(reason, "the worker's reply is malformed (length %u of %zu, status %u)",
			   header->length, reply->length, header->status);
		return false;
	}
	return true;
}

/* A refusal reports, and does nothing. */
static bool may_refuse(uint16_t type)
{
	return type == GOTMPNS_LOG || type == GOTMPNS_SUMMARY;
}

bool reply_check(const struct reply *reply, int *status, struct reason *reason)
{
	struct gotmpns_header header;
	struct entry entry;
	size_t cursor = sizeof header, entries = 0, joins = 0, records = 0;

	if (!check_header(reply, &header, reason))
		return false;
	while (cursor < reply->length) {
		size_t at = cursor;

		if (++entries > GOTMPNS_ENTRIES_MAX || !reply_next(reply, &cursor, &entry) ||
		    !makes_sense(reply, &entry) || (joins += entry.type == GOTMPNS_JOIN) > 1 ||
		    (records += entry.type == GOTMPNS_RECORD) > 1) {
			set_reason(reason, "the worker's reply is malformed at byte %zu", at);
			return false;
		}
		if (header.status != PAM_SUCCESS && !may_refuse(entry.type)) {
			set_reason(reason, "the worker's reply is a refusal with a step (byte %zu)",
				   at);
			return false;
		}
	}
	*status = (int)header.status;
	return true;
}

void reply_close(struct reply *reply)
{
	for (size_t i = 0; i < reply->fd_count; i++)
		(void)close(reply->fds[i]);
	reply->fd_count = 0;
}
