/* SPDX-License-Identifier: ISC */
/*
 * execve: a new program in the old process.
 *
 * Everything that can fail is done before the old address space goes: the file is opened and
 * its headers checked, #! lines resolved, argument strings copied to the kernel, the new
 * address space filled. Only then do the other threads end and the caller switch over.
 */
#include "cells/linux/inc/sys.h"
#include <linux/elf.h>
#include <linux/auxvec.h>
#include <asm/mman.h>
#include <linux/mman.h>
#include <linux/securebits.h>

#define ARG_BYTES_MAX (2u << 20)
#define ARG_COUNT_MAX 65536u
#define PHDRS_MAX     64

struct exec_args {
	char *buf; /* strings one after the other: argv, then envp */
	u32 used, room;
	u32 argc, envc;
};

struct elf_image {
	struct file *file;
	Elf64_Ehdr eh;
	Elf64_Phdr ph[PHDRS_MAX];
	u64 base, entry, end, phdr_va;
	u64 lo, hi;
	char interp[256];
	u32 stack_prot;
};

u64 vdso_map(struct mm *mm);
void vfork_release(struct thread *t);
bool wx_permit(void);

static int args_add(struct exec_args *a, const char *s, u32 len)
{
	if (a->used + len + 1 > a->room) {
		u32 room = MAX(a->room * 2, ALIGN_UP(a->used + len + 1, 8192u));
		char *n;

		if (a->used + len + 1 > ARG_BYTES_MAX)
			return -E2BIG;
		room = MIN(room, ARG_BYTES_MAX);
		n = kalloc(room);
		if (!n)
			return -ENOMEM;
		if (a->used)
			memcpy(n, a->buf, a->used);
		kfree(a->buf);
		a->buf = n;
		a->room = room;
	}
	/* NOLINTNEXTLINE(clang-analyzer-unix.cstring.NullArg): room is 0 without a buffer */
	memcpy(a->buf + a->used, s, len);
	a->buf[a->used + len] = 0;
	a->used += len + 1;
	return 0;
}

/* Room for the strings is made as they come, so that each is copied once. */
static int args_user_string(struct exec_args *a, u64 ustr)
{
	char part[256];
	ssize n;
	u32 start = a->used;

	for (;;) {
		int r;

		n = str_in(part, ustr, sizeof(part));
		if (n == -EFAULT)
			return -EFAULT;
		r = args_add(a, part, n < 0 ? sizeof(part) : (u32)n);
		if (r)
			return r;
		if (n >= 0)
			return 0;
		a->used--; /* the NUL comes with the last part */
		ustr += sizeof(part);
		if (a->used - start > 131072)
			return -E2BIG;
	}
}

static int args_user_vector(struct exec_args *a, u64 uvec, u32 *count)
{
	for (*count = 0; uvec; (*count)++) {
		u64 ustr;
		int r;

		if (get_user(ustr, uvec + *count * 8ull))
			return -EFAULT;
		if (!ustr)
			break;
		if (*count >= ARG_COUNT_MAX)
			return -E2BIG;
		r = args_user_string(a, ustr);
		if (r)
			return r;
	}
	return 0;
}

/* Put n strings before argv, instead of its first one. */
static int args_script(struct exec_args *a, const char *interp, const char *opt,
		       const char *path)
{
	struct exec_args n = {0};
	/* NOLINTNEXTLINE(clang-analyzer-unix.cstring.NullArg): arguments lie in it */
	u32 skip = a->argc ? (u32)strlen(a->buf) + 1 : 0;
	int r = args_add(&n, interp, (u32)strlen(interp));

	n.argc = 2;
	if (!r && opt) {
		r = args_add(&n, opt, (u32)strlen(opt));
		n.argc++;
	}
	if (!r) /* NOLINTNEXTLINE(clang-analyzer-unix.cstring.NullArg): a script has a path */
		r = args_add(&n, path, (u32)strlen(path));
	if (!r && a->used > skip) {
		r = args_add(&n, a->buf + skip, a->used - skip - 1);
	}
	if (r) {
		kfree(n.buf);
		return r;
	}
	n.argc += a->argc ? a->argc - 1 : 0;
	n.envc = a->envc;
	kfree(a->buf);
	*a = n;
	return 0;
}

