# SPDX-License-Identifier: ISC
"""d0fs on files: what it writes it reads back; its exit codes and JSON are for scripts."""

import json
import os
import subprocess

import pytest

D0FS = os.path.join(os.environ.get("B", "build"), "bin", "d0fs")
OK, FAILED, USAGE, NO_VOLUME, DAMAGED, NO_SPACE, NOT_FOUND = range(7)


def d0fs(*args, code=OK):
    done = subprocess.run([D0FS, *map(str, args)], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=120, check=False)
    assert done.returncode == code, done.stderr.decode(errors="replace")
    return done.stdout


@pytest.fixture(name="volume")
def fixture_volume(tmp_path):
    path = tmp_path / "v.h2"
    d0fs("newfs", "-s", "256M", "-L", "ROOT", path)
    return path


@pytest.fixture(name="tree")
def fixture_tree(tmp_path):
    top = tmp_path / "tree"
    (top / "sub" / "deep").mkdir(parents=True)
    (top / "small").write_bytes(b"hello\n")
    (top / "big").write_bytes(os.urandom(300000) + b"a" * 700000)
    (top / ("n" * 200)).write_bytes(b"long name")
    with open(top / "sparse", "wb") as f:
        f.seek(10 << 20)
        f.write(b"end")
    os.symlink("../small", top / "sub" / "link")
    os.link(top / "small", top / "sub" / "hard")
    os.mkfifo(top / "sub" / "fifo")
    os.chmod(top / "small", 0o4751)
    os.utime(top / "small", ns=(1, 1234567890123456789))
    try:
        os.setxattr(top / "small", "user.test", b"value")
    except OSError:
        pass
    return top


def facts(top):
    found = {}
    for base, dirs, files in os.walk(top):
        for name in dirs + files:
            path = os.path.join(base, name)
            st = os.lstat(path)
            body = None
            if os.path.islink(path):
                body = os.readlink(path)
            elif os.path.isfile(path):
                with open(path, "rb") as f:
                    body = f.read()
            attrs = [] if os.path.islink(path) else os.listxattr(path)
            links = 1 if os.path.isdir(path) else st.st_nlink
            found[os.path.relpath(path, top)] = (st.st_mode, links, st.st_mtime_ns, body, attrs)
    return found


def test_tree_comes_back(volume, tree, tmp_path):
    d0fs("cp", "-r", volume, f"{tree}/", "ROOT:/")
    d0fs("check", volume)
    d0fs("scrub", volume)
    d0fs("cp", "-r", volume, "ROOT:/", tmp_path / "out")
    assert facts(tmp_path / "out") == facts(tree)
    assert d0fs("cat", volume, "ROOT:/sub/link") == b"hello\n"


def test_snapshot_rollback_and_space(volume, tree):
    d0fs("cp", "-r", volume, f"{tree}/", "ROOT:/")
    d0fs("snapshot", volume, "ROOT", "v1")
    d0fs("rm", "-r", volume, "ROOT:/sub", "ROOT:/big")
    d0fs("cat", volume, "ROOT:/big", code=NOT_FOUND)
    d0fs("rollback", volume, "ROOT", "v1")
    assert d0fs("cat", volume, "ROOT:/big") == (tree / "big").read_bytes()
    before = json.loads(d0fs("--json", "info", volume))["allocator_free"]
    d0fs("rm", volume, "ROOT", "v1")
    freed = json.loads(d0fs("bulkfree", "--json", volume))["freed_bytes"]
    after = json.loads(d0fs("info", "--json", volume))
    assert freed > 300000 and after["allocator_free"] >= before + freed - 200000
    assert [p["label"] for p in after["pfs"]] == ["LOCAL"]
    d0fs("check", volume)


