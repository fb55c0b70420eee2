/* SPDX-License-Identifier: ISC */
/*
 * Compression of file blocks (section 9). A block is stored in the smallest power of two that
 * holds it, so compression counts only when it halves the block; padding is zero because the
 * check code and dedup cover it.
 */
#include <string.h>

#include "h2/impl.h"

uint32_t h2_pow2_block(uint64_t bytes)
{
	uint32_t size = 1u << H2_RADIX_MIN;

	while (size < bytes && size < H2_BLOCK_SIZE)
		size <<= 1;
	return size;
}

unsigned h2_radix_of(uint32_t bytes)
{
	return 31 - __builtin_clz(bytes);
}

static long pack_lz4(const struct h2_codec *c, void *work, const void *in, uint32_t in_len,
		     uint8_t *out)
{
	uint32_t len32;
	long len;

	if (!c->lz4_compress)
		return 0;
	len = c->lz4_compress(work, in, in_len, out + 4, in_len / 2 - 8);
	if (len <= 0 || (uint32_t)len > in_len / 2 - 8)
		return 0;
	len32 = (uint32_t)len;
	memcpy(out, &len32, 4);
	return len + 4;
}

static long pack_zlib(const struct h2_codec *c, void *work, uint8_t level, const void *in,
		      uint32_t in_len, uint8_t *out)
{
	long len;

	if (!c->zlib_compress)
		return 0;
	len = c->zlib_compress(work, level ? level : 6, in, in_len, out, in_len / 2);
	return len <= 0 || (uint32_t)len > in_len / 2 ? 0 : len;
}

/*
 * `in` has in_len bytes, a power of two, padded with zeros. Returns the bytes of the stored
 * block in `out`, or 0 when it is to be stored raw.
 */
long h2_pack(const struct h2_codec *c, void *work, uint8_t comp, uint8_t level, const void *in,
	     uint32_t in_len, void *out, uint8_t *comp_used)
{
	long len = 0;
	uint32_t stored;

	*comp_used = H2_COMP_NONE;
	if (!c || in_len <= 1u << H2_RADIX_MIN)
		return 0;
	if (comp == H2_COMP_LZ4)
		len = pack_lz4(c, work, in, in_len, out);
	else if (comp == H2_COMP_ZLIB)
		len = pack_zlib(c, work, level, in, in_len, out);
	if (len <= 0)
		return 0;
	stored = h2_pow2_block(len);
	if (stored >= in_len)
		return 0;
	memset((uint8_t *)out + len, 0, stored - len);
	*comp_used = comp;
	return stored;
}

int h2_unpack(const struct h2_codec *c, void *work, uint8_t comp, const void *in,
	      uint32_t in_len, void *out, uint32_t out_len)
{
	const uint8_t *p = in;
	uint32_t len32;
	long len;

	switch (comp) {
	case H2_COMP_NONE:
	case H2_COMP_ZERO:
		len = in_len < out_len ? in_len : out_len;
		memcpy(out, in, len);
		break;
	case H2_COMP_LZ4:
		if (!c || !c->lz4_decompress)
			return -H2_ENOTSUP;
		memcpy(&len32, p, 4);
		if (in_len < 4 || len32 == 0 || len32 > in_len - 4)
			return -H2_EUCLEAN;
		len = c->lz4_decompress(work, p + 4, len32, out, out_len);
		break;
	case H2_COMP_ZLIB:
		if (!c || !c->zlib_decompress)
			return -H2_ENOTSUP;
		len = c->zlib_decompress(work, p, in_len, out, out_len);
		break;
	default:
		return -H2_ENOTSUP;
	}
	if (len < 0 || (len == 0 && comp != H2_COMP_NONE) || (uint64_t)len > out_len)
		return -H2_EUCLEAN;
	memset((uint8_t *)out + len, 0, out_len - len);
	return 0;
}

int h2_block_prepare(const struct h2_codec *codec, void *work, uint8_t check, uint8_t comp,
		     uint8_t level, const void *in, uint32_t len, struct h2_prepared *out)
{
	struct h2_bref b = {0};
	uint32_t size;
	uint8_t used;
	long packed;

	if (len == 0 || len > H2_BLOCK_SIZE)
		return -H2_EINVAL;
	out->logical = len;
	out->stored = 0;
	out->methods = check << 4;
	if (check != H2_CHECK_NONE && h2_is_zero(in, len))
		return 0;
	size = h2_pow2_block(len);
	if (size != len) { /* pad above the half that compressed output can reach */
		uint8_t *pad = out->data + H2_BLOCK_SIZE / 2;
		memcpy(pad, in, len);
		memset(pad + len, 0, size - len);
		in = pad;
	}
	packed = h2_pack(codec, work, comp, level, in, size, out->data, &used);
	if (!packed)
		memmove(out->data, in, size);
	out->stored = packed ? (uint32_t)packed : size;
	b.methods = out->methods |= used;
	h2_code_set(&b, out->data, out->stored);
	memcpy(out->code, b.check.raw, 24);
	return 0;
}