/* ---- ELF ---- */
static int elf_check(const Elf64_Ehdr *e)
{
	if (memcmp(e->e_ident, "\177ELF\2\1\1", 7) || e->e_machine != EM_X86_64 ||
	    (e->e_type != ET_EXEC && e->e_type != ET_DYN) ||
	    e->e_phentsize != sizeof(Elf64_Phdr) || !e->e_phnum || e->e_phnum > PHDRS_MAX)
		return -ENOEXEC;
	return 0;
}

static bool phdr_sane(const Elf64_Phdr *p)
{
	return p->p_filesz <= p->p_memsz && p->p_memsz < TASK_SIZE && p->p_vaddr < TASK_SIZE &&
	       p->p_vaddr + p->p_memsz < TASK_SIZE &&
	       (p->p_vaddr & (PAGE_SIZE - 1)) == (p->p_offset & (PAGE_SIZE - 1)) &&
	       p->p_offset < (1ull << 62);
}

static int elf_read(struct elf_image *im)
{
	ssize n;
	u32 loads = 0;

	if (file_read_kernel(im->file, &im->eh, sizeof(im->eh), 0) != sizeof(im->eh) ||
	    elf_check(&im->eh))
		return -ENOEXEC;
	n = (ssize)(im->eh.e_phnum * sizeof(Elf64_Phdr));
	if (file_read_kernel(im->file, im->ph, (size_t)n, im->eh.e_phoff) != n)
		return -ENOEXEC;
	im->lo = NEVER;
	im->stack_prot = PROT_READ | PROT_WRITE;
	for (u32 i = 0; i < im->eh.e_phnum; i++) {
		const Elf64_Phdr *p = &im->ph[i];

		if (p->p_type == PT_INTERP) {
			if (p->p_filesz < 2 || p->p_filesz > sizeof(im->interp) ||
			    file_read_kernel(im->file, im->interp, p->p_filesz, p->p_offset) !=
				(ssize)p->p_filesz ||
			    im->interp[p->p_filesz - 1])
				return -ENOEXEC;
		} else if (p->p_type == PT_GNU_STACK && (p->p_flags & PF_X)) {
			im->stack_prot |= PROT_EXEC;
		} else if (p->p_type == PT_LOAD && p->p_memsz) {
			if (!phdr_sane(p))
				return -ENOEXEC;
			loads++;
			im->lo = MIN(im->lo, (u64)p->p_vaddr & PAGE_MASK);
			im->hi = MAX(im->hi, (u64)(p->p_vaddr + p->p_memsz));
		}
	}
	return loads ? 0 : -ENOEXEC;
}

static u32 elf_prot(u32 f)
{
	return (f & PF_R ? PROT_READ : 0u) | (f & PF_W ? PROT_WRITE : 0u) |
	       (f & PF_X ? PROT_EXEC : 0u);
}

static int map_segment(struct mm *mm, struct elf_image *im, const Elf64_Phdr *p)
{
	u64 va = im->base + p->p_vaddr, start = va & PAGE_MASK, file_end = va + p->p_filesz;
	u64 end = ALIGN_UP(va + p->p_memsz, PAGE_SIZE), mapped = ALIGN_UP(file_end, PAGE_SIZE);
	u32 prot = elf_prot(p->p_flags);
	s64 r = 0;

	if (p->p_filesz) {
		r = mm_map(mm, start, mapped - start, prot, MAP_PRIVATE | MAP_FIXED, im->file,
			   (p->p_offset & PAGE_MASK) / PAGE_SIZE, 0, NULL);
		if (r < 0)
			return (int)r;
	} else {
		mapped = start;
	}
	if (end > mapped) {
		r = mm_map(mm, mapped, end - mapped, prot,
			   MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS, NULL, 0, 0, NULL);
		if (r < 0)
			return (int)r;
	}
	if (p->p_memsz > p->p_filesz && (file_end & (PAGE_SIZE - 1)) && (prot & PROT_WRITE)) {
		/* The rest of the last file page is bss. */
		u64 n = MIN(mapped - file_end, p->p_memsz - p->p_filesz);
		struct page *pg = mm_pin(mm, file_end, true);

		if (!pg)
			return -ENOEXEC;
		memset((u8 *)page_ptr(pg) + (file_end & (PAGE_SIZE - 1)), 0,
		       mapped - file_end > n ? mapped - file_end : n);
		page_put(pg);
	}
	return 0;
}

