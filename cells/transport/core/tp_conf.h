/* SPDX-License-Identifier: ISC */
/*
 * Configuration from argument strings ("ip=10.0.0.2/24 gw=10.0.0.1 dhcp"), shared by the
 * cell and the hosted programs. Words are separated by blanks; the first of several
 * strings that has a key wins.
 */
#ifndef TRANSPORT_TP_CONF_H
#define TRANSPORT_TP_CONF_H

#include <stdbool.h>
#include "tp.h"

/* Value of key in s copied to buf (cut to size - 1); its length, or -1 if absent. */
int tp_conf_get(const char *s, const char *key, char *buf, unsigned size);
bool tp_conf_has(const char *s, const char *word);

/* cc=, ecn, nocontrol, noipv6, cookies */
void tp_conf_stack(struct tp_config *c, const char *args);
/* dhcp, slaac */
void tp_conf_if(struct tp_if_config *c, const char *const *args, unsigned n);
/* ip=, gw=, ip6=, gw6=; 0, or -EINVAL for the first that is malformed */
int tp_conf_addresses(struct tp_stack *st, unsigned ifi, const char *const *args, unsigned n);
/* svc=, server=, share=, gw=, share6= or serve6=, gw6=, block= of a hidden interface; 0 or
 * -errno */
int tp_conf_share(struct tp_stack *st, unsigned ifi, const char *args);
/* publish=, hostname=, dns= */
int tp_conf_services(struct tp_stack *st, const char *args);

#endif
