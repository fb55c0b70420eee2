/* SPDX-License-Identifier: ISC */
/*
 * POSIX message queues. A queue is a file of one filesystem, which is the same wherever
 * it is mounted; the mq_* calls reach its root directory without a mount. Names, rights
 * and lifetime are tmpfs's, so `ls`, chmod and rm work on queues; here are the messages, kept
 * in order of priority, and the one process that wants to be told of the first arrival.
 */
#include "cells/linux/inc/net.h"
#include "cells/linux/inc/sys.h"
#include <linux/capability.h>
#include <linux/mqueue.h>

#define HARD_MSGS     65536
#define HARD_SIZE     (16u << 20)
#define SIGEV_SIGNAL_ 0
#define SIGEV_THREAD_ 2
#define SI_MESGQ_     (-3)

struct message {
	struct list link;
	u32 size, prio;
	u8 text[];
};
struct mqueue {
	struct list messages; /* highest priority first, then oldest */
	struct waitq wait;
	s64 max_msgs, max_size;
	u64 count, bytes, charge; /* charge: against the maker's RLIMIT_MSGQUEUE */
	u32 uid, receivers;
	struct proc *notify; /* not counted: taken back when it closes the queue or ends */
	s32 notify_how, notify_signo;
	u64 notify_value;
	struct file *notify_sock;
	u8 cookie[NOTIFY_COOKIE_LEN];
};

u32 mq_queues_max = 256, mq_msg_max = 10, mq_size_max = 8192, mq_msg_default = 10,
    mq_size_default = 8192;
static struct super *mq_super;
static struct inode *mq_root;
static struct inode_ops mq_dir_ops, mq_file_ops;
static const struct inode_ops *tmpfs_iops;
static u32 queues;
static const struct file_ops mq_fops;
struct charge {
	struct list link;
	u32 uid;
	u64 bytes;
};
static struct list charges;

int netlink_push(struct file *f, const void *data, u32 len);
int tmpfs_make(const char *options, struct super **sb, struct inode **root);
void mqueue_proc_gone(struct proc *p);

/* ---- What a user's queues may hold ---- */
static struct charge *charge_of(u32 uid)
{
	struct charge *c;

	list_each(c, &charges, link) if (c->uid == uid) return c;
	c = kalloc(sizeof(*c));
	if (c) {
		c->uid = uid;
		list_add_tail(&charges, &c->link);
	}
	return c;
}

static int charge_queue(struct mqueue *q)
{
	struct charge *c = charge_of(current->cred->uid);
	u64 need = (u64)q->max_msgs * ((u64)q->max_size + 48 + 8);

	if (!c)
		return -ENOMEM;
	if (c->bytes + need > current->proc->rlim[RLIMIT_MSGQUEUE].cur)
		return -EMFILE;
	c->bytes += need;
	q->charge = need;
	q->uid = c->uid;
	return 0;
}

/* ---- Making and ending queues ---- */
static int attr_check(s64 msgs, s64 size)
{
	bool big = capable(CAP_SYS_RESOURCE);

	if (msgs <= 0 || size <= 0 || msgs > (big ? HARD_MSGS : (s64)mq_msg_max) ||
	    size > (big ? HARD_SIZE : (s64)mq_size_max))
		return -EINVAL;
	return 0;
}

static int queue_create(const char *name, u32 len, u32 mode, const struct mq_attr *a,
			struct inode **out)
{
	struct mqueue *q;
	int r;

	if (queues >= mq_queues_max && !capable(CAP_SYS_RESOURCE))
		return -ENOSPC;
	q = kalloc(sizeof(*q));
	if (!q)
		return -ENOMEM;
	q->max_msgs = a ? a->mq_maxmsg : MIN(mq_msg_default, mq_msg_max);
	q->max_size = a ? a->mq_msgsize : MIN(mq_size_default, mq_size_max);
	list_init(&q->messages);
	r = a ? attr_check(q->max_msgs, q->max_size) : 0;
	if (!r)
		r = charge_queue(q);
	if (!r) {
		r = tmpfs_iops->create(mq_root, name, len, S_IFREG | (mode & 0777), 0, out);
		if (r)
			charge_of(q->uid)->bytes -= q->charge;
	}
	if (r) {
		kfree(q);
		return r;
	}
	queues++;
	(*out)->queue = q;
	(*out)->ops = &mq_file_ops;
	(*out)->fops = &mq_fops;
	(*out)->size = 80;
	return 0;
}

static int dir_create(struct inode *dir, const char *name, u32 len, u32 mode, u64 rdev,
		      struct inode **out)
{
	return (mode & S_IFMT) == S_IFREG ? queue_create(name, len, mode, NULL, out) : -EPERM;
}

