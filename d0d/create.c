// SPDX-License-Identifier: ISC
// What a create request may ask for.
//
// Everything is decided here, before anything is made: options are merged with the image's
// config as Docker does, and what D0 can't do is refused with a message that says why and
// what to do instead. An option that is merely advisory gives a warning.
#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "d0d/engine.h"

#define MEMORY_MIN (6ll << 20)

bool name_valid(const char *s)
{
	if (!isalnum((unsigned char)*s) || !s[1])
		return false;
	for (; *s; s++)
		if (!isalnum((unsigned char)*s) && !strchr("_.-", *s))
			return false;
	return true;
}

int64_t size_parse(const char *s)
{
	char *end;
	double v = strtod(s, &end);
	static const char units[] = "bkmgt";

	if (end == s || !(v >= 0) || v > 1e15)
		return -1;
	const char *u = *end ? strchr(units, tolower((unsigned char)*end)) : units;
	if (!u || (*end && end[1] && strcasecmp(end + 1, "b") != 0))
		return -1;
	for (; u > units; u--)
		v *= 1024;
	return v < 9e18 ? (int64_t)v : -1;
}

// ---- capabilities (linux/capability.h numbers) ----

static const char *const cap_names[] = {"CHOWN",
					"DAC_OVERRIDE",
					"DAC_READ_SEARCH",
					"FOWNER",
					"FSETID",
					"KILL",
					"SETGID",
					"SETUID",
					"SETPCAP",
					"LINUX_IMMUTABLE",
					"NET_BIND_SERVICE",
					"NET_BROADCAST",
					"NET_ADMIN",
					"NET_RAW",
					"IPC_LOCK",
					"IPC_OWNER",
					"SYS_MODULE",
					"SYS_RAWIO",
					"SYS_CHROOT",
					"SYS_PTRACE",
					"SYS_PACCT",
					"SYS_ADMIN",
					"SYS_BOOT",
					"SYS_NICE",
					"SYS_RESOURCE",
					"SYS_TIME",
					"SYS_TTY_CONFIG",
					"MKNOD",
					"LEASE",
					"AUDIT_WRITE",
					"AUDIT_CONTROL",
					"SETFCAP",
					"MAC_OVERRIDE",
					"MAC_ADMIN",
					"SYSLOG",
					"WAKE_ALARM",
					"BLOCK_SUSPEND",
					"AUDIT_READ",
					"PERFMON",
					"BPF",
					"CHECKPOINT_RESTORE"};
#define NCAPS (sizeof(cap_names) / sizeof(cap_names[0]))
// Docker's default set.
#define CAPS_DEFAULT 0xa80425fbull

static int cap_number(const char *name)
{
	if (strncasecmp(name, "CAP_", 4) == 0)
		name += 4;
	for (size_t i = 0; i < NCAPS; i++)
		if (strcasecmp(name, cap_names[i]) == 0)
			return (int)i;
	return strcasecmp(name, "ALL") == 0 ? 64 : -1;
}

static uint64_t cap_set(const json_t *list)
{
	uint64_t set = 0;

	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *s = json_string_value(json_array_get(list, i));
		int n = s ? cap_number(s) : -1;
		if (n == 64)
			set |= (1ull << NCAPS) - 1;
		else if (n >= 0)
			set |= 1ull << n;
	}
	return set;
}

uint64_t caps_of(const json_t *host)
{
	uint64_t drop = cap_set(ja(host, "CapDrop")), add = cap_set(ja(host, "CapAdd"));

	return (CAPS_DEFAULT & ~drop) | (add & ~(drop == (1ull << NCAPS) - 1 ? 0 : drop));
}

static int check_caps(const json_t *host, const char *key, struct err *err)
{
	const json_t *list = ja(host, key);

	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *s = json_string_value(json_array_get(list, i));
		if (!s || cap_number(s) < 0)
			return err_set(err, 400, "invalid %s: unknown capability: \"%.80s\"",
				       key, s ? s : "");
	}
	return 0;
}

// ---- refusals ----

static bool filled(const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);

	return (json_is_array(v) && json_array_size(v)) ||
	       (json_is_object(v) && json_object_size(v)) ||
	       (json_is_string(v) && *json_string_value(v)) ||
	       (json_is_integer(v) && json_integer_value(v) != 0) || json_is_true(v);
}

