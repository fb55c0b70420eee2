/* SPDX-License-Identifier: ISC */
/*
 * h2_config: what the signed configuration lets the store do.
 *
 *	d0.store=SOURCE[,OPTION]...	in the store cell's args
 *
 *	SOURCE	ram		a fresh volume in memory, gone at power-off
 *		boot		the volume image of the boot archive (the region of that cell's
 *				data=), changed in memory only
 *		disk:N		the N-th disk granted to the cell (0 = first)
 *	OPTION	create		on a disk without a volume whose first MiB is all zeros: make one
 *		format=YES-ERASE-ALL	make a new volume on every start, whatever the disk holds
 *		readonly	never write
 *		size=SIZE	of a ram volume (24M and more; default 32M)
 *		cache=SIZE	of blocks in memory (1536K..; default 8M)
 *		behind=SIZE	buffers of writes under way (256K..16M; default 2M)
 *		check=sha192|xxhash64|crc32c, comp=lz4|zlib|none	for create, format, ram
 *		sync=SECONDS	1..3600, default 5: how long a change may stay in memory
 *		mirror=disk:N	a second disk with the same volume: bad blocks are mended from
 *				it, and the volume goes on when one disk fails. With create
 *				both must be blank; a blank disk beside a volume becomes its
 *				copy
 *		require-signed=KEY[+KEY]...	serve only images, and roots that began as an
 *				image, which one of these keys signed; a key is the SHA-256
 *				of its public half in hex (`d0fs key FILE`), at most 4
 *
 * Without d0.store: `boot` if the cell has an image, else `ram`; no disk is touched, not even
 * reset. A word given twice, unknown, or that contradicts another is an error, and then
 * nothing is touched either.
 */
#ifndef STORE_H2_CONFIG_H
#define STORE_H2_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define D0_STORE_DISKS_MAX 8
#define D0_STORE_KEYS_MAX  4

enum store_source {
	STORE_DEFAULT,
	STORE_RAM,
	STORE_BOOT,
	STORE_DISK
};

struct h2_config {
	enum store_source source;
	uint32_t disk, mirror; /* mirror: valid if mirrored */
	bool mirrored;
	bool create, format, readonly;
	uint64_t size, cache, behind;
	uint8_t check, comp; /* enum h2_check, h2_comp */
	uint32_t sync_s;
	uint32_t keys; /* trusted signers; 0: signatures are not asked for */
	char key[D0_STORE_KEYS_MAX][65];
};

/*
 * Parse the value of d0.store (NULL: absent). 0, or -1 with a message of what is wrong in
 * err. Pure.
 */
int h2_config_parse(const char *text, struct h2_config *out, char *err, size_t err_size);

/* The same from a cell's whole argument string: finds d0.store, refuses other d0.* words. */
int h2_config_from_args(const char *args, struct h2_config *out, char *err, size_t err_size);

#endif
