/* SPDX-License-Identifier: ISC */
/* The Linux stack's side of bench/net.py: an echo server, one connection at a time. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

int main(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(7)};
	int l = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	static char b[65536];
	ssize_t n;

	setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(l, (struct sockaddr *)&a, sizeof(a)) || listen(l, 16))
		return 1;
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		int s = accept(l, NULL, NULL);

		setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		while ((n = read(s, b, sizeof(b))) > 0)
			if (write(s, b, (size_t)n) != n)
				break;
		close(s);
	}
}