static void notify_clear(struct mqueue *q)
{
	q->notify = NULL;
	if (q->notify_sock)
		file_put(q->notify_sock);
	q->notify_sock = NULL;
}

static void queue_evict(struct inode *i)
{
	struct mqueue *q = i->queue;
	struct message *m, *tmp;

	if (q) {
		i->queue = NULL;
		list_each_safe(m, tmp, &q->messages, link) kfree(m);
		notify_clear(q);
		charge_of(q->uid)->bytes -= q->charge;
		queues--;
		kfree(q);
	}
	tmpfs_iops->evict(i);
}

static int no_truncate(struct inode *i, const struct inode_attr *a)
{
	return a->valid & ATTR_SIZE ? -EINVAL : 0;
}

static int fs_ready(void)
{
	int r;

	if (mq_super)
		return 0;
	r = tmpfs_make("mode=1777", &mq_super, &mq_root);
	if (r)
		return r;
	mq_super->type = "mqueue";
	mq_super->magic = 0x19800202;
	mq_super->revalidate = true;
	mq_root->uid = mq_root->gid = 0;
	tmpfs_iops = mq_root->ops;
	mq_dir_ops = mq_file_ops = *tmpfs_iops;
	mq_dir_ops.create = dir_create;
	mq_dir_ops.mkdir = NULL;
	mq_dir_ops.symlink = NULL;
	mq_dir_ops.link = NULL;
	mq_dir_ops.rename = NULL;
	mq_file_ops.evict = queue_evict;
	mq_file_ops.setattr = no_truncate;
	mq_root->ops = &mq_dir_ops;
	return 0;
}

static int mqueue_mount(const char *source, const char *options, struct super **sb,
			struct inode **root)
{
	int r = fs_ready();

	if (!r) {
		mq_super->refs++;
		inode_get(mq_root);
		*sb = mq_super;
		*root = mq_root;
	}
	return r;
}
static const struct fs_type mqueue_type = {"mqueue", mqueue_mount, true};
FS_TYPE(mqueue_type);

/* ---- mq_open, mq_unlink ---- */
static ssize name_in(char *name, u64 uname)
{
	ssize n = str_in(name, uname, NAME_LEN + 1);

	if (n < 0)
		return n;
	if (!n || strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, ".."))
		return n ? -EACCES : -ENOENT;
	return n;
}

static int queue_get(const char *name, u32 len, u32 flags, u32 mode, const struct mq_attr *a,
		     struct inode **out)
{
	static const u32 rights[] = {MAY_READ, MAY_WRITE, MAY_READ | MAY_WRITE};
	int r = mq_root->ops->lookup(mq_root, name, len, out);

	if (r == -ENOENT && (flags & O_CREAT)) {
		r = inode_permission(mq_root, MAY_WRITE | MAY_EXEC);
		return r ? r : queue_create(name, len, mode & ~current->fs->umask, a, out);
	}
	if (r)
		return r;
	if ((flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL))
		r = -EEXIST;
	else
		r = inode_permission(*out, rights[flags & O_ACCMODE]);
	if (r)
		inode_put(*out);
	return r;
}

SYSCALL(mq_open, "sxxp", u64 uname, u32 flags, u32 mode, u64 uattr)
{
	char name[NAME_LEN + 1], full[NAME_LEN + 2];
	struct mq_attr attr;
	struct inode *i;
	struct dentry *d;
	struct file *f = NULL;
	ssize n;
	s64 r;

	if (uattr && get_user(attr, uattr))
		return -EFAULT;
	n = name_in(name, uname);
	if (n < 0)
		return n;
	if ((flags & O_ACCMODE) == 3)
		return -EINVAL;
	r = fd_room() ? fs_ready() : -EMFILE;
	if (!r)
		r = queue_get(name, (u32)n, flags, mode, uattr ? &attr : NULL, &i);
	if (r)
		return r;
	format(full, sizeof(full), "/%s", name);
	d = dentry_new(NULL, full, (u32)strlen(full), i);
	r = d ? file_open_dentry(d, flags & (O_ACCMODE | O_NONBLOCK), &f) : -ENOMEM;
	if (d)
		dentry_put(d);
	inode_put(i);
	if (r)
		return r;
	r = fd_install(f, 0, (flags & O_CLOEXEC) != 0);
	if (r < 0)
		file_put(f);
	return r;
}

SYSCALL(mq_unlink, "s", u64 uname)
{
	char name[NAME_LEN + 1];
	struct inode *i;
	ssize n = name_in(name, uname);
	int r;

	if (n < 0)
		return n;
	r = fs_ready();
	if (!r)
		r = mq_root->ops->lookup(mq_root, name, (u32)n, &i);
	if (r)
		return r;
	r = inode_permission(mq_root, MAY_WRITE | MAY_EXEC);
	if (!r && current->cred->fsuid != i->uid && !capable(CAP_FOWNER))
		r = -EACCES;
	if (!r)
		r = mq_root->ops->unlink(mq_root, name, (u32)n, i);
	inode_put(i);
	return r;
}