static int refuse(const json_t *h, struct err *err)
{
	static const struct {
		const char *key, *why;
	} no[] = {
	    {"Privileged",
	     "privileged containers are not supported by D0: a container is a virtual "
	     "machine of its own and has no host to be privileged on; use --cap-add"},
	    {"Devices", "host devices (--device) are not supported by D0"},
	    {"DeviceRequests", "device requests (--gpus) are not supported by D0"},
	    {"DeviceCgroupRules", "device rules are not supported by D0"},
	    {"VolumesFrom", "--volumes-from is not supported by D0: name the volumes with -v"},
	    {"Links", "links are not supported by D0: use a network and the containers' names"},
	    {"CgroupParent", "--cgroup-parent is not supported by D0: there are no cgroups"},
	    {"CpusetCpus", "--cpuset-cpus is not supported by D0"},
	    {"CpusetMems", "--cpuset-mems is not supported by D0"},
	    {"CpuRealtimePeriod", "real-time CPU limits are not supported by D0"},
	    {"CpuRealtimeRuntime", "real-time CPU limits are not supported by D0"},
	    {"StorageOpt", "--storage-opt is not supported by D0"},
	    {"VolumeDriver", NULL},
	};
	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
		if (no[i].why && filled(h, no[i].key))
			return err_set(err, 400, "%s", no[i].why);
	const char *runtime = js(h, "Runtime", "");
	if (*runtime && strcmp(runtime, "runc") != 0 && strcmp(runtime, "d0") != 0)
		return err_set(err, 400, "unknown or invalid runtime name: %.80s", runtime);
	const char *driver = js(h, "VolumeDriver", "");
	if (*driver && strcmp(driver, "local") != 0)
		return err_set(err, 400, "volume driver \"%.80s\" not found: D0 has local only",
			       driver);
	return 0;
}

static int refuse_modes(const json_t *h, struct err *err)
{
	static const char *const keys[] = {"PidMode", "IpcMode", "UTSMode", "UsernsMode",
					   "CgroupnsMode"};

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		const char *v = js(h, keys[i], "");
		if (strcmp(v, "host") == 0 || strncmp(v, "container:", 10) == 0)
			return err_set(err, 400,
				       "%s \"%.80s\" is not supported by D0: every container "
				       "has a kernel of its "
				       "own, so namespaces can't be shared",
				       keys[i], v);
	}
	if (strcmp(js(h, "NetworkMode", ""), "host") == 0)
		return err_set(err, 400,
			       "network mode \"host\" is not supported by D0: the host has no "
			       "network stack of "
			       "its own; publish ports with -p or use a macvlan network");
	const json_t *sec = ja(h, "SecurityOpt");
	for (size_t i = 0; i < json_array_size(sec); i++) {
		const char *s = json_string_value(json_array_get(sec, i));
		if (!s ||
		    (strncmp(s, "no-new-privileges", 17) != 0 && strncmp(s, "label", 5) != 0 &&
		     strcmp(s, "seccomp=unconfined") != 0 &&
		     strcmp(s, "apparmor=unconfined") != 0))
			return err_set(err, 400,
				       "security option \"%.100s\" is not supported by D0",
				       s ? s : "");
	}
	const char *log = js(jo(h, "LogConfig"), "Type", "");
	if (*log && strcmp(log, "json-file") != 0 && strcmp(log, "local") != 0 &&
	    strcmp(log, "none") != 0)
		return err_set(err, 400, "logger: no log driver named '%.80s' is registered",
			       log);
	return 0;
}

// What a container that shares another's network can't have of its own, in Docker's words. C is
// the request, before what the image brings.
static int refuse_shared(const json_t *c, const json_t *h, struct err *err)
{
	static const char what[] = "conflicting options: ";
	const char *mode = js(h, "NetworkMode", "");

	if (strncmp(mode, "container:", 10) != 0)
		return 0;
	if (!mode[10])
		return err_set(err, 400,
			       "Invalid network mode: invalid container format "
			       "container:<name|id>");
	if (filled(c, "Hostname"))
		return err_set(err, 400, "%shostname and the network mode", what);
	if (filled(h, "Dns"))
		return err_set(err, 400, "%sdns and the network mode", what);
	if (filled(h, "ExtraHosts"))
		return err_set(err, 400, "%scustom host-to-IP mapping and the network mode",
			       what);
	if (filled(c, "MacAddress"))
		return err_set(err, 400, "%smac-address and the network mode", what);
	if (filled(h, "PortBindings") || filled(h, "PublishAllPorts"))
		return err_set(err, 400,
			       "%sport publishing and the container type network mode", what);
	if (filled(c, "ExposedPorts"))
		return err_set(err, 400, "%sport exposing and the container type network mode",
			       what);
	return 0;
}