def test_exit_codes(volume, tmp_path):
    junk = tmp_path / "junk"
    junk.write_bytes(b"\0" * (32 << 20))
    d0fs("info", junk, code=NO_VOLUME)
    d0fs("info", tmp_path / "nowhere", code=NO_VOLUME)
    d0fs("frobnicate", code=USAGE)
    d0fs("cat", volume, code=USAGE)
    d0fs("cat", volume, "ROOT:/nope", code=NOT_FOUND)
    d0fs("ls", volume, "NOPE:/", code=NOT_FOUND)
    d0fs("rm", volume, "NOPE", code=NOT_FOUND)
    d0fs("newfs", volume, code=FAILED)
    d0fs("newfs", "-f", volume)
    d0fs("newfs", "-s", "1M", tmp_path / "tiny", code=FAILED)
    (tmp_path / "large").write_bytes(os.urandom(300 << 20))
    d0fs("create", volume, "ROOT")
    d0fs("cp", volume, tmp_path / "large", "ROOT:/", code=NO_SPACE)
    d0fs("check", volume)


def test_reading_never_writes(volume, tree, tmp_path):
    d0fs("cp", "-r", volume, f"{tree}/", "ROOT:/")
    before = volume.read_bytes()
    d0fs("info", volume)
    d0fs("ls", volume, "ROOT:/")
    d0fs("du", volume, "ROOT:/")
    d0fs("check", "-a", volume)
    d0fs("scrub", volume)
    d0fs("cp", "-r", volume, "ROOT:/", tmp_path / "out")
    assert volume.read_bytes() == before


def test_flipped_bits_are_found(volume, tree):
    """One flipped bit is found, never served, and mended from a mirror."""
    d0fs("cp", "-r", volume, f"{tree}/", "ROOT:/")
    data = bytearray(volume.read_bytes())
    at = data.find((tree / "big").read_bytes()[:64])
    assert at > 0
    data[at + 1000] ^= 0x10
    mirror = volume.with_suffix(".mirror")
    mirror.write_bytes(volume.read_bytes())
    volume.write_bytes(data)
    assert b"errors" in d0fs("check", volume, code=DAMAGED)
    d0fs("scrub", volume, code=DAMAGED)
    d0fs("cat", volume, "ROOT:/big", code=DAMAGED)
    assert d0fs("cat", volume, "ROOT:/small") == b"hello\n"
    assert json.loads(d0fs("scrub", "--json", "-m", mirror, volume))["repaired"] == 1
    assert d0fs("cat", volume, "ROOT:/big") == (tree / "big").read_bytes()
    d0fs("scrub", volume)


def test_locked_while_written(volume):
    with open(volume, "rb") as f:
        import fcntl
        fcntl.flock(f, fcntl.LOCK_SH)
        d0fs("info", volume)
        d0fs("rm", volume, "ROOT", code=NO_VOLUME)


def test_no_path_leads_out(volume, tmp_path):
    """Links inside a volume are followed inside it; copying out writes below the target."""
    tree = tmp_path / "t"
    tree.mkdir()
    os.symlink("/etc", tree / "abs")
    os.symlink("../../../../etc", tree / "up")
    d0fs("cp", "-r", volume, f"{tree}/", "ROOT:/")
    d0fs("cat", volume, "ROOT:/abs/passwd", code=NOT_FOUND)
    d0fs("cat", volume, "ROOT:/up/passwd", code=NOT_FOUND)
    d0fs("mkdir", volume, "ROOT:/etc")
    d0fs("cp", volume, "/etc/hostname", "ROOT:/abs/")
    assert b"hostname" in d0fs("ls", volume, "ROOT:/etc")


COMMANDS = ["newfs", "info", "ls", "cat", "cp", "import", "export", "images", "snapshot", "rollback",
            "rm", "scrub", "check", "bulkfree", "mount", "du", "mkdir", "create", "rename", "key"]