/* ---- Sending and receiving ---- */
static struct mqueue *queue_of(int fd, struct file **f)
{
	*f = fd_get(fd);
	if (*f && (*f)->ops == &mq_fops)
		return (*f)->inode->queue;
	if (*f)
		file_put(*f);
	return NULL;
}

static void tell_arrival(struct mqueue *q)
{
	struct proc *p = q->notify;
	siginfo_t i;

	if (q->notify_how == SIGEV_SIGNAL_ && !p->zombie) {
		sig_info_user(&i, q->notify_signo, SI_MESGQ_);
		i._sifields._rt._sigval.sival_ptr = (void *)q->notify_value;
		sig_send_proc(p, q->notify_signo, &i);
	} else if (q->notify_how == SIGEV_THREAD_) {
		q->cookie[NOTIFY_COOKIE_LEN - 1] = NOTIFY_WOKENUP;
		netlink_push(q->notify_sock, q->cookie, NOTIFY_COOKIE_LEN);
	}
	notify_clear(q);
}

static void insert(struct mqueue *q, struct message *m)
{
	struct message *at;

	list_each(at, &q->messages, link) if (at->prio < m->prio) break;
	list_add_tail(&at->link, &m->link);
	q->count++;
	q->bytes += m->size;
	if (q->count == 1 && q->notify && !q->receivers)
		tell_arrival(q);
	wake_all(&q->wait);
}

static s64 send_message(struct file *f, struct mqueue *q, u64 ubuf, u64 size, u32 prio,
			u64 deadline)
{
	struct message *m;
	int r = 0;

	if (!(f->flags & O_ACCMODE))
		return -EBADF;
	if (size > (u64)q->max_size)
		return -EMSGSIZE;
	m = kalloc(sizeof(*m) + size);
	if (!m)
		return -ENOMEM;
	m->size = (u32)size;
	m->prio = prio;
	if (copy_in(m->text, ubuf, size)) {
		kfree(m);
		return -EFAULT;
	}
	if (q->count >= (u64)q->max_msgs && (f->flags & O_NONBLOCK))
		r = -EAGAIN;
	else
		r = wait_event(&q->wait, q->count < (u64)q->max_msgs, deadline);
	if (r) {
		kfree(m);
		return r;
	}
	insert(q, m);
	inode_touch(f->inode, ATTR_ATIME | ATTR_MTIME | ATTR_CTIME);
	return 0;
}

static s64 receive_message(struct file *f, struct mqueue *q, u64 ubuf, u64 size, u64 uprio,
			   u64 deadline)
{
	struct message *m;
	s64 r;

	if ((f->flags & O_ACCMODE) == O_WRONLY)
		return -EBADF;
	if (size < (u64)q->max_size)
		return -EMSGSIZE;
	if (!q->count && (f->flags & O_NONBLOCK))
		return -EAGAIN;
	q->receivers++;
	r = wait_event(&q->wait, q->count, deadline);
	q->receivers--;
	if (r)
		return r;
	m = list_first(&q->messages, struct message, link);
	list_del(&m->link);
	q->count--;
	q->bytes -= m->size;
	wake_all(&q->wait);
	inode_touch(f->inode, ATTR_ATIME | ATTR_MTIME | ATTR_CTIME);
	r = m->size;
	if (copy_out(ubuf, m->text, m->size) || (uprio && put_user(m->prio, uprio)))
		r = -EFAULT;
	kfree(m);
	return r;
}

/* The queue, its file held, and the time limit. */
static s64 timed_begin(int fd, u64 uts, struct file **f, struct mqueue **q, u64 *deadline)
{
	s64 r = deadline_in(uts, wall_now(), deadline);

	if (r)
		return r;
	*q = queue_of(fd, f);
	return *q ? 0 : -EBADF;
}

SYSCALL(mq_timedsend, "fpuup", int fd, u64 ubuf, u64 size, u32 prio, u64 uts)
{
	struct mqueue *q;
	struct file *f;
	u64 deadline;
	s64 r = prio < MQ_PRIO_MAX ? timed_begin(fd, uts, &f, &q, &deadline) : -EINVAL;

	if (r)
		return r;
	r = send_message(f, q, ubuf, size, prio, deadline);
	file_put(f);
	return r;
}

