/*
 * How front.c starts, calls the kernel and ends. On amd64 and arm64 it does so without the C
 * library, which takes 0.3 to 0.5 ms to start, static or not, on virtual machines where CPUID
 * traps. On other architectures it is linked with the C library, dynamically.
 *
 * front() must not use any function of the C library, nor anything that needs relocations or
 * thread-local storage: no arrays of pointers with static storage, no stack protector.
 */
#ifndef GOTMPNS_START_H
#define GOTMPNS_START_H

int front(int argc, char **argv, char **envp);

#if defined(__x86_64__) && defined(__LP64__)

#define FREESTANDING
__asm__(".text\n"
	".globl _start\n"
	".type _start, @function\n"
	"_start:\n"
	"	xor %ebp, %ebp\n"
	"	mov %rsp, %rdi\n"
	"	and $-16, %rsp\n"
	"	call begin\n"
	"	hlt\n"
	".size _start, . - _start\n");

/* A system call; an error is returned as a negative number. */
static inline long call(long number, long a, long b, long c, long d, long e)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
			 : "rcx", "r11", "memory");
	return result;
}

#elif defined(__aarch64__) && defined(__LP64__)

#define FREESTANDING
__asm__(".text\n"
	".globl _start\n"
	".type _start, %function\n"
	"_start:\n"
	"	mov x29, #0\n"
	"	mov x30, #0\n"
	"	mov x0, sp\n"
	"	bl begin\n"
	"	brk #1\n"
	".size _start, . - _start\n");

static inline long call(long number, long a, long b, long c, long d, long e)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;

	__asm__ volatile("svc #0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4)
			 : "memory");
	return x0;
}

#endif

#ifdef FREESTANDING

_Noreturn static inline void leave(int status)
{
	for (;;)
		(void)call(SYS_exit_group, status, 0, 0, 0, 0);
}

/* Compilers call it to clear variables, without optimization in any case. */
__attribute__((used)) void *memset(void *start, int value, unsigned long size)
{
	volatile unsigned char *p = start; /* or this loop would become a call of memset() */

	while (size-- > 0)
		*p++ = (unsigned char)value;
	return start;
}

/* The kernel puts argc, argv and envp on the stack, with a null pointer behind each list. */
_Noreturn __attribute__((used)) void begin(long *stack)
{
	int argc = (int)stack[0];
	char **argv = (char **)(stack + 1);

	leave(front(argc, argv, argv + argc + 1));
}

#else

#include <errno.h>
#include <unistd.h>

static inline long call(long number, long a, long b, long c, long d, long e)
{
	long result = syscall(number, a, b, c, d, e);

	return result == -1 ? -errno : result;
}

_Noreturn static inline void leave(int status)
{
	_exit(status);
}

int main(int argc, char **argv, char **envp)
{
	return front(argc, argv, envp);
}

#endif
#endif
