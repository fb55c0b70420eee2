# SPDX-License-Identifier: ISC
"""Servers and tools from the distribution's packages, and programs made here with its
compilers, unmodified in a linux cell: what they print must be what the host's run prints."""

import os
import re
import shutil
import subprocess

import pytest
from test_linux_cell import BUSYBOX, HERE, add_file, add_program, cell, pack, tree  # noqa: F401

NET = "cell t image=transport heap=4M state=256K stack=64K channels=4 priority=5\n"
SOCK = "channel t c1 protocol=socket ring=4M label=sock\n"

pytestmark = pytest.mark.skipif(not os.path.exists(BUSYBOX), reason="busybox-static is not installed")


def need(*paths):
    for path in paths:
        if not os.path.exists(path):
            pytest.skip(f"{path} is not installed")


def run(archive, boot, root, script, user="200M", timeout=120):
    """Run /run.sh in the container; what it printed."""
    (root / "run.sh").write_text(script)
    conf = NET + cell("c1", "argv=/bin/sh,/run.sh tmpfs=1 env=PATH=/bin:/usr/bin", user=user) + SOCK
    vm = boot(archive(conf, cells=["transport"], high=["linux"], data={"root.tar": pack(root)}), mem="640M",
              smp=2)
    vm.expect(r"cell c1 ended: code 0", timeout=timeout)
    return [m.group(1) for m in vm.find(r"^c1: (.*)$")]


MUSL = """\
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
static int total;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void *count(void *arg)
{
	for (int i = 0; i < 1000; i++) {
		pthread_mutex_lock(&lock);
		total++;
		pthread_mutex_unlock(&lock);
	}
	return arg;
}
int main(void)
{
	pthread_t t[4];
	struct timespec a, b;
	int shm = shmget(IPC_PRIVATE, 4096, 0600), sem = semget(IPC_PRIVATE, 1, 0600), *p;
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, count, NULL);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	printf("threads %d\\n", total);
	clock_gettime(CLOCK_MONOTONIC, &a);
	clock_gettime(CLOCK_MONOTONIC, &b);
	printf("clock %d\\n", b.tv_sec > a.tv_sec || b.tv_nsec >= a.tv_nsec);
	p = shmat(shm, NULL, 0);
	if (!fork()) {
		struct sembuf up = {0, 1, 0};
		*p = 4711;
		semop(sem, &up, 1);
		_exit(0);
	}
	struct sembuf down = {0, -1, 0};
	semop(sem, &down, 1);
	wait(NULL);
	printf("shared %d\\n", *p);
	shmctl(shm, IPC_RMID, NULL);
	semctl(sem, 0, IPC_RMID);
	printf("gone %d\\n", shmat(shm, NULL, 0) == p ? 0 : 1);
	return 0;
}
"""


def test_tools_agree_with_the_host(archive, boot, tree, tmp_path):
    """sqlite3, perl, and a program of musl, static and dynamic."""
    need("/usr/bin/sqlite3", "/usr/bin/perl", "/usr/bin/musl-gcc")
    for path in ("/usr/bin/sqlite3", "/usr/bin/perl"):
        add_program(tree, path)
    (tmp_path / "m.c").write_text(MUSL)
    for name, flags in (("musl-static", ["-static"]), ("musl-dynamic", [])):
        subprocess.run(["musl-gcc", "-O2", *flags, "-o", tree / "bin" / name, tmp_path / "m.c"], check=True)
    loader = re.search(r"interpreter: (\S+)\]", subprocess.run(
        ["readelf", "-l", tree / "bin" / "musl-dynamic"], stdout=subprocess.PIPE, text=True, check=True).stdout)
    add_file(tree, loader.group(1))
    commands = (
        "sqlite3 :memory: 'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<2000) "
        "SELECT count(*), sum(i), max(printf(\"%08.3f\", i/7.0)) FROM n;'",
        "sqlite3 /tmp/db.sqlite 'CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT); BEGIN; INSERT INTO t(b) VALUES "
        "(1),(2),(3); COMMIT; CREATE INDEX i ON t(b); PRAGMA integrity_check; SELECT group_concat(b) FROM t;'",
        "perl -e 'my %h = map { $_ => $_ ** 2 } 1..50; my $s = 0; $s += $h{$_} for keys %h; print \"$s\\n\"; "
        "print join(\",\", sort { $a <=> $b } grep { /7/ } keys %h), \"\\n\"; open my $f, \"-|\", \"echo piped\"; "
        "print <$f>; printf \"%s\\n\", join \" \", unpack(\"N n C\", pack(\"N n C\", 1, 2, 3));'",
        "musl-static", "musl-dynamic")
    script = "\n".join(commands) + "\n"
    host = subprocess.run(["sh", "-c", script], stdout=subprocess.PIPE, text=True, check=True,
                          env={"PATH": f"{tree}/bin:/usr/bin"}).stdout
    os.unlink("/tmp/db.sqlite")
    assert run(archive, boot, tree, script) == host.splitlines()


NGINX = """\
user root;
worker_processes 2;
daemon on;
pid /tmp/nginx.pid;
error_log /tmp/error.log;
events { worker_connections 64; use epoll; }
http {
  access_log /tmp/access.log;
  client_body_temp_path /tmp/body; proxy_temp_path /tmp/proxy; fastcgi_temp_path /tmp/fcgi;
  uwsgi_temp_path /tmp/uwsgi; scgi_temp_path /tmp/scgi;
  sendfile on;
  server { listen 127.0.0.1:8080; root /www; location /back { proxy_pass http://127.0.0.1:8080/; } }
}
"""


