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
#include "d0/control.h"
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

static const char *describe(const struct blob *elf, struct d0_image *img)
{
	struct d0_page_hash *pages = NULL;
	uint32_t count = 0;
	const char *err = elf_describe(elf, D0_FILE_CELL, img, &pages, &count);

	free(pages);
	return err;
}

static void test_images_are_described(void **state)
{
	static uint8_t elf[0x6000];
	struct blob b = {elf, make_elf(elf)};
	struct d0_image img;
	static const struct d0_segment want[] = {{D0_SEGMENT_TEXT, 0, 0, 2, 0x1000, 5000},
						 {D0_SEGMENT_RODATA, 2, 0x2000, 1, 0x3000, 100},
						 {D0_SEGMENT_RELRO, 3, 0x3000, 1, 0x4000, 4096},
						 {D0_SEGMENT_DATA, 4, 0x4000, 3, 0x5000, 16}};

	assert_null(describe(&b, &img));
	assert_int_equal(img.segments, 4);
	assert_int_equal(img.pages, 7);
	assert_memory_equal(img.segment, want, sizeof(want));
}

static void test_bad_images_are_refused(void **state)
{
	static uint8_t elf[0x6000];
	struct blob b = {elf, make_elf(elf)};
	Elf64_Ehdr *h = (void *)elf;
	Elf64_Phdr *ph = (void *)(elf + sizeof(Elf64_Ehdr));
	struct d0_image img;

	b.size = 0x1100;
	assert_string_equal(describe(&b, &img), "segment lies outside the file (truncated?)");
	b.size = 0x5010;
	ph[0].p_flags |= PF_W;
	assert_string_equal(describe(&b, &img), "segment is writable and executable");
	make_elf(elf);
	ph[0].p_memsz = ~0ull;
	assert_string_equal(describe(&b, &img), "segment has an impossible size");
	make_elf(elf);
	h->e_entry = 0x4000;
	assert_string_equal(describe(&b, &img), "entry point is not in text");
	make_elf(elf);
	ph[1].p_vaddr = 0x1000;
	assert_string_equal(describe(&b, &img), "segments are not page-aligned and ascending");
}

/* A relocation table in rodata with one entry, whose target is given. */
static const char *relocate(uint64_t target, uint64_t info)
{
	static uint8_t elf[0x6000];
	struct blob b = {elf, make_elf(elf)};
	Elf64_Ehdr *h = (void *)elf;
	Elf64_Phdr *ph = (void *)(elf + sizeof(Elf64_Ehdr));
	Elf64_Dyn dyn[] = {
	    {DT_RELA, {0x2000}}, {DT_RELASZ, {24}}, {DT_RELAENT, {24}}, {0, {0}}};
	Elf64_Rela rela = {target, info, 0x1000};
	struct d0_image img;

	h->e_phnum = 6;
	ph[5] = (Elf64_Phdr){PT_DYNAMIC, PF_R, 0x4000, 0x3000, 0, sizeof(dyn), sizeof(dyn), 8};
	memcpy(elf + 0x4000, dyn, sizeof(dyn));
	memcpy(elf + 0x3000, &rela, sizeof(rela));
	return describe(&b, &img);
}

static void test_relocations_are_checked(void **state)
{
	assert_null(relocate(0x3100, R_X86_64_RELATIVE));
	assert_null(relocate(0x4000, R_X86_64_RELATIVE));
	assert_string_equal(relocate(0, R_X86_64_RELATIVE),
			    "relocation outside relro and data");
	assert_string_equal(relocate(0x7000, R_X86_64_RELATIVE),
			    "relocation outside relro and data");
	assert_string_equal(relocate(0x3104, R_X86_64_RELATIVE), "relocation is not aligned");
	assert_string_equal(relocate(0x3100, R_X86_64_64),
			    "relocation of a kind a static image does not have");
}

static void test_damaged_images_do_no_harm(void **state)
{
	static uint8_t elf[0x6000];
	uint32_t refused = 0;

	srandom(1);
	for (unsigned i = 0; i < 4000; i++) {
		size_t size = make_elf(elf);
		struct blob exact = {NULL, i % 4 ? size : (size_t)random() % size};
		struct d0_image img;

		for (unsigned n = 0; n < 3; n++)
			elf[random() % 400] = (uint8_t)random();
		exact.data = malloc(exact.size ? exact.size : 1); /* ASan sees its end */
		memcpy(exact.data, elf, exact.size);
		refused += describe(&exact, &img) != NULL;
		blob_free(&exact);
	}
	assert_true(refused > 2000);
}

static const char *compile(const char *text, struct blob *out)
{
	static char error[CONF_ERROR_SIZE];
	static struct builder b = {.input = {{.name = "beat", .kind = D0_FILE_CELL},
					     {.name = "disk", .kind = D0_FILE_DATA}},
				   .inputs = 2};
	struct blob t = {(uint8_t *)text, strlen(text)};

	return conf_compile(&t, &b, out, error);
}

