/*
 * The reply, checked before anything is done with it.  It comes from our own
 * worker, but a worker that was broken by an upgrade half done or by a bug must
 * not be able to lead the login process anywhere.
 */
#include <string.h>
#include <unistd.h>

#include "shim.h"

/* What an entry's value starts with, before its string. */
struct shape {
	uint16_t type;
	uint8_t u64s, u32s;
	bool string;
};

static const struct shape shapes[] = {
	{GOTMPNS_LOG, 0, 1, true},       {GOTMPNS_SUMMARY, 0, 0, true},
	{GOTMPNS_RECORD, 0, 0, true},    {GOTMPNS_ENV, 0, 0, true},
	{GOTMPNS_UNSHARE, 0, 0, false},  {GOTMPNS_PROPAGATE, 0, 2, true},
	{GOTMPNS_DETACH, 2, 0, true},    {GOTMPNS_ATTACH, 2, 2, true},
	{GOTMPNS_CHDIR, 0, 0, true},
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

static void take_numbers(const struct shape *shape, const unsigned char *value,
			 struct entry *entry)
{
	uint32_t words[2] = {0, 0};

	if (shape->u64s == 2) {
		memcpy(&entry->device, value, sizeof entry->device);
		memcpy(&entry->inode, value + sizeof entry->device, sizeof entry->inode);
		value += sizeof entry->device + sizeof entry->inode;
	}
	memcpy(words, value, shape->u32s * sizeof words[0]);
	if (entry->type == GOTMPNS_ATTACH)
		entry->fd = words[0];
	else
		entry->number = words[0];
	entry->flag = words[1] != 0;
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
	numbers = shape->u64s * sizeof(uint64_t) + shape->u32s * sizeof(uint32_t);
	if (head.length < numbers || (!shape->string && head.length != numbers))
		return false;
	*entry = (struct entry){.type = head.type, .string = ""};
	take_numbers(shape, value, entry);
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

/* A file name of ours and nothing else: the shim unlinks it as root. */
static bool is_record(const char *name)
{
	return name[0] >= '0' && name[0] <= '9' && strlen(name) < 128 &&
	       strspn(name, "0123456789abcdef-") == strlen(name);
}

/* Only the variables that the module is about, as NAME or NAME=VALUE. */
static bool is_variable(const char *text)
{
	static const char *const names[] = {"TMPDIR", "TMP", "TEMP", "TEMPDIR"};

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		size_t length = strlen(names[i]);

		if (strncmp(text, names[i], length) == 0 &&
		    (text[length] == '\0' || text[length] == '='))
			return true;
	}
	return false;
}

static bool makes_sense(const struct reply *reply, const struct entry *entry, bool *unshared)
{
	switch (entry->type) {
	case GOTMPNS_LOG:
		return entry->number <= 7; /* LOG_EMERG to LOG_DEBUG */
	case GOTMPNS_RECORD:
		return is_record(entry->string);
	case GOTMPNS_ENV:
		return is_variable(entry->string);
	case GOTMPNS_UNSHARE:
		if (*unshared)
			return false;
		*unshared = true;
		return true;
	case GOTMPNS_PROPAGATE:
		return *unshared && entry->string[0] == '/' &&
		       (entry->number == GOTMPNS_SLAVE || entry->number == GOTMPNS_PRIVATE);
	case GOTMPNS_ATTACH:
		if (entry->fd >= reply->fd_count)
			return false;
		return *unshared && entry->string[0] == '/';
	case GOTMPNS_DETACH:
	case GOTMPNS_CHDIR:
		/* Without a namespace of its own this would be the host's mount. */
		return *unshared && entry->string[0] == '/';
	default:
		return true;
	}
}

static bool is_status(uint32_t status)
{
	return status == PAM_SUCCESS || status == PAM_SESSION_ERR ||
	       status == PAM_USER_UNKNOWN || status == PAM_BUF_ERR;
}

bool reply_check(const struct reply *reply, int *status, struct reason *why)
{
	struct gotmpns_header header;
	struct entry entry;
	size_t cursor = sizeof header, entries = 0;
	bool unshared = false;

	if (reply->truncated) {
		because(why, "the worker's reply arrived cut short: the login process may be at its "
			     "limit of open files (RLIMIT_NOFILE), or SELinux or AppArmor may keep "
			     "it from taking a directory; look for denials in the kernel's log");
		return false;
	}
	if (reply->length < sizeof header) {
		because(why, "the worker's reply is too short (%zu bytes)", reply->length);
		return false;
	}
	memcpy(&header, reply->bytes, sizeof header);
	if (header.magic != GOTMPNS_MAGIC || header.kind != GOTMPNS_REPLY ||
	    header.version != GOTMPNS_VERSION) {
		because(why, "the worker speaks another version than this module: "
			     "install both from the same build");
		return false;
	}
	if (header.length != reply->length || !is_status(header.status)) {
		because(why, "the worker's reply is malformed (length %u of %zu, status %u)",
			header.length, reply->length, header.status);
		return false;
	}
	while (cursor < reply->length) {
		size_t at = cursor;

		if (++entries > GOTMPNS_ENTRIES_MAX || !reply_next(reply, &cursor, &entry) ||
		    !makes_sense(reply, &entry, &unshared)) {
			because(why, "the worker's reply is malformed at byte %zu", at);
			return false;
		}
		if (header.status != PAM_SUCCESS && entry.type != GOTMPNS_LOG &&
		    entry.type != GOTMPNS_SUMMARY) {
			because(why, "the worker's reply refuses and acts at once (byte %zu)", at);
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