static int check_resources(const json_t *h, json_t *warnings, struct err *err)
{
	int64_t mem = ji(h, "Memory", 0), swap = ji(h, "MemorySwap", 0),
		cpus = ji(h, "NanoCpus", 0);
	int64_t quota = ji(h, "CpuQuota", 0), shares = ji(h, "CpuShares", 0);

	if (mem < 0 || (mem > 0 && mem < MEMORY_MIN))
		return err_set(err, 400, "Minimum memory limit allowed is 6MB");
	if (mem > 0 && swap > 0 && swap < mem)
		return err_set(
		    err, 400,
		    "Minimum memoryswap limit should be larger than memory limit, see usage");
	if (mem == 0 && swap > 0)
		return err_set(
		    err, 400,
		    "You should always set the Memory limit when using Memoryswap limit, "
		    "see usage");
	if (cpus < 0 || (cpus > 0 && cpus < 10000000))
		return err_set(err, 400, "range of CPUs is from 0.01 up");
	if (cpus > 0 && quota > 0)
		return err_set(
		    err, 400,
		    "Conflicting options: Nano CPUs and CPU Quota cannot both be set.");
	if (shares < 0)
		return err_set(err, 400,
			       "invalid CPU shares (%lld): value must be a positive integer",
			       (long long)shares);
	if (ji(h, "MemoryReservation", 0) || ji(h, "BlkioWeight", 0) || ji(h, "OomScoreAdj", 0))
		json_array_append_new(
		    warnings, json_string("memory reservation, block I/O weight and OOM "
					  "score have no effect on D0; discarded."));
	return 0;
}

static int check_restart(const json_t *h, struct err *err)
{
	const json_t *p = jo(h, "RestartPolicy");
	const char *name = js(p, "Name", "");
	int64_t max = ji(p, "MaximumRetryCount", 0);

	if (*name && strcmp(name, "no") && strcmp(name, "always") &&
	    strcmp(name, "on-failure") && strcmp(name, "unless-stopped"))
		return err_set(
		    err, 400,
		    "invalid restart policy: unknown policy '%.80s'; use one of 'no', "
		    "'always', 'on-failure', or 'unless-stopped'",
		    name);
	if (max < 0 || (max > 0 && strcmp(name, "on-failure") != 0))
		return err_set(
		    err, 400,
		    "invalid restart policy: maximum retry count can only be used with "
		    "'on-failure'");
	if (jb(h, "AutoRemove", false) && *name && strcmp(name, "no") != 0)
		return err_set(err, 400,
			       "can't create 'AutoRemove' container with restart policy");
	return 0;
}

static int check_config(const json_t *c, struct err *err)
{
	const char *host = js(c, "Hostname", ""), *sig = js(c, "StopSignal", "");

	if (strlen(host) > 63 ||
	    strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
			 "0123456789-._") != strlen(host))
		return err_set(err, 400, "invalid hostname format: %.100s", host);
	if (*sig && signal_parse(sig) < 0)
		return err_set(err, 400, "invalid stop signal: %.80s", sig);
	const char *cwd = js(c, "WorkingDir", "");
	if (*cwd && *cwd != '/')
		return err_set(
		    err, 400,
		    "the working directory '%.200s' is invalid, it needs to be an absolute "
		    "path",
		    cwd);
	const json_t *env = ja(c, "Env");
	for (size_t i = 0; i < json_array_size(env); i++) {
		const char *s = json_string_value(json_array_get(env, i));
		if (!s || !*s || *s == '=')
			return err_set(err, 400, "invalid environment variable: %.80s",
				       s ? s : "");
	}
	const json_t *health = jo(c, "Healthcheck");
	int64_t iv = ji(health, "Interval", 0), to = ji(health, "Timeout", 0);
	if (iv < 0 || to < 0 || (iv && iv < 1000000) || (to && to < 1000000))
		return err_set(err, 400, "Interval in Healthcheck cannot be less than 1ms");
	return 0;
}