static void test_mistakes_in_the_configuration_name_their_line(void **state)
{
	static const char *const bad[][2] = {
	    {"cell", "incomplete line"},
	    {"cell a", "no image="},
	    {"cell a image=none", "no usable image"},
	    {"cell a image=disk", "no usable image"},
	    {"cell a image=beat heap=12Q", "not a number"},
	    {"cell a image=beat heap=99999999999999999999", "not a number"},
	    {"cell a image=beat heap=", "not a number"},
	    {"cell a image=beat heap=-1", "not a number"},
	    {"cell a image=beat heap=5G", "out of range"},
	    {"cell a image=beat stack=0", "out of range"},
	    {"cell a image=beat vcpus=99", "out of range"},
	    {"cell a image=beat channels=0", "out of range"},
	    {"cell a image=beat priority=8", "out of range"},
	    {"cell a image=beat caps=root", "unknown capability"},
	    {"cell a image=beat colour=red", "unknown word"},
	    {"cell a image=beat hea=1", "unknown word"},
	    {"cell a image=beat data=nowhere", "no such file"},
	    {"cell a/b image=beat", "not a name"},
	    {"channel a b protocol=virtq", "no such cell"},
	    {"args nobody x", "no such cell"},
	    {"device nobody class=0200", "no such cell"},
	    {"frobnicate x", "unknown statement"},
	    {"cell a image=beat\ncell a image=beat", "named twice"},
	    {"cell a image=beat\nchannel a a protocol=virtq", "can't make channel"},
	    {"cell a image=beat\nchannel a zz protocol=virtq", "no such cell 'zz'"},
	    {"cell a image=beat caps=control\ncell b image=beat caps=control", "only one cell"},
	    {"cell a image=beat\ndevice a class=0200 pci=8086:100e", "needs pci= or class="},
	    {"cell a image=beat\ndevice a pci=8086100e", "not VVVV:DDDD"},
	    {"cell a image=beat\ndevice a", "needs pci= or class="}};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct blob out;
		const char *err = compile(bad[i][0], &out);

		assert_non_null(err);
		assert_non_null(strstr(err, strchr(bad[i][0], '\n') ? "line 2:" : "line 1:"));
		assert_non_null(strstr(err, bad[i][1]));
		assert_null(out.data);
	}
}

static void test_a_configuration_becomes_requests(void **state)
{
	struct blob out;
	const struct d0_conf_request *head;
	const struct d0_ctl_cell_create *cell;
	const struct d0_ctl_channel_create *ch;
	const struct d0_ctl_device_grant *dev;

	assert_null(compile("# a comment\n\ncell a image=beat heap=1M data=disk # another\n"
			    "args a one two  three\ncell b image=beat caps=inspect,power\n"
			    "channel a b protocol=virtq ring=8K label=x server_args=k=v,w\n"
			    "device b pci=8086:100e index=1\ndevice a class=0108",
			    &out));
	head = (const void *)out.data;
	cell = (const void *)(head + 1);
	assert_int_equal(head->line, 3);
	assert_int_equal(head->size, sizeof(*cell));
	assert_int_equal(cell->h.op, D0_CTL_cell_create);
	assert_int_equal(cell->heap, 1 << 20);
	assert_int_equal(cell->stack, 16384);
	assert_string_equal(cell->data, "disk");
	assert_string_equal(cell->args, "one two  three");
	head = (const void *)(cell + 1);
	cell = (const void *)(head + 1);
	assert_int_equal(cell->caps, D0_CAP_INSPECT | D0_CAP_POWER);
	head = (const void *)(cell + 1);
	ch = (const void *)(head + 1);
	assert_int_equal(head->line, 6);
	assert_int_equal(ch->h.cell, 0);
	assert_int_equal(ch->client, 1);
	assert_int_equal(ch->ring, 8192);
	assert_string_equal(ch->server_args, "k=v w");
	dev = (const void *)((const struct d0_conf_request *)(ch + 1) + 1);
	assert_int_equal(dev->h.cell, 1);
	assert_int_equal(dev->vendor, 0x8086);
	assert_int_equal(dev->device, 0x100e);
	assert_int_equal(dev->index, 1);
	dev = (const void *)((const struct d0_conf_request *)(dev + 1) + 1);
	assert_int_equal(dev->class, 0x0108);
	assert_int_equal((const uint8_t *)(dev + 1) - out.data, out.size);
	blob_free(&out);
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
	    cmocka_unit_test(test_images_are_described),
	    cmocka_unit_test(test_relocations_are_checked),
	    cmocka_unit_test(test_damaged_images_do_no_harm),
	    cmocka_unit_test(test_mistakes_in_the_configuration_name_their_line),
	    cmocka_unit_test(test_a_configuration_becomes_requests),
	    cmocka_unit_test(test_names_are_checked),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
