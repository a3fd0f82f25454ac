/*
 * Runs c/args.c over the table of internal/pamconf/testdata/arguments.txt: one line
 * of arguments on the standard input, one line of results on the standard output.
 * The fields have the order config, worker, socket, timeout; a field that nothing
 * sets is not printed.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "../args.c"

#define MOST_ARGUMENTS 16

static int ignored;

/* Called for each argument that is ignored. */
void pam_syslog(const pam_handle_t *pamh, int priority, const char *format, ...)
{
	(void)pamh;
	(void)priority;
	(void)format;
	ignored++;
}

static void print_path(const char *name, const char *value, const char *unset)
{
	if (strcmp(value, unset) != 0)
		printf(" %s=%s", name, value);
}

static void print(const struct args *args)
{
	if (args->debug)
		printf(" debug");
	print_path("config", args->config, DEFAULT_CONFIG);
	print_path("worker", args->worker, GOTMPNS_WORKER);
	print_path("socket", args->socket == NULL ? "none" : args->socket, DEFAULT_SOCKET);
	if (args->timeout != DEFAULT_TIMEOUT)
		printf(" timeout=%u", args->timeout);
	for (; ignored > 0; ignored--)
		printf(" ignored");
	printf("\n");
}

int main(void)
{
	static char line[1 << 16];

	while (fgets(line, sizeof(line), stdin) != NULL) {
		const char *argv[MOST_ARGUMENTS];
		struct args args;
		int argc = 0;

		for (char *word = strtok(line, " \n"); word != NULL && argc < MOST_ARGUMENTS; word = strtok(NULL, " \n"))
			argv[argc++] = word;
		args_parse(NULL, argc, argv, &args);
		print(&args);
	}
	return 0;
}