SYSCALL(mq_timedreceive, "fpupp", int fd, u64 ubuf, u64 size, u64 uprio, u64 uts)
{
	struct mqueue *q;
	struct file *f;
	u64 deadline;
	s64 r = timed_begin(fd, uts, &f, &q, &deadline);

	if (r)
		return r;
	r = receive_message(f, q, ubuf, size, uprio, deadline);
	file_put(f);
	return r;
}

/* ---- Notification and attributes ---- */
struct sigevent_k {
	u64 value;
	s32 signo, notify;
	u8 rest[48];
};

static s64 notify_set(struct mqueue *q, const struct sigevent_k *e, const u8 *cookie)
{
	struct file *sock = NULL;

	if (q->notify)
		return -EBUSY;
	if (e->notify == SIGEV_THREAD_) {
		sock = fd_get(e->signo);
		if (!sock)
			return -EBADF;
		if (netlink_push(sock, NULL, 0)) {
			file_put(sock);
			return -EINVAL;
		}
		memcpy(q->cookie, cookie, NOTIFY_COOKIE_LEN);
	}
	q->notify_sock = sock;
	q->notify = current->proc;
	q->notify_how = e->notify;
	q->notify_signo = e->signo;
	q->notify_value = e->value;
	return 0;
}

SYSCALL(mq_notify, "fp", int fd, u64 uevent)
{
	struct sigevent_k e;
	u8 cookie[NOTIFY_COOKIE_LEN] = {0};
	struct mqueue *q;
	struct file *f;
	s64 r = 0;

	if (uevent) {
		if (get_user(e, uevent))
			return -EFAULT;
		if (e.notify < 0 || e.notify > SIGEV_THREAD_ ||
		    (e.notify == SIGEV_SIGNAL_ && (e.signo < 0 || e.signo > NSIGS)))
			return -EINVAL;
		if (e.notify == SIGEV_THREAD_ && copy_in(cookie, e.value, sizeof(cookie)))
			return -EFAULT;
	}
	q = queue_of(fd, &f);
	if (!q)
		return -EBADF;
	if (uevent)
		r = notify_set(q, &e, cookie);
	else if (q->notify == current->proc)
		notify_clear(q);
	inode_touch(f->inode, ATTR_ATIME | ATTR_CTIME);
	file_put(f);
	return r;
}

SYSCALL(mq_getsetattr, "fpp", int fd, u64 unew, u64 uold)
{
	struct mq_attr a = {0}, old = {0};
	struct mqueue *q;
	struct file *f;

	if (unew && get_user(a, unew))
		return -EFAULT;
	if (unew && (a.mq_flags & ~(s64)O_NONBLOCK))
		return -EINVAL;
	q = queue_of(fd, &f);
	if (!q)
		return -EBADF;
	old.mq_flags = f->flags & O_NONBLOCK;
	old.mq_maxmsg = q->max_msgs;
	old.mq_msgsize = q->max_size;
	old.mq_curmsgs = (s64)q->count;
	if (unew)
		f->flags = (f->flags & ~(u32)O_NONBLOCK) | (u32)a.mq_flags;
	file_put(f);
	return uold ? put_user(old, uold) : 0;
}

/* ---- As files ---- */
static ssize mq_read(struct file *f, struct uio *u, u64 *pos)
{
	struct mqueue *q = f->inode->queue;
	char buf[96];
	u64 n;

	n = (u64)format(buf, sizeof(buf),
			"QSIZE:%-10lu NOTIFY:%-5d SIGNO:%-5d NOTIFY_PID:%-6d\n", q->bytes,
			q->notify ? q->notify_how : 0,
			q->notify && q->notify_how == SIGEV_SIGNAL_ ? q->notify_signo : 0,
			q->notify ? (int)q->notify->pid : 0);
	if (*pos >= n)
		return 0;
	n = MIN(n - *pos, u->left);
	if (uio_out(u, buf + *pos, n))
		return -EFAULT;
	*pos += n;
	return (ssize)n;
}

static u32 mq_poll(struct file *f, struct poll_table *pt)
{
	struct mqueue *q = f->inode->queue;

	poll_wait(pt, &q->wait);
	return (q->count ? POLLIN | POLLRDNORM : 0) |
	       (q->count < (u64)q->max_msgs ? POLLOUT | POLLWRNORM : 0);
}

static int mq_flush(struct file *f)
{
	struct mqueue *q = f->inode->queue;

	if (q->notify == current->proc)
		notify_clear(q);
	return 0;
}

static const struct file_ops mq_fops = {
    .read = mq_read, .poll = mq_poll, .flush = mq_flush, .seek = generic_seek};

void mqueue_proc_gone(struct proc *p)
{
	struct inode *i;

	if (mq_super)
		list_each(i, &mq_super->inodes, sb_link) if (i->queue && i->queue->notify == p)
		    notify_clear(i->queue);
}
