# SPDX-License-Identifier: ISC
"""A linux cell beside the host: about a hundred commands of busybox and coreutils print the same on
both; servers of the distribution under their own load generators; self checks of interpreters."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from test_linux_cell import BUSYBOX, add_program, pack, tree  # noqa: F401
from test_linux_programs import need, run

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", d) for d in ("python", "suite")]
import run as pymodules  # noqa: E402

PYTHON = "/usr/lib/python3.11"
pytestmark = pytest.mark.skipif(not os.path.exists(BUSYBOX), reason="busybox-static is not installed")

# Each in a folder with text.txt (40 lines), nums.txt, bin.dat; what it leaves is for the next ones.
BUSYBOX_COMMANDS = (
    "awk '{s+=$1} END {print s, NR}' nums.txt", "awk -F: '{print $2}' text.txt | head -3", "basename /a/b/c.txt .txt",
    "bunzip2 < text.bz2 | cksum", "bzip2 -c text.txt | bunzip2 | md5sum", "cal 2 2024", "cat -n text.txt | tail -2",
    "chmod 640 nums.txt && stat -c %a nums.txt", "cksum bin.dat", "cmp text.txt nums.txt", "comm -12 a.srt b.srt",
    "cp -r d1 d2 && find d2 | sort", "crc32 bin.dat", "cut -c1-5 text.txt | head -2", "cut -d: -f2- text.txt | tail -1",
    "date -u -d @86400 +%F", "dc -e '3 4 * p'", "dd if=bin.dat bs=7 skip=3 count=5 2>/dev/null | od -An -tx1",
    "diff text.txt nums.txt | head -4", "dirname /a/b/c", "du -a d1 | cut -f2 | sort", "echo -e 'a\\tb'", "expand tab.txt",
    "expr 17 % 5", "expr abcde : 'ab\\(.*\\)'", "factor 360360", "find . -name '*.txt' | sort", "find d1 -type d | sort",
    "fold -w 20 text.txt | head -3", "grep -c line text.txt", "grep -n '7$' nums.txt | head -3", "grep -v line text.txt | wc -l",
    "gzip -c text.txt | gunzip | sha1sum", "head -c 20 text.txt", "hexdump -C bin.dat | head -3", "ln -s text.txt sl && readlink sl",
    "ln text.txt hl && stat -c %h hl", "ls -1 d1", "ls -l text.txt | cut -c1-10", "md5sum text.txt bin.dat", "mkdir -p x/y/z && ls x",
    "mkfifo ff && ls -l ff | cut -c1", "mv x w && ls w", "nl text.txt | head -2", "od -c bin.dat | head -2", "paste a.srt b.srt",
    "patch -o - text.txt p.diff 2>/dev/null | head -2", "printf '%s %05.1f %x\\n' a 3.14159 255", "pwd -P | wc -l", "realpath d1/../d1 | grep -c d1$",
    "rev text.txt | head -1", "rm -r w && ls | wc -l", "rmdir nothing", "sed -n '3,5p' text.txt", "sed 's/line/LINE/g;2q' text.txt",
    "seq 10 -3 -5", "sha256sum bin.dat", "sha512sum text.txt", "shuf -i 1-50 | sort -n | md5sum", "sort -rn nums.txt | head -3",
    "sort -t: -k2 text.txt | head -2", "split -l 15 text.txt sp. && ls sp.* | wc -l", "stat -c '%s %F' bin.dat", "strings bin.dat | head -2",
    "tac text.txt | head -1", "tail -c 10 text.txt", "tar cf t.tar d1 && tar tf t.tar", "tee t1 < a.srt | wc -l",
    "test -d d1 -a ! -f d1; echo $?", "touch -d '2001-02-03 04:05:06' tt && stat -c %Y tt", "tr -d aeiou < text.txt | head -1",
    "truncate -s 100 tr && stat -c %s tr", "unexpand -a tab.txt", "uniq -c b.srt", "unzip -l no.zip 2>&1 | head -1", "uuencode x < a.srt | head -2",
    "wc text.txt", "xargs -n 3 echo < nums.txt | head -2", "xxd bin.dat | head -2", "yes | head -3", "zcat text.gz | wc -c",
    "timeout 5 echo in time", "sh -c 'trap \"echo got\" USR1; kill -USR1 $$; echo after'", "echo $((1 << 40)) ${PATH:+set}", "kill -l 15", "env -i A=1 env",
    "(ulimit -n 50; ulimit -n)", "umask 027; touch um; stat -c %a um", "false || echo or", "(exit 7); echo $?")
CORE_COMMANDS = tuple("/usr/bin/" + c for c in (
    "base64 bin.dat", "b2sum text.txt", "cksum text.txt", "comm a.srt b.srt", "csplit -s text.txt 10 20", "cut -b 3-9 text.txt", "dd if=text.txt bs=5 count=2 status=none",
    "df --output=target . --no-sync", "du -b text.txt", "expand -t 3 tab.txt", "fmt -w 30 text.txt", "head -n -35 text.txt", "install -m 751 text.txt inst", "join a.srt b.srt",
    "ls -lnG --time-style=+ inst", "mktemp -u XXX.same.XXXXXX --suffix=.q", "numfmt --to=iec 1234567", "od -tx2z bin.dat", "paste -sd, a.srt", "pr -t -2 text.txt",
    "ptx a.srt", "seq -w 8 11", "sha384sum bin.dat", "sort -R --random-source=bin.dat nums.txt", "split -n 3 text.txt q.", "stat -c '%a %s %h' text.txt", "tac nums.txt",
    "tail -n +38 text.txt", "tr a-z A-Z < a.srt", "tsort pairs", "unexpand --first-only tab.txt", "uniq -D b.srt", "wc -lwcmL text.txt", "shred -n 1 -u tr", "sync text.txt",
    "truncate -s +10 inst", "realpath --relative-to=d1 text.txt", "cp --reflink=auto --preserve=mode text.txt cpd", "ln -sr d1/f1 rel", "readlink rel", "rm -v cpd", "timeout 3 true", "nice -n 3 /usr/bin/nice", "sum text.txt"))
UNEQUAL = ("df ", "mktemp")  # names of this machine, chance: only their success counts


def files(root):
    root.mkdir()
    text = "".join(f"{i * 7 % 40:02d}:a line of text number {i}, as good as any\n" for i in range(40))
    (root / "text.txt").write_text(text)
    (root / "nums.txt").write_text("".join(f"{i * i % 97}\n" for i in range(60)))
    (root / "bin.dat").write_bytes(bytes(i * 73 % 251 for i in range(3000)) + b"a string\0and another\0")
    (root / "tab.txt").write_text("\ta\tb\n        c        d\n")
    (root / "a.srt").write_text("apple\nbanana\ncherry\nfig\n")
    (root / "b.srt").write_text("banana\nbanana\nfig\ngrape\n")
    (root / "pairs").write_text("a b\nb c\na d\nd c\n")
    (root / "p.diff").write_text("--- text.txt\n+++ text.txt\n@@ -1 +1 @@\n-" + text.splitlines()[0] + "\n+patched\n")
    (root / "d1" / "deep").mkdir(parents=True)
    for name in ("f1", "f2", "deep/f3"):
        (root / "d1" / name).write_text(name)
    for suffix, tool in (("bz2", "bzip2"), ("gz", "gzip")):
        (root / f"text.{suffix}").write_bytes(subprocess.run([BUSYBOX, tool, "-c"], input=text.encode(), stdout=subprocess.PIPE,
                                                             check=True).stdout)


def quick_modules(tree):
    """What runs python3's quick test modules in one interpreter; nothing without them."""
    names = pymodules.modules(("quick",))
    if not os.path.exists(f"{PYTHON}/test/{names[0]}.py"):
        return ""
    pymodules.library_for(PYTHON, str(tree), names)
    (tree / "etc" / "group").write_text("root:x:0:\n")
    return (f"/usr/bin/python3 -m unittest {' '.join('test.' + n for n in names)} >/tmp/py 2>&1; echo \"python $?\"\n"
            "grep -E '^(Ran|OK|FAILED|ERROR|FAIL)' /tmp/py\n")


