/* SPDX-License-Identifier: ISC */
/*
 * The peer of bench/net.py: echo, discard and chargen on lwIP (Debian's liblwip, raw API)
 * over the TAP device named by PRECONFIGURED_TAPIF, as transportd serves them.
 */
#include <lwip/init.h>
#include <lwip/ip4_addr.h>
#include <lwip/netif.h>
#include <lwip/tcp.h>
#include <lwip/tcpip.h>
#include <netif/tapif.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct netif nif;
static sem_t up;
static uint8_t junk[65535];

static err_t on_echo(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t err)
{
	if (!p) {
		tcp_close(pcb);
		return ERR_OK;
	}
	for (struct pbuf *q = p; q; q = q->next) {
		if (tcp_write(pcb, q->payload, q->len, TCP_WRITE_FLAG_COPY) != ERR_OK)
			return ERR_MEM; /* kept by lwIP, offered again */
	}
	tcp_recved(pcb, p->tot_len);
	tcp_output(pcb);
	pbuf_free(p);
	return ERR_OK;
}

static err_t on_discard(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t err)
{
	if (!p) {
		tcp_close(pcb);
		return ERR_OK;
	}
	tcp_recved(pcb, p->tot_len);
	pbuf_free(p);
	return ERR_OK;
}

static void fill(struct tcp_pcb *pcb)
{
	u16_t n;

	while ((n = tcp_sndbuf(pcb) > 16384 ? 16384 : (u16_t)tcp_sndbuf(pcb)) > 0) {
		if (tcp_write(pcb, junk, n, TCP_WRITE_FLAG_COPY) != ERR_OK)
			break;
	}
	tcp_output(pcb);
}

static err_t on_sent(void *arg, struct tcp_pcb *pcb, u16_t len)
{
	fill(pcb);
	return ERR_OK;
}

static err_t on_accept(void *arg, struct tcp_pcb *pcb, err_t err)
{
	uint16_t port = pcb->local_port;

	if (err != ERR_OK)
		return err;
	tcp_nagle_disable(pcb);
	tcp_recv(pcb, port == 7 ? on_echo : on_discard);
	if (port == 19) {
		tcp_sent(pcb, on_sent);
		fill(pcb);
	}
	return ERR_OK;
}

static void serve(uint16_t port)
{
	struct tcp_pcb *l = tcp_new();

	if (!l || tcp_bind(l, IP_ADDR_ANY, port) != ERR_OK)
		return;
	l = tcp_listen(l);
	tcp_accept(l, on_accept);
}

static void start(void *arg)
{
	ip4_addr_t ip, mask, gw;

	IP4_ADDR(&ip, 10, 78, 0, 3);
	IP4_ADDR(&mask, 255, 255, 255, 0);
	IP4_ADDR(&gw, 10, 78, 0, 1);
	netif_add(&nif, &ip, &mask, &gw, NULL, tapif_init, tcpip_input);
	netif_set_default(&nif);
	netif_set_link_up(&nif);
	netif_set_up(&nif);
	serve(7);
	serve(9);
	serve(19);
	sem_post(&up);
}

int main(void)
{
	sem_init(&up, 0, 0);
	tcpip_init(start, NULL);
	sem_wait(&up);
	printf("ready\n");
	fflush(stdout);
	for (;;)
		pause();
}