static int elf_map(struct mm *mm, struct elf_image *im, u64 base)
{
	int r;

	im->base = base;
	for (u32 i = 0; i < im->eh.e_phnum; i++) {
		const Elf64_Phdr *p = &im->ph[i];
		u64 off = im->eh.e_phoff;

		if (p->p_type != PT_LOAD || !p->p_memsz)
			continue;
		r = map_segment(mm, im, p);
		if (r)
			return r;
		if (off >= p->p_offset && off < p->p_offset + p->p_filesz)
			im->phdr_va = base + p->p_vaddr + off - p->p_offset;
	}
	im->entry = base + im->eh.e_entry;
	return 0;
}

static u64 rnd_pages(u32 bits)
{
	return (random_u64() & ((1ull << bits) - 1)) << PAGE_SHIFT;
}

static s64 elf_place(struct mm *mm, struct elf_image *im, bool interp)
{
	u64 size = ALIGN_UP(im->hi, PAGE_SIZE) - im->lo, at;

	if (im->eh.e_type == ET_EXEC)
		return im->lo < MMAP_MIN_ADDR ? -EPERM : 0;
	if (interp)
		at = vma_find_gap(mm, 0, size, false);
	else
		at = 0x555555554000ull + rnd_pages(28);
	return at ? (s64)(at - im->lo) : -ENOMEM;
}

/* ---- The first stack ---- */
struct stack_writer {
	struct mm *mm;
	u64 sp;
	int err;
};

static u64 push_bytes(struct stack_writer *w, const void *p, size_t n)
{
	w->sp -= n;
	if (!w->err && mm_access(w->mm, w->sp, (void *)p, n, true) != n)
		w->err = -EFAULT;
	return w->sp;
}

static u32 fill_auxv(u64 *av, struct mm *mm, const struct elf_image *im,
		     const struct elf_image *interp, u64 execfn, u64 platform, u64 rnd)
{
	const struct cred *c = current->cred;
	u32 id[4], n = 0;
	u64 v[][2] = {{AT_SYSINFO_EHDR, mm->vdso},
		      {AT_HWCAP, 0},
		      {AT_PAGESZ, PAGE_SIZE},
		      {AT_CLKTCK, 100},
		      {AT_PHDR, im->phdr_va},
		      {AT_PHENT, sizeof(Elf64_Phdr)},
		      {AT_PHNUM, im->eh.e_phnum},
		      {AT_BASE, interp ? interp->base : 0},
		      {AT_FLAGS, 0},
		      {AT_ENTRY, im->entry},
		      {AT_UID, c->uid},
		      {AT_EUID, c->euid},
		      {AT_GID, c->gid},
		      {AT_EGID, c->egid},
		      {AT_SECURE, c->uid != c->euid || c->gid != c->egid},
		      {AT_RANDOM, rnd},
		      {AT_HWCAP2, 0},
		      {AT_MINSIGSTKSZ, sig_frame_size()},
		      {AT_EXECFN, execfn},
		      {AT_PLATFORM, platform},
		      {AT_NULL, 0}};

	cpuid(1, 0, id);
	v[1][1] = id[3];
	for (u32 i = 0; i < ARRAY_SIZE(v); i++) {
		if (v[i][0] == AT_SYSINFO_EHDR && !v[i][1])
			continue;
		av[n++] = v[i][0];
		av[n++] = v[i][1];
	}
	return n;
}

/* Strings, then auxv, envp, argv, argc. Returns the stack pointer or -errno. */
static s64 build_stack(struct mm *mm, const struct exec_args *a, const struct elf_image *im,
		       const struct elf_image *interp, const char *path)
{
	struct stack_writer w = {mm, mm->stack_top - 8, 0};
	u64 execfn, platform, rnd, strings, at, *vec, seed[2];
	u32 n = 0, words = a->argc + a->envc + 3;

	random_bytes(seed, sizeof(seed));
	execfn = push_bytes(&w, path, strlen(path) + 1);
	strings = push_bytes(&w, a->buf, a->used);
	platform = push_bytes(&w, "x86_64", 7);
	w.sp &= ~15ull;
	w.sp -= random_u64() & 0xff0;
	rnd = push_bytes(&w, seed, 16);
	vec = kalloc((words + 48) * 8);
	if (!vec)
		return -ENOMEM;
	at = strings;
	vec[n++] = a->argc;
	mm->arg_start = at;
	for (u32 i = 0; i < a->argc + a->envc; i++) {
		if (i == a->argc) {
			vec[n++] = 0;
			mm->arg_end = mm->env_start = at;
		}
		vec[n++] = at;
		at += strlen(a->buf + (at - strings)) + 1;
	}
	if (!a->envc) {
		vec[n++] = 0;
		mm->arg_end = mm->env_start = at;
	}
	mm->env_end = at;
	vec[n++] = 0;
	memset(mm->auxv, 0, sizeof(mm->auxv));
	n += fill_auxv(vec + n, mm, im, interp, execfn, platform, rnd);
	memcpy(mm->auxv, vec + words, MIN(sizeof(mm->auxv), (n - words) * 8ul));
	w.sp = (w.sp - n * 8ull) & ~15ull;
	w.sp += n * 8ull;
	push_bytes(&w, vec, n * 8ull);
	kfree(vec);
	return w.err ? w.err : (s64)w.sp;
}

