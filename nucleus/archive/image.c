/* SPDX-License-Identifier: ISC */
/*
 * Loaded images: shared read-only frames, two golden copies of everything, all checked
 * against the manifest when they are made. What an image looks like the manifest says; its
 * ELF headers are not looked at. Relocations touch relro and data only, so that text and
 * rodata hash to the manifest's values at every address.
 */
#include <string.h>
#include "nucleus/archive/archive.h"
#include "nucleus/archive/image.h"
#include "nucleus/core/print.h"

/* System V ABI: Elf64_Rela. d0-mkarchive lets only R_X86_64_RELATIVE pass. */
struct rela {
	u64 offset, info;
	s64 addend;
};

const char *const segment_name[] = {"text", "rodata", "relro", "data"};
static struct image *images;

hpa_t image_frame(const struct image *image, const struct segment *s, u64 page)
{
	for (u32 i = 0; i < image->moves; i++)
		if (image->moved[i].segment == s && image->moved[i].page == page)
			return image->moved[i].frame;
	return HPA(s->frames.v + (page << PAGE_SHIFT));
}

bool image_move(struct image *image, const struct segment *s, u64 page, hpa_t frame)
{
	for (u32 i = 0; i < image->moves; i++)
		if (image->moved[i].segment == s && image->moved[i].page == page) {
			image->moved[i].frame = frame;
			return true;
		}
	if (image->moves == IMAGE_MOVES_MAX)
		return false;
	image->moved[image->moves++] = (struct moved_page){s, page, frame};
	return true;
}

/* Page by page: a moved page's first frame is out of service and not ours any more. */
static void segment_free(const struct image *img, struct segment *s)
{
	for (u64 p = 0; hpa_valid(s->frames) && p < s->pages; p++)
		frame_free(image_frame(img, s, p));
	for (u32 g = 0; g < 2; g++)
		if (hpa_valid(s->golden[g]))
			frames_free_run(s->golden[g], s->pages);
	s->frames = s->golden[0] = s->golden[1] = HPA_NONE;
}

/* The golden copies lie apart: one is taken before all live pages, one after. */
static const char *fill(hpa_t *run, const struct segment *s)
{
	*run = frames_alloc_run(s->pages);
	if (!hpa_valid(*run))
		return "out of memory";
	memcpy(hpa_to_ptr(*run), s->file, s->file_bytes);
	for (u64 p = 0; s->hash && p < s->pages; p++) {
		struct digest d;
		sha256((u8 *)hpa_to_ptr(*run) + p * PAGE_SIZE, PAGE_SIZE, &d);
		if (memcmp(d.byte, s->hash[p].sha256, sizeof(d.byte)))
			return "a page does not have the manifest's hash";
	}
	return NULL;
}

static const char *fill_all(struct image *img)
{
	const char *err = NULL;
	for (u32 i = 0; i < img->segments && !err; i++)
		err = fill(&img->segment[i].golden[0], &img->segment[i]);
	for (u32 i = 0; i < img->segments && !err; i++)
		if (img->segment[i].kind <= D0_SEGMENT_RODATA)
			err = fill(&img->segment[i].frames, &img->segment[i]);
	for (u32 i = 0; i < img->segments && !err; i++)
		err = fill(&img->segment[i].golden[1], &img->segment[i]);
	return err;
}

static void image_free(struct image *img)
{
	for (u32 i = 0; i < img->segments; i++)
		segment_free(img, &img->segment[i]);
	frame_free(ptr_to_hpa(img));
}

static void describe(struct image *img, const struct d0_file *file)
{
	const u8 *data = archive_data(file);
	img->high = file->kind & D0_FILE_HIGH;
	img->file = file;
	img->segments = file->image.segments;
	for (u32 i = 0; i < img->segments; i++) {
		const struct d0_segment *s = &file->image.segment[i];
		bool hashed = s->kind != D0_SEGMENT_DATA;
		img->segment[i] = (struct segment){
		    .kind = s->kind,
		    .vaddr = s->vaddr,
		    .pages = s->pages,
		    .file_bytes = s->bytes,
		    .file = data + s->offset,
		    .frames = HPA_NONE,
		    .golden = {HPA_NONE, HPA_NONE},
		    .hash = hashed ? archive_pages(file) + s->first_page : NULL};
	}
}

static struct image *load(const struct d0_file *file, const char **err)
{
	_Static_assert(sizeof(struct image) <= PAGE_SIZE,
		       "an image's description is one frame");
	hpa_t frame = frame_alloc();
	*err = "out of memory";
	if (!hpa_valid(frame))
		return NULL;
	struct image *img = hpa_to_ptr(frame);
	n_snprintf(img->name, sizeof(img->name), "%s", file->name);
	describe(img, file);
	*err = fill_all(img);
	if (*err) {
		image_free(img);
		return NULL;
	}
	return img;
}

struct image *image_get(const char *name, const char **err)
{
	for (struct image *i = images; i; i = i->next)
		if (!strcmp(i->name, name)) {
			i->users++;
			return i;
		}
	const struct d0_file *file = archive_find(name, D0_FILE_CELL);
	*err = "no such image in the boot archive";
	if (!file)
		return NULL;
	struct image *img = load(file, err);
	if (img) {
		img->users = 1;
		img->next = images;
		images = img;
	}
	return img;
}

void image_put(struct image *image)
{
	if (--image->users)
		return;
	for (struct image **p = &images; *p; p = &(*p)->next)
		if (*p == image) {
			*p = image->next;
			break;
		}
	image_free(image);
}

void image_relocate_page(const struct image *image, const struct segment *s, u64 page, u64 va,
			 void *at)
{
	u64 low = s->vaddr + page * PAGE_SIZE;
	const struct d0_image *is = &image->file->image;
	for (u64 i = 0; i < is->relas; i++) {
		struct rela r;
		memcpy(&r, archive_data(image->file) + is->rela + i * sizeof(r), sizeof(r));
		u64 offset = r.offset - is->link_base;
		if (offset >= low && offset - low <= PAGE_SIZE - sizeof(u64)) {
			u64 value = (u64)r.addend - is->link_base + va;
			memcpy((u8 *)at + (offset - low), &value, sizeof(value));
		}
	}
}