// ---- merging ----

static bool env_has(const json_t *env, const char *kv)
{
	size_t n = strcspn(kv, "=");

	for (size_t i = 0; i < json_array_size(env); i++) {
		const char *s = json_string_value(json_array_get(env, i));
		if (s && strncmp(s, kv, n) == 0 && (s[n] == '=' || !s[n]))
			return true;
	}
	return false;
}

static void merge_env(json_t *c, const json_t *image)
{
	json_t *out = json_array(), *user = ja(c, "Env");
	const json_t *base = ja(image, "Env");

	for (size_t i = 0; i < json_array_size(base); i++) {
		json_t *v = json_array_get(base, i);
		if (json_is_string(v) && !env_has(user, json_string_value(v)))
			json_array_append(out, v);
	}
	if (user)
		json_array_extend(out, user);
	json_object_set_new(c, "Env", out);
}

static void merge_object(json_t *c, const json_t *image, const char *key)
{
	json_t *have = jo(c, key), *base = jo(image, key);

	if (!base)
		return;
	if (!have)
		json_object_set_new(c, key, json_deep_copy(base));
	else
		json_object_update_missing(have, base);
}

// A string there stands for a list of one (Docker's strslice).
static void as_list(json_t *c, const char *key)
{
	json_t *v = json_object_get(c, key);

	if (json_is_string(v)) {
		json_t *a = json_array();
		json_array_append(a, v);
		json_object_set_new(c, key, a);
	} else if (v && !json_is_array(v) && !json_is_null(v)) {
		json_object_del(c, key);
	}
}

static void merge(json_t *c, const json_t *image)
{
	static const char *const texts[] = {"WorkingDir", "User", "StopSignal"};

	as_list(c, "Cmd");
	as_list(c, "Entrypoint");
	if (json_array_size(ja(c, "Entrypoint")) == 0) {
		if (json_array_size(ja(c, "Cmd")) == 0 && ja(image, "Cmd"))
			json_object_set(c, "Cmd", ja(image, "Cmd"));
		if (!ja(c, "Entrypoint") && ja(image, "Entrypoint"))
			json_object_set(c, "Entrypoint", ja(image, "Entrypoint"));
	}
	merge_env(c, image);
	merge_object(c, image, "Labels");
	merge_object(c, image, "ExposedPorts");
	merge_object(c, image, "Volumes");
	for (size_t i = 0; i < 3; i++)
		if (!*js(c, texts[i], "") && js(image, texts[i], NULL))
			json_object_set(c, texts[i], json_object_get(image, texts[i]));
	const json_t *own = jo(c, "Healthcheck");
	if (!own && jo(image, "Healthcheck"))
		json_object_set(c, "Healthcheck", jo(image, "Healthcheck"));
	else if (own && json_array_size(ja(own, "Test")) == 0 && jo(image, "Healthcheck"))
		json_object_update_missing(jo(c, "Healthcheck"), jo(image, "Healthcheck"));
	if (!jo(c, "Labels"))
		json_object_set_new(c, "Labels", json_object());
}

static bool has_command(const json_t *c)
{
	static const char *const keys[] = {"Entrypoint", "Cmd"};

	for (size_t k = 0; k < 2; k++) {
		const json_t *a = ja(c, keys[k]);
		for (size_t i = 0; i < json_array_size(a); i++) {
			const char *s = json_string_value(json_array_get(a, i));
			if (s && (*s || i || k))
				return true;
		}
	}
	return false;
}

int create_decode(const json_t *body, const json_t *image, json_t **config, json_t **host,
		  json_t *warnings, struct err *err)
{
	json_t *h =
	    jo(body, "HostConfig") ? json_deep_copy(jo(body, "HostConfig")) : json_object();
	json_t *c = json_deep_copy(body);

	json_object_del(c, "HostConfig");
	json_object_del(c, "NetworkingConfig");
	merge(c, image);
	int rc = refuse(h, err);
	if (rc == 0)
		rc = refuse_modes(h, err);
	if (rc == 0)
		rc = refuse_shared(body, h, err);
	if (rc == 0)
		rc = check_resources(h, warnings, err);
	if (rc == 0)
		rc = check_restart(h, err);
	if (rc == 0)
		rc = check_caps(h, "CapAdd", err);
	if (rc == 0)
		rc = check_caps(h, "CapDrop", err);
	if (rc == 0)
		rc = check_config(c, err);
	if (rc == 0 && !has_command(c))
		rc = err_set(err, 400, "no command specified");
	if (rc < 0) {
		json_decref(c);
		json_decref(h);
		return -1;
	}
	*config = c;
	*host = h;
	return 0;
}