static int make_stack(struct mm *mm, u32 prot)
{
	u64 size = 34 * PAGE_SIZE;
	s64 r;

	mm->stack_top = STACK_TOP_BASE - PAGE_SIZE - rnd_pages(22);
	mm->mmap_base = mm->stack_top - (8ull << 20) - 256 * PAGE_SIZE - rnd_pages(20);
	if (!mm_wx_ok(mm, prot))
		prot &= ~(u32)PROT_EXEC;
	r = mm_map(mm, mm->stack_top - size, size, prot,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, NULL, 0, VMA_GROWSDOWN | VMA_STACK,
		   "[stack]");
	return r < 0 ? (int)r : 0;
}

/* ---- Credentials ---- */
static int exec_creds(struct inode *ino, bool nosuid)
{
	struct cred *c = cred_own();
	bool suid = (ino->mode & S_ISUID) && !nosuid && !current->no_new_privs;
	bool sgid = (ino->mode & (S_ISGID | 010)) == (S_ISGID | 010) && !nosuid &&
		    !current->no_new_privs;

	if (!c)
		return -ENOMEM;
	if (suid)
		c->euid = ino->uid;
	if (sgid)
		c->egid = ino->gid;
	c->suid = c->fsuid = c->euid;
	c->sgid = c->fsgid = c->egid;
	if (suid || sgid)
		c->cap_amb = 0;
	if ((c->euid == 0 || c->uid == 0) && !(c->securebits & SECBIT_NOROOT)) {
		c->cap_perm = c->cap_bset | c->cap_inh;
		c->cap_eff = c->euid == 0 ? c->cap_perm : 0;
	} else {
		c->cap_perm = c->cap_eff = c->cap_amb;
	}
	c->securebits &= ~SECBIT_KEEP_CAPS;
	return 0;
}

/* ---- From the open file to the running program ---- */
static int may_exec(const struct dentry *d)
{
	struct inode *i = d->inode;
	int r;

	if (!is_reg(i))
		return -EACCES;
	r = inode_permission(i, MAY_EXEC);
	if (!r && !(i->mode & 0111))
		r = -EACCES;
	if (!r && d->mnt && (d->mnt->flags & 8 /* MS_NOEXEC */))
		r = -EACCES;
	return !r && i->writers ? -ETXTBSY : r;
}

static int open_exec(const char *path, int dfd, u32 lookup_flags, struct file **out)
{
	s64 r = open_path(dfd, path, lookup_flags & LOOKUP_FOLLOW ? O_RDONLY : O_NOFOLLOW, 0,
			  lookup_flags, out);

	if (r < 0)
		return (int)r;
	r = may_exec((*out)->dentry);
	if (r)
		file_put(*out);
	return (int)r;
}

/* What a descriptor names, opened anew: it may be O_PATH or lack the right to read. */
static int reopen_exec(int fd, struct file **out)
{
	struct file *f = fd_get(fd);
	int r;

	if (!f)
		return -EBADF;
	r = may_exec(f->dentry);
	if (!r)
		r = file_open_dentry(f->dentry, O_RDONLY, out);
	file_put(f);
	return r;
}

/* 1: it was a script, *file is the interpreter now; 0: not a script. */
static int script_step(struct file **file, const char *path, struct exec_args *a)
{
	char line[256], *p = line + 2, *interp, *opt = NULL;
	ssize n = file_read_kernel(*file, line, sizeof(line) - 1, 0);
	struct file *next;
	int r;

	if (n < 3 || line[0] != '#' || line[1] != '!')
		return 0;
	line[n] = 0;
	if (!strchr(line, '\n') && n == sizeof(line) - 1)
		return -ENOEXEC;
	if (strchr(line, '\n'))
		*strchr(line, '\n') = 0;
	while (*p == ' ' || *p == '\t')
		p++;
	interp = p;
	while (*p && *p != ' ' && *p != '\t')
		p++;
	if (*p) {
		*p++ = 0;
		while (*p == ' ' || *p == '\t')
			p++;
		if (*p) {
			opt = p;
			p += strlen(p);
			while (p > opt && (p[-1] == ' ' || p[-1] == '\t'))
				*--p = 0;
		}
	}
	if (!*interp)
		return -ENOEXEC;
	r = open_exec(interp, AT_FDCWD, LOOKUP_FOLLOW, &next);
	if (r)
		return r;
	r = args_script(a, interp, opt, path);
	if (r) {
		file_put(next);
		return r;
	}
	file_put(*file);
	*file = next;
	return 1;
}

