/* SPDX-License-Identifier: ISC */
/*
 * The peer's side of bench/nucleus.py: init of a Linux guest. It prints the kernel's clock at
 * its start, then what corresponds to the nucleus's measurements: system calls, round
 * trips between two processes, processes started; powers off.
 */
#include <stdio.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void syscalls(int n)
{
	double t = now_us();

	for (int i = 0; i < n; i++)
		syscall(SYS_getppid);
	printf("bench syscall_us %.3f\n", (now_us() - t) / n);
}

static void round_trips(int n)
{
	int there[2], back[2];
	char c = 'x';

	if (pipe(there) || pipe(back))
		return;
	if (!fork()) {
		while (read(there[0], &c, 1) == 1 && c != 'q')
			if (write(back[1], &c, 1) != 1)
				break;
		_exit(0);
	}
	double t = now_us();
	for (int i = 0; i < n; i++)
		if (write(there[1], &c, 1) != 1 || read(back[0], &c, 1) != 1)
			break;
	printf("bench round_trip_us %.3f\n", (now_us() - t) / n);
	c = 'q';
	if (write(there[1], &c, 1) == 1)
		wait(NULL);
}

static void processes(int n)
{
	double t = now_us();

	for (int i = 0; i < n; i++) {
		pid_t pid = fork();
		if (!pid) {
			execl("/init", "init", "child", NULL);
			_exit(1);
		}
		waitpid(pid, NULL, 0);
	}
	printf("bench processes_per_s %.1f\n", n / ((now_us() - t) / 1e6));
}

int main(int argc, char **argv)
{
	struct sysinfo si;

	if (argc > 1)
		return 0;
	printf("\nbench init_us %.0f\n", now_us());
	sysinfo(&si);
	printf("bench used_kib %lu\n", (si.totalram - si.freeram) * si.mem_unit / 1024);
	syscalls(20000);
	round_trips(3000);
	processes(50);
	fflush(stdout);
	reboot(RB_POWER_OFF);
	return 0;
}