// ---- mounts ----

static bool dest_valid(const char *d)
{
	return d && *d == '/' && d[1] && !strstr(d, "/../") &&
	       strcmp(d + strlen(d) - 1, "/..") != 0;
}

static void add_mount(json_t *out, const char *type, const char *name, const char *dest,
		      bool rw, const char *mode)
{
	char *clean = xstrdup(dest);

	for (size_t n = strlen(clean); n > 1 && clean[n - 1] == '/';)
		clean[--n] = 0;
	for (size_t i = 0; i < json_array_size(out); i++) // a later one of the same place wins
		if (strcmp(js(json_array_get(out, i), "Destination", ""), clean) == 0)
			json_array_remove(out, i--);
	json_array_append_new(out, json_pack("{s:s, s:o, s:o, s:s, s:o, s:b, s:s}", "Type",
					     type, "Name", jstr(name), "Destination",
					     jstr(clean), "Driver", *type == 'v' ? "local" : "",
					     "Mode", jstr(mode), "RW", rw, "Propagation", ""));
	free(clean);
}

static int one_bind(json_t *out, const char *bind, struct err *err)
{
	char *copy = xstrdup(bind), *dest = strchr(copy, ':'), *mode = NULL;
	int rc = 0;

	if (dest)
		*dest++ = 0;
	else
		dest = copy; // an anonymous volume
	mode = strchr(dest, ':');
	if (mode)
		*mode++ = 0;
	if (dest != copy && *copy == '/')
		rc = err_set(
		    err, 400,
		    "bind mounts are not supported by D0: there is no host path \"%.200s\" (D0 "
		    "hosts "
		    "have no file system of their own); use a named volume and docker cp",
		    copy);
	else if (!dest_valid(dest))
		rc = err_set(
		    err, 400,
		    "invalid volume specification: '%.200s': invalid mount config for type "
		    "\"volume\": invalid mount path: '%.200s' mount path must be absolute",
		    bind, dest);
	else if (dest != copy && !name_valid(copy))
		rc = err_set(
		    err, 400,
		    "create %.200s: \"%.200s\" includes invalid characters for a local volume "
		    "name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to "
		    "pass a "
		    "host directory, use absolute path",
		    copy, copy);
	else
		add_mount(out, "volume", dest == copy ? "" : copy, dest,
			  !(mode && strstr(mode, "ro")), mode ? mode : "z");
	free(copy);
	return rc;
}

static int one_mount(json_t *out, const json_t *m, struct err *err)
{
	const char *type = js(m, "Type", "volume"), *src = js(m, "Source", ""),
		   *dest = js(m, "Target", "");
	bool rw = !jb(m, "ReadOnly", false);

	if (!dest_valid(dest))
		return err_set(
		    err, 400,
		    "invalid mount config for type \"%.20s\": invalid mount path: '%.200s' "
		    "mount path must be absolute",
		    type, dest);
	if (strcmp(type, "tmpfs") == 0) {
		add_mount(out, "tmpfs", "", dest, rw, "");
		json_t *last = json_array_get(out, json_array_size(out) - 1);
		json_object_set_new(last, "Size",
				    json_integer(ji(jo(m, "TmpfsOptions"), "SizeBytes", 0)));
		json_object_set_new(last, "Perm",
				    json_integer(ji(jo(m, "TmpfsOptions"), "Mode", 0)));
		return 0;
	}
	if (strcmp(type, "volume") != 0)
		return err_set(
		    err, 400,
		    "mount type \"%.20s\" is not supported by D0: use volume or tmpfs", type);
	if (*src && !name_valid(src))
		return err_set(
		    err, 400,
		    "create %.200s: \"%.200s\" includes invalid characters for a local "
		    "volume name",
		    src, src);
	add_mount(out, "volume", src, dest, rw, "z");
	return 0;
}

static int64_t tmpfs_opt(const char *opts, const char *key, bool octal)
{
	const char *at = strstr(opts, key);

	if (!at)
		return 0;
	at += strlen(key);
	char *v = xstrndup(at, strcspn(at, ","));
	int64_t n = octal ? strtoll(v, NULL, 8) : size_parse(v);
	free(v);
	return n < 0 ? 0 : n;
}