static int load_image(struct mm *mm, struct elf_image *im, struct elf_image **interp)
{
	s64 base;
	int r = elf_read(im);

	if (r)
		return r;
	r = make_stack(mm, im->stack_prot);
	if (r)
		return r;
	base = elf_place(mm, im, false);
	if (base < 0)
		return (int)base;
	r = elf_map(mm, im, (u64)base);
	if (r)
		return r;
	mm->brk_start = mm->brk = ALIGN_UP(im->base + im->hi, PAGE_SIZE) + rnd_pages(12);
	if (im->interp[0]) {
		struct elf_image *in = kalloc(sizeof(*in));

		if (!in)
			return -ENOMEM;
		*interp = in;
		r = open_exec(im->interp, AT_FDCWD, LOOKUP_FOLLOW, &in->file);
		if (!r)
			r = elf_read(in);
		if (r)
			return r;
		base = elf_place(mm, in, true);
		if (base < 0)
			return (int)base;
		r = elf_map(mm, in, (u64)base);
		if (r)
			return r;
	}
	for (u32 i = 0; i < im->eh.e_phnum; i++) {
		const Elf64_Phdr *p = &im->ph[i];

		if (p->p_type != PT_LOAD)
			continue;
		if (p->p_flags & PF_X) {
			mm->start_code = im->base + p->p_vaddr;
			mm->end_code = mm->start_code + p->p_filesz;
		} else if (p->p_flags & PF_W) {
			mm->start_data = im->base + p->p_vaddr;
			mm->end_data = mm->start_data + p->p_filesz;
		}
	}
	mm->vdso = vdso_map(mm);
	return 0;
}

static void end_other_threads(void)
{
	struct thread *t = current;
	struct proc *p = t->proc;

	while (p->nthreads > 1) {
		proc_kill_others(p, t);
		wait_on(&p->child_wait, clock_now() + 10000000, false);
	}
	p->leader = t;
	t->tid = p->pid;
}

void sighand_reset(struct sighand *s)
{
	for (u32 i = 0; i < NSIGS; i++) {
		u64 keep = s->action[i].handler == 1 ? 1 : 0;

		s->action[i] = (struct ksigaction){.handler = keep};
	}
}

static void reset_signals(struct thread *t)
{
	if (t->sighand->refs > 1) {
		struct sighand *n = kmemdup(t->sighand, sizeof(*n));

		if (!n) {
			t->kill_now = true;
			return;
		}
		n->refs = 1;
		t->sighand->refs--;
		t->sighand = n;
	}
	sighand_reset(t->sighand);
	t->altstack_sp = t->altstack_size = 0;
	t->altstack_flags = 0;
}

void posix_timers_free(struct proc *p);

static void switch_over(struct mm *mm, const struct elf_image *im, u64 entry, u64 sp,
			const char *name)
{
	struct thread *t = current;
	struct mm *old = t->mm;
	struct regs *r = t->regs;

	end_other_threads();
	if (old) {
		futex_exit(t);
		if (old->hiwater_rss > t->proc->maxrss)
			t->proc->maxrss = old->hiwater_rss;
	}
	t->mm = mm;
	mm_activate(mm);
	mm_put(old);
	vfork_release(t);
	t->clear_tid = 0;
	t->robust_list = 0;
	t->rseq = 0;
	t->proc->exec_done = true;
	t->proc->dumpable = t->cred->euid == t->cred->uid && t->cred->egid == t->cred->gid;
	if (t->files->refs > 1) {
		struct fdtable *n = fdtable_copy(t->files);

		if (n) {
			fdtable_put(t->files);
			t->files = n;
		}
	}
	fdtable_close_exec(t->files);
	reset_signals(t);
	posix_timers_free(t->proc);
	fpu_fresh(t->fpu);
	fpu_restore(t->fpu);
	t->fs_base = t->gs_base = 0;
	wrmsr(MSR_FS_BASE, 0);
	wrmsr(MSR_KERNEL_GS_BASE, 0);
	name = strrchr(name, '/') ? strrchr(name, '/') + 1 : name;
	str_copy(t->comm, name, sizeof(t->comm));
	memset(r, 0, sizeof(*r));
	r->rip = entry;
	r->rsp = sp;
	r->cs = SEL_UCODE;
	r->ss = SEL_UDATA;
	r->rflags = RFL_IF | 2;
	r->orig_rax = (u64)-1;
}