def test_tools_beside_the_host(archive, boot, tree, tmp_path):
    """The same programs over the same files, here and there: output and result of each. And, as they need no boot of
    their own, python3's quick test modules."""
    names = subprocess.run([BUSYBOX, "--list"], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    for name in names:
        if not os.path.lexists(tree / "bin" / name):
            (tree / "bin" / name).symlink_to("busybox")
    core = [c for c in CORE_COMMANDS if os.path.exists(c.split()[0])]
    for command in core:
        add_program(tree, command.split()[0])
    commands = BUSYBOX_COMMANDS + tuple(core)
    script = "cd w\n" + "".join(f"echo '== {i}'; {{ {c}\n}} 2>&1; echo \"rc $?\"\n" for i, c in enumerate(commands))
    files(tree / "w")
    shutil.copytree(tree / "w", tmp_path / "w", symlinks=True)
    host = subprocess.run([BUSYBOX, "sh", "-c", script], stdout=subprocess.PIPE, cwd=tmp_path, check=True,
                          env={"PATH": f"{tree}/bin:{tree}/usr/bin", "LC_ALL": "C"}).stdout.decode("latin-1")
    guest = run(archive, boot, tree, "export LC_ALL=C\numask 022\ncp -a /w /tmp/; cd /tmp\n" + script +
                "echo '== 9999'\n" + quick_modules(tree) + "exit 0\n", timeout=300)
    differ = []
    theirs, ours = by_command(host.splitlines()), by_command(guest)
    for i, command in enumerate(commands):
        a, b = theirs.get(i), ours.get(i)
        if any(u in command for u in UNEQUAL):
            a, b = a[-1:], b and b[-1:]
        if a != b:
            differ.append((command, a, b))
    assert not differ, "\n".join(f"{c}\n  host {a}\n  cell {b}" for c, a, b in differ)
    assert len(commands) >= 120
    if os.path.exists(f"{tree}{PYTHON}"):
        assert ours[9999][0] == "python 0", ours[9999]
        assert int(ours[9999][1].split()[1]) > 100, ours[9999]


@pytest.mark.long
def test_python_modules(archive, boot, tree):
    """python3's own test modules that need no network, but those that tests/python/known.txt names."""
    need(f"{PYTHON}/test/test_os.py")
    names = [n for n in pymodules.modules() if n not in pymodules.known()]
    pymodules.library(PYTHON, str(tree))
    script = "".join(f"timeout 600 /usr/bin/python3 -m unittest test.{n} >/tmp/py 2>&1; r=$?; echo \"module {n} $r\"; "
                     f"[ $r = 0 ] || grep -E '^(ERROR|FAIL)' /tmp/py\n" for n in names)
    out = run(archive, boot, tree, "export LC_ALL=C\n" + script + "exit 0\n", user="300M", timeout=3600)
    assert [x for x in out if x.startswith("module ")] == [f"module {n} 0" for n in names], "\n".join(out)


def by_command(lines):
    found, at = {}, None
    for line in lines:
        m = re.match(r"== (\d+)$", line)
        if m:
            at = found.setdefault(int(m.group(1)), [])
        elif at is not None:
            at.append("".join(c if " " <= c <= "~" else "." for c in line))
    return found


LIGHTTPD = """\
server.port = 8080
server.bind = "127.0.0.1"
server.document-root = "/www"
server.modules = ( "mod_access", "mod_rewrite", "mod_setenv" )
server.max-worker = 2
url.rewrite-once = ( "^/old$" => "/index.html" )
setenv.add-response-header = ( "X-From" => "cell" )
"""


@pytest.mark.long
def test_lighttpd_under_load(archive, boot, tree):
    """curl sees what is served, and wrk gets no error from two workers over 20 connections."""
    need("/usr/sbin/lighttpd", "/usr/bin/curl", "/usr/bin/wrk")
    for path in ("/usr/sbin/lighttpd", "/usr/bin/curl", "/usr/bin/wrk"):
        add_program(tree, path)
    for module in os.listdir("/usr/lib/lighttpd"):
        add_program(tree, f"/usr/lib/lighttpd/{module}")
    add_program(tree, "/lib/x86_64-linux-gnu/libgcc_s.so.1")
    (tree / "lighttpd.conf").write_text(LIGHTTPD)
    (tree / "www").mkdir()
    (tree / "www" / "index.html").write_text("hello from lighttpd\n")
    get = "/usr/bin/curl -s http://127.0.0.1:8080"
    script = (f"/usr/sbin/lighttpd -D -f /lighttpd.conf 2>/dev/null &\nuntil {get}/ >/dev/null; do sleep 0.2; done\n{get}/old\n"
              f"{get}/none -o /dev/null -w '%{{http_code}}\\n'\n{get}/ -o /dev/null -D - | grep -i x-from | tr -d '\\r'\n"
              "/usr/bin/wrk -t2 -c20 -d5s http://127.0.0.1:8080/index.html\nexit 0\n")
    out = run(archive, boot, tree, script, timeout=240)
    assert out[:3] == ["hello from lighttpd", "404", "X-From: cell"]
    text = "\n".join(out[3:])
    assert int(re.search(r"(\d+) requests in", text).group(1)) > 100
    assert "Socket errors" not in text and "Non-2xx" not in text, text


@pytest.mark.long
def test_redis_benchmark(archive, boot, tree):
    """Every test of redis-benchmark, from 20 connections, with pipelining as well."""
    need("/usr/bin/redis-server", "/usr/bin/redis-cli", "/usr/bin/redis-benchmark")
    for name in ("redis-server", "redis-cli", "redis-benchmark"):
        add_program(tree, f"/usr/bin/{name}")
    script = ("/usr/bin/redis-server --dir /tmp --save '' --daemonize yes >/dev/null\n"
              "until /usr/bin/redis-cli ping >/dev/null 2>&1; do sleep 0.2; done\n"
              "/usr/bin/redis-benchmark -q --csv -n 1000 -c 20 </dev/null\n"
              "/usr/bin/redis-benchmark -q --csv -n 5000 -c 20 -P 16 -t set,get </dev/null\n"
              "/usr/bin/redis-cli shutdown nosave\nexit 0\n")
    out = run(archive, boot, tree, script, timeout=400)
    rates = [float(m.group(1)) for m in (re.match(r'"[^"]+","([\d.]+)"', line) for line in out) if m]
    assert len(rates) >= 20 and min(rates) > 0
    assert not [line for line in out if "rror" in line]


SQL = """\
.bail on
CREATE TABLE t1(a INTEGER, b INTEGER, c VARCHAR(100));
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<5000) INSERT INTO t1 SELECT i, i*7919%5000, printf('row %d', i*31) FROM n;
COMMIT;
CREATE INDEX i1 ON t1(b);
CREATE UNIQUE INDEX i2 ON t1(c, a);
SELECT count(*), avg(b) FROM t1 WHERE b BETWEEN 100 AND 900;
UPDATE t1 SET b=b*2 WHERE a%3=0;
DELETE FROM t1 WHERE c LIKE '%7';
SELECT x.a, y.b FROM t1 x JOIN t1 y ON x.b=y.a ORDER BY 1, 2 LIMIT 5;
PRAGMA journal_mode=wal;
BEGIN; INSERT INTO t1 SELECT a+10000, b, c FROM t1; ROLLBACK;
INSERT INTO t1 VALUES(1,2,'three');
PRAGMA wal_checkpoint(TRUNCATE);
VACUUM;
PRAGMA integrity_check;
.sha3sum
.selftest --init
.selftest -v
"""


@pytest.mark.long
def test_sqlite_checks_itself(archive, boot, tree, tmp_path):
    """A file database with journals of both kinds: its hash and its own self test, as on the host."""
    need("/usr/bin/sqlite3")
    add_program(tree, "/usr/bin/sqlite3")
    (tree / "sql").write_text(SQL)
    host = subprocess.run(["/usr/bin/sqlite3", tmp_path / "db"], input=SQL, stdout=subprocess.PIPE, text=True, check=True).stdout
    out = run(archive, boot, tree, "/usr/bin/sqlite3 /tmp/db < /sql\nexit 0\n", timeout=240)
    assert "0 errors out of" in host
    assert out == host.splitlines()


PERL = r"""
use strict; use warnings; use POSIX (); use Socket; use IO::Handle; use Fcntl ':flock'; use File::Temp 'tempfile'; use Time::HiRes 'usleep';
my $n = 0; sub ok { my ($ok, $what) = @_; $n++; print $ok ? "ok $n $what\n" : "not ok $n $what: $!\n"; }
socketpair(my $x, my $y, AF_UNIX, SOCK_STREAM, PF_UNSPEC); $x->autoflush(1);
my $pid = fork // die; if (!$pid) { close $x; my $l = <$y>; print {$y} scalar reverse $l; exit 7 }
close $y; print {$x} "hello\n"; ok(<$x> eq "\n", "talk"); waitpid $pid, 0; ok($? >> 8 == 7, "status");
my ($fh, $name) = tempfile(DIR => "/tmp"); print {$fh} "x" x 100000; close $fh; ok(-s $name == 100000, "size"); ok(unlink($name) == 1, "unlink");
open my $p, "-|", "seq 1 1000" or die; my $s = 0; $s += $_ while <$p>; close $p; ok($s == 500500, "pipe");
my $got = 0; $SIG{ALRM} = sub { $got++ }; alarm 1; select undef, undef, undef, 5; ok($got == 1, "alarm");
$SIG{CHLD} = sub { while (waitpid(-1, POSIX::WNOHANG()) > 0) { $got++ } }; for (1..20) { fork // die or exit 0 } usleep 50000 for 1..40; ok($got == 21, "children");
open my $l, ">", "/tmp/lock" or die; ok(flock($l, LOCK_EX | LOCK_NB), "lock"); my $k = fork; if (!$k) { open my $m, ">", "/tmp/lock"; exit(flock($m, LOCK_EX | LOCK_NB) ? 1 : 0) }
$SIG{CHLD} = 'DEFAULT'; waitpid $k, 0; ok($? == 0, "locked"); ok((stat "/tmp")[2] & 01000, "sticky"); my @u = POSIX::uname(); ok(@u == 5, "uname");
my %h; $h{$_ % 1000} .= $_ for 1..50000; ok(keys %h == 1000, "hash"); my $t = join ",", sort { $a <=> $b } grep { /99/ } keys %h; ok(index(",$t,", ",99,199,") >= 0, "sort");
opendir my $d, "/proc/self/fd" or die; ok(scalar(grep /^\d+$/, readdir $d) >= 3, "proc"); print "done $n\n";
"""


@pytest.mark.long
def test_perl_and_the_system(archive, boot, tree):
    """Perl's ways to processes, sockets, signals, locks and files."""
    need("/usr/bin/perl")
    add_program(tree, "/usr/bin/perl")
    out = subprocess.run(["perl", "-e", "use POSIX; use Socket; use IO::Handle; use Fcntl; use File::Temp; use Time::HiRes;"
                          "print map { \"$_\\n\" } values %INC; use DynaLoader; print map { \"$_\\n\" } @DynaLoader::dl_shared_objects"],
                         stdout=subprocess.PIPE, text=True, check=True).stdout
    for path in set(out.split()):
        if os.path.exists(path):
            add_program(tree, path)
    (tree / "t.pl").write_text(PERL)
    lines = run(archive, boot, tree, "perl /t.pl\nexit 0\n", timeout=240)
    assert lines[-1] == "done 14" and not [x for x in lines if x.startswith("not ok")], lines