def test_every_command_has_json_and_codes(volume, tree, tmp_path):
    """With --json one document for each call; a failing one says why, and its exit code."""
    listed = d0fs("--help").decode().split("commands:\n")[1].split("\n\n")[0]
    assert sorted(COMMANDS) == [line.split()[0] for line in listed.splitlines()]
    junk = tmp_path / "junk"
    junk.write_bytes(b"\0" * (32 << 20))
    os.symlink("x", tree / b"not \xff utf-8".decode(errors="surrogateescape"))
    other = tmp_path / "other.h2"
    key = tmp_path / "key"
    good = [("newfs", "-s", "64M", other), ("info", volume), ("mkdir", volume, "ROOT:/d"),
            ("cp", "-r", volume, f"{tree}/", "ROOT:/d"), ("ls", volume), ("ls", volume, "ROOT:/d"),
            ("du", volume, "ROOT:/"), ("snapshot", volume, "ROOT", "v1"), ("create", volume, "new"),
            ("rename", volume, "new", "newer"), ("rollback", volume, "ROOT", "v1"),
            ("rm", volume, "newer"), ("bulkfree", volume), ("scrub", volume), ("check", volume),
            ("images", volume), ("key", "new", key), ("key", key)]
    for args in good:
        said = json.loads(d0fs("--json", *args))
        if isinstance(said, dict) and "exit" in said:
            assert said == {"command": args[0], "exit": OK}
    names = [e["name"] for e in json.loads(d0fs("--json", "ls", volume, "ROOT:/d"))]
    assert b"not \xff utf-8" in [n.encode(errors="surrogateescape") for n in names]
    bad = [(c, USAGE) for c in COMMANDS]
    bad += [(("newfs", volume), FAILED), (("info", junk), NO_VOLUME),
            (("ls", volume, "NOPE:/"), NOT_FOUND), (("mkdir", volume, "NOPE:/d"), NOT_FOUND),
            (("mkdir", volume, "ROOT:/d"), FAILED), (("cp", volume, "ROOT:/no", tree), NOT_FOUND),
            (("cp", volume, "ROOT:/d/small", tmp_path / "no" / "where"), FAILED),
            (("du", volume, "ROOT:/no"), NOT_FOUND), (("snapshot", volume, "no", "x"), NOT_FOUND),
            (("snapshot", volume, "ROOT", "v1"), FAILED), (("create", volume, "v1"), FAILED),
            (("rename", volume, "no", "x"), NOT_FOUND), (("rename", volume, "ROOT", "v1"), FAILED),
            (("rollback", volume, "ROOT", "no"), NOT_FOUND), (("rm", volume, "no"), NOT_FOUND),
            (("rm", volume, "ROOT:/no"), NOT_FOUND), (("bulkfree", junk), NO_VOLUME),
            (("scrub", junk), NO_VOLUME), (("check", junk), NO_VOLUME),
            (("import", volume, tmp_path / "no"), NOT_FOUND), (("import", volume, junk), FAILED),
            (("export", volume, "no", "-"), NOT_FOUND), (("images", volume, "rm", "no"), NOT_FOUND),
            (("images", volume, "rollback", "no"), NOT_FOUND),
            (("images", volume, "tag", "no", "x"), NOT_FOUND),
            (("images", volume, "frobnicate"), USAGE), (("key", junk), FAILED),
            (("mount", volume, "NOPE", tree), NOT_FOUND), (("mount", junk, "ROOT", tree), NO_VOLUME)]
    for args, code in bad:
        args = (args,) if isinstance(args, str) else args
        done = subprocess.run([D0FS, "--json", *map(str, args)], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=60, check=False)
        assert done.returncode == code, (args, done)
        assert done.stderr, args
        if args[0] not in ("cat", "ls", "du"):  # these may have begun their list
            said = json.loads(done.stdout)
            assert said["command"] == args[0] and said["exit"] == code and said["error"], args
    d0fs("cat", volume, "ROOT:/no", code=NOT_FOUND)
    with open("/dev/full", "wb") as full:
        done = subprocess.run([D0FS, "cat", volume, "ROOT:/d/big"], stdout=full,
                              stderr=subprocess.PIPE, timeout=60, check=False)
    assert done.returncode == FAILED and b"No space left" in done.stderr