/* Takes over the file. */
static int exec_opened(struct file *file, const char *path, struct exec_args *a)
{
	const char *asked = path; /* a script's own name, not its interpreter's */
	struct elf_image *im = kalloc(sizeof(*im)), *interp = NULL;
	struct mm *mm = mm_new();
	s64 sp = 0;
	int r = -ENOMEM;

	if (!im || !mm)
		goto out;
	for (int depth = 0;; depth++) {
		r = script_step(&file, path, a);
		if (r <= 0)
			break;
		path = a->buf;
		if (depth >= 4) {
			r = -ELOOP;
			break;
		}
	}
	if (r)
		goto out;
	im->file = file;
	mm->wx_allowed = wx_permit();
	r = load_image(mm, im, &interp);
	if (r)
		goto out;
	mm->exe = file;
	file_get(file);
	if (!file->write_denied) {
		file->write_denied = true;
		file->inode->denywrite++;
	}
	r = exec_creds(file->inode, file->dentry->mnt && (file->dentry->mnt->flags & 2));
	if (r)
		goto out;
	sp = build_stack(mm, a, im, interp, asked);
	if (sp < 0) {
		r = (int)sp;
		goto out;
	}
	switch_over(mm, im, interp ? interp->entry : im->entry, (u64)sp, asked);
	mm = NULL;
out:
	if (mm)
		mm_put(mm);
	if (interp) {
		if (interp->file)
			file_put(interp->file);
		kfree(interp);
	}
	kfree(im);
	file_put(file);
	return r;
}

static s64 do_execve(int dfd, u64 upath, u64 uargv, u64 uenvp, u32 flags)
{
	struct exec_args a = {0};
	struct file *file;
	char *path, name[64];
	int r = path_in(upath, &path);

	if (r)
		return r;
	if (!*path && !(flags & AT_EMPTY_PATH)) {
		kfree(path);
		return -ENOENT;
	}
	if (!*path) {
		r = reopen_exec(dfd, &file);
	} else {
		r = open_exec(path, dfd, flags & AT_SYMLINK_NOFOLLOW ? 0 : LOOKUP_FOLLOW,
			      &file);
	}
	if (!r) {
		r = args_user_vector(&a, uargv, &a.argc);
		if (!r && !a.argc) {
			r = args_add(&a, "", 0);
			a.argc = 1;
		}
		if (!r)
			r = args_user_vector(&a, uenvp, &a.envc);
		if (!*path) {
			format(name, sizeof(name), "/dev/fd/%d", dfd);
		}
		if (!r)
			r = exec_opened(file, *path ? path : name, &a);
		else
			file_put(file);
	}
	kfree(a.buf);
	kfree(path);
	return r;
}

SYSCALL(execve, "spp", u64 path, u64 argv, u64 envp)
{
	return do_execve(AT_FDCWD, path, argv, envp, 0);
}

SYSCALL(execveat, "fsppx", int dfd, u64 path, u64 argv, u64 envp, u32 flags)
{
	if (flags & ~(u32)(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW))
		return -EINVAL;
	return do_execve(dfd, path, argv, envp, flags);
}

/* For the first program of a container: runs on its fresh thread, before user mode. */
s64 kernel_exec(const char *path, char *const argv[], char *const envp[])
{
	struct exec_args a = {0};
	struct file *file;
	int r = 0;

	for (; !r && argv[a.argc]; a.argc++)
		r = args_add(&a, argv[a.argc], (u32)strlen(argv[a.argc]));
	for (; !r && envp[a.envc]; a.envc++)
		r = args_add(&a, envp[a.envc], (u32)strlen(envp[a.envc]));
	if (!r)
		r = open_exec(path, AT_FDCWD, LOOKUP_FOLLOW, &file);
	if (!r)
		r = exec_opened(file, path, &a);
	kfree(a.buf);
	return r;
}
