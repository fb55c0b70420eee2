/* SPDX-License-Identifier: ISC */
/* The same on lwIP: both ends in its thread, through an interface that hands
 * back what is sent to itself, raw API. Arguments as inproc has them. */
#include <lwip/netif.h>
#include <lwip/tcp.h>
#include <lwip/tcpip.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <x86intrin.h>

static uint8_t buf[16384];
static uint64_t total = 400ull << 20, sent, got, t0;
static struct tcp_pcb *client;
static int rounds = -1, all_rounds = 100000;

static void fill(struct tcp_pcb *pcb)
{
	while (sent < total) {
		u16_t n = tcp_sndbuf(pcb) > 16384 ? 16384 : (u16_t)tcp_sndbuf(pcb);

		if (!n || tcp_write(pcb, buf, n, TCP_WRITE_FLAG_COPY) != ERR_OK)
			break;
		sent += n;
	}
	tcp_output(pcb);
}

static err_t on_sent(void *arg, struct tcp_pcb *pcb, u16_t len)
{
	if (rounds < 0)
		fill(pcb);
	return ERR_OK;
}

static err_t server_recv(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t err)
{
	if (!p)
		return ERR_OK;
	pbuf_copy_partial(p, buf, p->tot_len < sizeof(buf) ? p->tot_len : sizeof(buf), 0);
	tcp_recved(pcb, p->tot_len);
	got += p->tot_len;
	pbuf_free(p);
	if (rounds >= 0) {
		tcp_write(pcb, "y", 1, TCP_WRITE_FLAG_COPY);
		tcp_output(pcb);
	} else if (got >= total) {
		printf("bulk_cycles_per_byte %.3f\n", (double)(__rdtsc() - t0) / (double)got);
		rounds = 0;
		t0 = __rdtsc();
		tcp_write(client, "x", 1, TCP_WRITE_FLAG_COPY);
		tcp_output(client);
	}
	return ERR_OK;
}

static err_t client_recv(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t err)
{
	if (!p)
		return ERR_OK;
	tcp_recved(pcb, p->tot_len);
	pbuf_free(p);
	if (++rounds == all_rounds) {
		printf("rt_cycles %.0f\n", (double)(__rdtsc() - t0) / all_rounds);
		fflush(stdout);
		_exit(0);
	}
	tcp_write(pcb, "x", 1, TCP_WRITE_FLAG_COPY);
	tcp_output(pcb);
	return ERR_OK;
}

static err_t on_accept(void *arg, struct tcp_pcb *pcb, err_t err)
{
	tcp_nagle_disable(pcb);
	tcp_recv(pcb, server_recv);
	return ERR_OK;
}

static err_t on_connect(void *arg, struct tcp_pcb *pcb, err_t err)
{
	tcp_nagle_disable(pcb);
	tcp_recv(pcb, client_recv);
	tcp_sent(pcb, on_sent);
	t0 = __rdtsc();
	fill(pcb);
	return ERR_OK;
}

static err_t drop(struct netif *n, struct pbuf *p, const ip4_addr_t *to)
{
	return ERR_OK;
}

static err_t nif_init(struct netif *n)
{
	n->mtu = 1500;
	n->output = drop;
	n->flags = NETIF_FLAG_LINK_UP;
	return ERR_OK;
}

/* What is sent to its own address an interface of lwIP hands back to itself. */
static void start(void *arg)
{
	static struct netif nif;
	struct tcp_pcb *l = tcp_new();
	ip_addr_t lo;
	ip4_addr_t mask;

	IP_ADDR4(&lo, 10, 0, 0, 1);
	IP4_ADDR(&mask, 255, 255, 255, 0);
	netif_add(&nif, ip_2_ip4(&lo), &mask, ip_2_ip4(&lo), NULL, nif_init, tcpip_input);
	netif_set_default(&nif);
	netif_set_up(&nif);
	tcp_bind(l, IP_ADDR_ANY, 80);
	l = tcp_listen(l);
	tcp_accept(l, on_accept);
	client = tcp_new();
	tcp_connect(client, &lo, 80, on_connect);
}

int main(int argc, char **argv)
{
	if (argc > 1)
		total = strtoull(argv[1], NULL, 0) << 20;
	if (argc > 2)
		all_rounds = atoi(argv[2]);
	tcpip_init(start, NULL);
	sleep(60);
	return 1;
}