def test_nginx_workers(archive, boot, tree):
    """Two workers serve files and a proxied request; reload makes new ones; stop ends them."""
    need("/usr/sbin/nginx", "/usr/bin/curl")
    add_program(tree, "/usr/sbin/nginx")
    add_program(tree, "/usr/bin/curl")
    for name in ("www", "var/log/nginx", "var/lib/nginx"):
        (tree / name).mkdir(parents=True)
    (tree / "etc" / "group").write_text("root:x:0:\n")
    (tree / "nginx.conf").write_text(NGINX)
    (tree / "www" / "index.html").write_text("hello from nginx\n")
    big = os.urandom(1 << 20)
    (tree / "www" / "big").write_bytes(big)
    get = "/usr/bin/curl -s http://127.0.0.1:8080"
    script = (f"/usr/sbin/nginx -c /nginx.conf; sleep 1; {get}/; {get}/back; {get}/big | sha256sum; "
              f"{get}/big {get[14:]}/big | wc -c; ps | grep -c '[w]orker process'; "
              "/usr/sbin/nginx -c /nginx.conf -s reload 2>/dev/null; sleep 1; "
              f"{get}/none -o /dev/null -w '%{{http_code}}\\n'; /usr/sbin/nginx -c /nginx.conf -s stop 2>/dev/null; sleep 1; "
              "ps | grep -c '[w]orker process'; wc -l < /tmp/access.log\nexit 0\n")
    out = run(archive, boot, tree, script)
    digest = subprocess.run(["sha256sum"], input=big, stdout=subprocess.PIPE, check=True).stdout.split()[0]
    assert out == ["hello from nginx", "hello from nginx", f"{digest.decode()}  -", str(2 << 20), "2", "404", "0",
                   "7"]


def test_redis_saves_in_the_background(archive, boot, tree):
    """What BGSAVE wrote is what a second server reads."""
    need("/usr/bin/redis-server", "/usr/bin/redis-cli")
    add_program(tree, "/usr/bin/redis-server")
    add_program(tree, "/usr/bin/redis-cli")
    server = "/usr/bin/redis-server --port 6379 --dir /tmp --save '' --daemonize yes >/dev/null; sleep 1"
    script = (f"{server}; i=0; while [ $i -lt 200 ]; do echo SET k$i v$i; i=$((i+1)); done | redis-cli | sort | uniq -c | "
              "tr -s ' '; redis-cli bgsave; sleep 2; redis-cli info persistence | grep last_bgsave_status | tr -d '\\r'; "
              f"redis-cli shutdown nosave; sleep 1; {server}; redis-cli dbsize | cat; redis-cli get k123 | cat; "
              "redis-cli shutdown nosave\nexit 0\n")
    assert run(archive, boot, tree, script) == [" 200 OK", "Background saving started", "rdb_last_bgsave_status:ok", "200", "v123"]


GO = """\
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"sync"
)

func main() {
	l, err := net.Listen("tcp", "127.0.0.1:8081")
	if err != nil {
		panic(err)
	}
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello %s", r.URL.Path)
	}))
	var wg sync.WaitGroup
	var mu sync.Mutex
	n := 0
	for i := 0; i < 20; i++ {
		wg.Add(1)
		go func(i int) {
			defer wg.Done()
			r, err := http.Get(fmt.Sprintf("http://127.0.0.1:8081/%d", i))
			if err != nil {
				panic(err)
			}
			b, _ := io.ReadAll(r.Body)
			r.Body.Close()
			mu.Lock()
			n += len(b)
			mu.Unlock()
		}(i)
	}
	wg.Wait()
	runtime.GC()
	fmt.Println("answers", n)
}
"""


@pytest.mark.long
def test_go_server(archive, boot, tree, tmp_path):
    """A static program of Debian's Go: goroutines on threads, its own scheduler and collector."""
    go = shutil.which("go") or "/usr/bin/go"
    need(go)
    (tmp_path / "main.go").write_text(GO)
    subprocess.run([go, "build", "-o", tree / "bin" / "server", tmp_path / "main.go"], check=True,
                   env=dict(os.environ, CGO_ENABLED="0", GOCACHE=str(tmp_path / "cache"), GOFLAGS="-mod=mod",
                            GO111MODULE="off", HOME=str(tmp_path)))
    assert run(archive, boot, tree, "/bin/server\nexit 0\n") == ["answers 170"]


@pytest.mark.parametrize("seconds", [8, pytest.param(1200, marks=pytest.mark.long)])
def test_random_calls_harm_nobody(archive, boot, tree, monitor, seconds):
    """Random calls of many children: the cell lives on, and so does another one, which checks its
    neighbour in the ring meanwhile."""
    subprocess.run(["gcc", "-static", "-O2", "-o", tree / "bin" / "callfuzz",
                    os.path.join(HERE, "callfuzz.c")], check=True)
    seed = os.environ.get("SEED", "777")  # stopped pid 1 within seconds, once
    conf = NET + monitor + (cell("c1", f"argv=/bin/callfuzz,{seconds},{seed} tmpfs=1 pids=256", user="64M") + SOCK +
                  cell("c2", 'argv=/bin/sh,-c,"while sleep 1; do echo beat; done"', user="32M"))
    vm = boot(archive(conf, cells=["transport", "monitor"], high=["linux"],
                      data={"root.tar": pack(tree)}), mem="512M", smp=2)
    vm.expect(r"c1: callfuzz seed \d+ rounds \d+ done", timeout=seconds + 90, absent="cell_failed|BUG|panic")
    vm.expect(r"c2: beat", timeout=20)
    vm.command("ring", r"c2 +-> +\S+ +[1-9]\d* pages checked, 0 bad")
