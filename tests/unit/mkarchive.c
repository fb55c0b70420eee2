/* SPDX-License-Identifier: ISC */
/* The boot archive: what is built verifies, and every single damaged byte is found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <elf.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "tools/mkarchive/mkarchive.h"

static struct key key;
static char conf_path[] = "/tmp/d0-mkarchive-conf-XXXXXX";
static char elf_path[] = "/tmp/d0-mkarchive-elf-XXXXXX";

static void put_file(char *path, const void *data, size_t size)
{
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, size), size);
	close(fd);
}

/* A small image: text of 5000 bytes at 0, rodata at 0x2000, relro and data. */
static size_t make_elf(uint8_t *out)
{
	Elf64_Ehdr h = {.e_type = ET_DYN,
			.e_machine = EM_X86_64,
			.e_phoff = sizeof(h),
			.e_phentsize = sizeof(Elf64_Phdr),
			.e_phnum = 5};
	Elf64_Phdr ph[5] = {
	    {PT_LOAD, PF_R | PF_X, 0x1000, 0, 0, 5000, 5000, 0x1000},
	    {PT_LOAD, PF_R, 0x3000, 0x2000, 0, 100, 100, 0x1000},
	    {PT_LOAD, PF_R | PF_W, 0x4000, 0x3000, 0, 4096, 4096, 0x1000},
	    {PT_LOAD, PF_R | PF_W, 0x5000, 0x4000, 0, 16, 9000, 0x1000},
	    {PT_GNU_RELRO, PF_R, 0x4000, 0x3000, 0, 4096, 4096, 1},
	};

	memcpy(h.e_ident, "\177ELF\2\1\1", 7);
	memset(out, 0, 0x6000);
	memcpy(out, &h, sizeof(h));
	memcpy(out + sizeof(h), ph, sizeof(ph));
	for (size_t i = 0x1000; i < 0x5010; i++)
		out[i] = (uint8_t)(i * 7);
	return 0x5010;
}

static int setup(void **state)
{
	static uint8_t elf[0x6000];
	size_t n = make_elf(elf);

	put_file(conf_path, "cell a image=a\n", 15);
	put_file(elf_path, elf, n);
	assert_null(key_generate(&key));
	return 0;
}

static int teardown(void **state)
{
	unlink(conf_path);
	unlink(elf_path);
	return 0;
}

static struct blob make_archive(void)
{
	static struct builder b;
	struct blob out;

	assert_null(builder_add(&b, D0_FILE_CONF, "d0.conf", conf_path));
	assert_null(builder_add(&b, D0_FILE_CELL | D0_FILE_HIGH, "a", elf_path));
	assert_null(builder_make(&b, &key, &out));
	builder_free(&b);
	return out;
}

static void test_built_archive_verifies(void **state)
{
	struct blob a = make_archive(), again = make_archive();
	const struct d0_archive *h = (const void *)a.data;
	const struct d0_manifest *m = (const void *)(a.data + h->manifest_off);

	assert_null(archive_verify(&a, key.public));
	assert_int_equal(m->files, 2);
	assert_int_equal(m->pages, 2 + 1 + 1); /* text, rodata, relro; not data */
	assert_int_equal(a.size, again.size);
	assert_memory_equal(a.data, again.data, a.size); /* reproducible */
	blob_free(&a);
	blob_free(&again);
}

/* Every byte that means something is covered: only padding may differ unnoticed. */
static void test_every_damaged_byte_is_found(void **state)
{
	struct blob a = make_archive();
	const struct d0_archive *h = (const void *)a.data;
	const struct d0_file *f =
	    (const void *)(a.data + h->manifest_off + sizeof(struct d0_manifest));
	size_t meta = h->manifest_off + h->manifest_size;
	uint64_t conf = f[0].offset, elf = f[1].offset, elf_size = f[1].size;

	for (size_t i = 0; i < meta; i++) {
		a.data[i] ^= 0x10;
		assert_non_null(archive_verify(&a, key.public));
		a.data[i] ^= 0x10;
	}
	a.data[conf] ^= 1;
	assert_non_null(archive_verify(&a, key.public));
	a.data[conf] ^= 1;
	for (size_t i = 0; i < elf_size; i += 509) {
		a.data[elf + i] ^= 0x80;
		assert_non_null(archive_verify(&a, key.public));
		a.data[elf + i] ^= 0x80;
	}
	assert_null(archive_verify(&a, key.public));
	blob_free(&a);
}

static void test_every_truncation_is_found(void **state)
{
	struct blob a = make_archive();

	for (size_t n = 0; n < a.size; n += n < 512 ? 1 : 997) {
		struct blob copy = {malloc(n ? n : 1), n};

		memcpy(copy.data, a.data, n);
		assert_non_null(archive_verify(&copy, key.public));
		blob_free(&copy);
	}
	blob_free(&a);
}

static void test_wrong_key_is_refused(void **state)
{
	struct blob a = make_archive();
	struct key other;

	assert_null(key_generate(&other));
	assert_string_equal(archive_verify(&a, other.public), "the signature is wrong");
	blob_free(&a);
}

/* A signed mistake is refused all the same. */
static void test_signed_nonsense_is_refused(void **state)
{
	struct blob a = make_archive();
	struct d0_archive *h = (void *)a.data;
	struct d0_file *f = (void *)(a.data + h->manifest_off + sizeof(struct d0_manifest));
	uint8_t hash[32];

	f[1].first_page = 3; /* reaches over the end of the page hashes */
	archive_hash(h, a.data + h->manifest_off, hash);
	assert_null(key_sign(&key, hash, a.data + h->signature_off));
	assert_string_equal(archive_verify(&a, key.public),
			    "a file's page hashes lie outside the manifest");
	blob_free(&a);
}

static void test_bad_images_are_refused(void **state)
{
	static uint8_t elf[0x6000];
	struct blob b = {elf, make_elf(elf)};
	Elf64_Phdr *ph = (void *)(elf + sizeof(Elf64_Ehdr));
	struct d0_page_hash *pages = NULL;
	uint32_t count = 0;

	assert_null(elf_page_hashes(&b, &pages, &count));
	b.size = 0x1100;
	assert_non_null(elf_page_hashes(&b, &pages, &count));
	b.size = 0x5010;
	ph[0].p_flags |= PF_W;
	assert_string_equal(elf_page_hashes(&b, &pages, &count),
			    "segment is writable and executable");
	make_elf(elf);
	ph[0].p_memsz = ~0ull;
	assert_non_null(elf_page_hashes(&b, &pages, &count));
	free(pages);
}

static void test_names_are_checked(void **state)
{
	static struct builder b;
	char name[60];

	memset(name, 'x', sizeof(name));
	name[48] = '\0';
	assert_non_null(builder_add(&b, D0_FILE_DATA, name, conf_path));
	assert_non_null(builder_add(&b, D0_FILE_DATA, "", conf_path));
	assert_non_null(builder_add(&b, D0_FILE_DATA, "a", "/nonexistent"));
	assert_null(builder_add(&b, D0_FILE_DATA, "a", conf_path));
	assert_non_null(builder_add(&b, D0_FILE_DATA, "a", conf_path));
	builder_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_built_archive_verifies),
	    cmocka_unit_test(test_every_damaged_byte_is_found),
	    cmocka_unit_test(test_every_truncation_is_found),
	    cmocka_unit_test(test_wrong_key_is_refused),
	    cmocka_unit_test(test_signed_nonsense_is_refused),
	    cmocka_unit_test(test_bad_images_are_refused),
	    cmocka_unit_test(test_names_are_checked),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