json_t *create_mounts(const json_t *config, const json_t *host, struct err *err)
{
	json_t *out = json_array(), *v;
	const char *key;
	int rc = 0;

	json_object_foreach(jo(config, "Volumes"), key, v) if (rc == 0 && dest_valid(key))
	    add_mount(out, "volume", "", key, true, "");
	for (size_t i = 0; i < json_array_size(ja(host, "Binds")) && rc == 0; i++) {
		const char *s = json_string_value(json_array_get(ja(host, "Binds"), i));
		rc = s ? one_bind(out, s, err) : 0;
	}
	for (size_t i = 0; i < json_array_size(ja(host, "Mounts")) && rc == 0; i++)
		rc = one_mount(out, json_array_get(ja(host, "Mounts"), i), err);
	json_object_foreach(jo(host, "Tmpfs"), key, v)
	{
		const char *opts = json_string_value(v) ?: "";
		if (rc < 0)
			break;
		if (!dest_valid(key)) {
			rc = err_set(err, 400,
				     "invalid mount path: '%.200s' mount path must be absolute",
				     key);
			break;
		}
		add_mount(out, "tmpfs", "", key,
			  !strstr(opts, "ro,") && strcmp(opts, "ro") != 0, opts);
		json_t *last = json_array_get(out, json_array_size(out) - 1);
		json_object_set_new(last, "Size",
				    json_integer(tmpfs_opt(opts, "size=", false)));
		json_object_set_new(last, "Perm", json_integer(tmpfs_opt(opts, "mode=", true)));
	}
	if (rc == 0)
		return out;
	json_decref(out);
	return NULL;
}

// ---- ports ----

static int parse_port(const char *s, int *port, int *proto)
{
	char *end;
	long n = strtol(s, &end, 10);

	if (end == s || n < 1 || n > 65535)
		return -1;
	*port = (int)n;
	*proto = IPPROTO_TCP;
	if (!*end || strcmp(end, "/tcp") == 0)
		return 0;
	*proto = IPPROTO_UDP;
	return strcmp(end, "/udp") == 0 ? 0 : -1;
}

static int bind_one(const char *key, const json_t *b, struct be_port *p, struct err *err)
{
	const char *ip = js(b, "HostIp", ""), *port = js(b, "HostPort", "");
	int inside, proto;
	char *end;

	if (parse_port(key, &inside, &proto) < 0)
		return err_set(
		    err, 400,
		    "invalid port specification: \"%.80s\" (D0 publishes tcp and udp)", key);
	long n = *port ? strtol(port, &end, 10) : 0;
	if (*port && (*end || n < 0 || n > 65535))
		return err_set(err, 400, "invalid port specification: \"%.80s\"", port);
	*p = (struct be_port){.proto = proto,
			      .families = BE_V4 | BE_V6,
			      .host_port = (uint16_t)n,
			      .port = (uint16_t)inside};
	if (!*ip)
		return 0;
	p->families = strchr(ip, ':') ? BE_V6 : BE_V4;
	if (p->families == BE_V6 ? inet_pton(AF_INET6, ip, &p->host_ip6) != 1
				 : inet_pton(AF_INET, ip, &p->host_ip) != 1)
		return err_set(err, 400, "invalid IP address: %.80s", ip);
	return 0;
}

int create_ports(const json_t *config, const json_t *host, struct be_port *ports, int max,
		 struct err *err)
{
	const char *key;
	json_t *v, *want = jo(host, "PortBindings");
	int n = 0;

	json_object_foreach(want, key, v) for (size_t i = 0; i < json_array_size(v); i++)
	{
		if (n == max)
			return err_set(err, 400, "too many published ports (at most %d)", max);
		if (bind_one(key, json_array_get(v, i), &ports[n++], err) < 0)
			return -1;
	}
	if (!jb(host, "PublishAllPorts", false))
		return n;
	json_object_foreach(jo(config, "ExposedPorts"), key, v)
	{
		if (json_object_get(want, key))
			continue;
		if (n == max)
			return err_set(err, 400, "too many published ports (at most %d)", max);
		if (bind_one(key, NULL, &ports[n++], err) < 0)
			return -1;
	}
	return n;
}
