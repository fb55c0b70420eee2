# SPDX-License-Identifier: ISC
"""Images through d0fs: import of OCI layouts, archives and docker archives made here, what is
then in the volume, export with digests that verify, versions, removal, damage and repair."""

import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile

import pytest
from machine import BUILD

D0FS = os.path.join(BUILD, "bin", "d0fs")


def sha(data):
    return hashlib.sha256(data).hexdigest()


def d0fs(*args, code=0):
    r = subprocess.run([D0FS, *map(str, args)], timeout=120, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, check=False)
    assert r.returncode == code, (args, r.returncode, r.stderr.decode())
    return r.stdout if code == 0 else r.stderr.decode()


def member(tar, name, data=b"", kind=tarfile.REGTYPE, **attrs):
    info = tarfile.TarInfo(name)
    info.size, info.type, info.mtime = len(data), kind, 1700000000
    info.mode = attrs.pop("mode", 0o755 if kind == tarfile.DIRTYPE else 0o644)
    for key, value in attrs.items():
        setattr(info, key, value)
    tar.addfile(info, io.BytesIO(data) if data else None)


def layer(fill, fmt=tarfile.PAX_FORMAT):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=fmt) as tar:
        fill(tar)
    return out.getvalue()


LONG = "d" * 100 + "/" + "e" * 120 + "/" + "f" * 200
BIG = os.urandom(300000) + bytes(200000) + os.urandom(5)


def base(tar):
    member(tar, "etc/", kind=tarfile.DIRTYPE)
    member(tar, "etc/passwd", b"root:x:0:0\n", uid=0)
    member(tar, "etc/gone", b"soon")
    member(tar, "big", BIG, uid=1000, gid=1001, mode=0o4755)
    member(tar, "usr/lib/", kind=tarfile.DIRTYPE)
    member(tar, "usr/lib/one", b"1")
    member(tar, "usr/lib/two", b"2")
    member(tar, "lib", kind=tarfile.SYMTYPE, linkname="usr/lib")
    member(tar, "abs", kind=tarfile.SYMTYPE, linkname="/../../etc")
    member(tar, "hard", kind=tarfile.LNKTYPE, linkname="etc/passwd")
    member(tar, "dev/null", kind=tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666)
    member(tar, LONG, b"deep")
    member(tar, "caps", b"x", pax_headers={"SCHILY.xattr.security.capability": "capdata"})
    member(tar, "twice", b"first version, replaced in the same layer")
    member(tar, "twice", b"second")


def top(tar):
    member(tar, "etc/.wh.gone")
    member(tar, "usr/lib/three", b"3")
    member(tar, "usr/lib/.wh..wh..opq")
    member(tar, "lib/four", b"4 through a link")
    member(tar, "abs/five", b"5 stays inside")
    member(tar, "big", b"small now")


def make_oci(path, layers, pack=gzip.compress, config_more=None, ref="demo:1"):
    blobs = path / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def blob(data):
        (blobs / sha(data)).write_bytes(data)
        return {"digest": "sha256:" + sha(data), "size": len(data)}

    config = {"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/bin/sh"]},
              "rootfs": {"type": "layers", "diff_ids": ["sha256:" + sha(x) for x in layers]}}
    config.update(config_more or {})
    manifest = {"schemaVersion": 2, "config": blob(json.dumps(config).encode()),
                "layers": [blob(pack(x)) for x in layers]}
    entry = blob(json.dumps(manifest).encode())
    entry["annotations"] = {"org.opencontainers.image.ref.name": ref}
    (path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return sha(json.dumps(config).encode())


def make_docker(path, layers):
    config = json.dumps({"rootfs": {"type": "layers",
                                    "diff_ids": ["sha256:" + sha(x) for x in layers]}}).encode()
    with tarfile.open(path, "w") as tar:
        for i, data in enumerate(layers):
            member(tar, f"{i}/layer.tar", data)
        member(tar, "c.json", config)
        member(tar, "manifest.json", json.dumps([{
            "Config": "c.json", "RepoTags": ["docker.io/library/demo:2"],
            "Layers": [f"{i}/layer.tar" for i in range(len(layers))]}]).encode())
    return sha(config)


@pytest.fixture
def volume(tmp_path):
    path = tmp_path / "volume"
    d0fs("newfs", "-s", "128M", path)
    return path


def names(volume, image, path=""):
    return {e["name"] for e in json.loads(d0fs("--json", "ls", volume, f"img-{image}:/{path}"))
            [0]["entries"]} if False else \
        set(d0fs("ls", volume, f"img-{image}:/{path}").decode().split())


def test_import_and_export(volume, tmp_path):
    layers = [layer(base), layer(top, tarfile.GNU_FORMAT)]
    image = make_oci(tmp_path / "oci", layers)
    d0fs("import", volume, tmp_path / "oci")
    d0fs("check", volume)
    cat = lambda name: d0fs("cat", volume, f"img-{image}:/{name}")  # noqa: E731
    assert cat("etc/passwd") == cat("hard") == b"root:x:0:0\n"
    assert cat("big") == b"small now"
    assert cat("usr/lib/three") == b"3" and cat("usr/lib/four") == b"4 through a link"
    assert cat("etc/five") == b"5 stays inside"
    assert cat(LONG) == b"deep" and cat("twice") == b"second"
    for gone in ("etc/gone", "usr/lib/one", "usr/lib/two", "etc/.wh.gone"):
        d0fs("cat", volume, f"img-{image}:/{gone}", code=6)
    assert d0fs("cat", volume, f"lay-{sha(layers[0])}:/big") == BIG
    d0fs("images", volume, "verify", "demo:1")

    out = tmp_path / "out.tar"
    d0fs("export", volume, "demo:1", out)
    with tarfile.open(out) as tar:
        blobs = {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}
    for name, data in blobs.items():
        if name.startswith("blobs/"):
            assert sha(data) == os.path.basename(name)
    assert [blobs["blobs/sha256/" + sha(x)] for x in layers] == layers
    # and what was exported imports again, as the same image
    d0fs("newfs", "-f", "-s", "128M", tmp_path / "second")
    d0fs("import", tmp_path / "second", out)
    first, second = (json.loads(d0fs("--json", "images", v))[0]
                     for v in (volume, tmp_path / "second"))
    assert first["id"] == second["id"] == image and first["root"] == second["root"]


@pytest.mark.parametrize("kind", ["plain", "gzip", "zstd"])
def test_compressions_and_archives(volume, tmp_path, kind):
    pack = {"plain": lambda x: x, "gzip": gzip.compress,
            "zstd": lambda x: subprocess.run(["zstd", "-q"], input=x, check=True,
                                             stdout=subprocess.PIPE).stdout}[kind]
    image = make_oci(tmp_path / "oci", [layer(base)], pack)
    archive = tmp_path / "a.tar"
    subprocess.run(["tar", "-cf", archive, "-C", tmp_path / "oci", "."], check=True)
    archive.write_bytes(pack(archive.read_bytes()))
    d0fs("import", volume, archive, "x/y:1")
    assert d0fs("cat", volume, f"img-{image}:/big") == BIG


def test_docker_archive_shares_layers(volume, tmp_path):
    common = layer(lambda t: member(t, "data", os.urandom(8 << 20)))
    first = make_docker(tmp_path / "1.tar", [common, layer(base)])
    second = make_docker(tmp_path / "2.tar", [common, layer(lambda t: member(t, "x", b"y"))])
    d0fs("import", volume, tmp_path / "1.tar")
    free = json.loads(d0fs("--json", "info", volume))
    d0fs("import", volume, tmp_path / "2.tar")
    again = json.loads(d0fs("--json", "info", volume))
    key = next(k for k in free if "free" in k)
    assert free[key] - again[key] < 2 << 20
    # versions of one tag
    tag = "docker.io/library/demo:2"
    ids = lambda: {i["tag"]: i["id"] for i in json.loads(d0fs("--json", "images", volume))}  # noqa
    assert ids()[tag] == second
    d0fs("images", volume, "rollback", tag)
    assert ids()[tag] == first
    d0fs("images", volume, "rm", second[:12])
    d0fs("images", volume, "rm", tag)
    assert json.loads(d0fs("--json", "images", volume)) == []
    assert "lay-" not in d0fs("ls", volume).decode()
    d0fs("bulkfree", volume)
    d0fs("check", volume)


def test_gnu_sparse(volume, tmp_path):
    with open(tmp_path / "sparse", "wb") as f:
        for at in (0, 5 << 20, 40 << 20):
            f.seek(at)
            f.write(b"data at %d" % at)
        f.truncate(50 << 20)
    for fmt in (["--format=gnu"], ["--format=pax", "--sparse-version=1.0"],
                ["--format=pax", "--sparse-version=0.1"]):
        raw = subprocess.run(["tar", "-cS", *fmt, "-C", tmp_path, "sparse"], check=True,
                             stdout=subprocess.PIPE).stdout
        assert len(raw) < 1 << 20
        image = make_oci(tmp_path / fmt[-1][2:], [raw], ref="s" + fmt[-1][-1])
        d0fs("import", volume, tmp_path / fmt[-1][2:])
        assert sha(d0fs("cat", volume, f"img-{image}:/sparse")) == \
            sha((tmp_path / "sparse").read_bytes())
        d0fs("export", volume, image, tmp_path / "out.tar")


BAD = {
    "dotdot": (lambda t: member(t, "a/../../etc/shadow", b"x"), "'..'"),
    "link loop": (lambda t: (member(t, "a", kind=tarfile.SYMTYPE, linkname="a"),
                             member(t, "a/b", b"x")), ""),
    "hard link out": (lambda t: member(t, "h", kind=tarfile.LNKTYPE,
                                       linkname="../../etc/shadow"), "'..'"),
    "hard link to nothing": (lambda t: member(t, "h", kind=tarfile.LNKTYPE, linkname="nope"),
                             "hard link"),
    "whiteout of parent": (lambda t: member(t, "a/.wh..."), "whiteout"),
}


@pytest.mark.parametrize("case", sorted(BAD))
def test_hostile_layers(volume, tmp_path, case):
    fill, says = BAD[case]
    make_oci(tmp_path / "oci", [layer(base), layer(fill)])
    before = d0fs("ls", volume)
    assert says in d0fs("import", volume, tmp_path / "oci", code=1)
    assert json.loads(d0fs("--json", "images", volume)) == []
    assert set(d0fs("ls", volume).split()) - set(before.split()) <= {b"d0.images"} or \
        b"tmp-" not in d0fs("ls", volume)
    d0fs("check", volume)


def test_wrong_digests(volume, tmp_path):
    image = tmp_path / "oci"
    make_oci(image, [layer(base)])
    blob = max((image / "blobs" / "sha256").iterdir(), key=lambda p: p.stat().st_size)
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.write_bytes(data)
    d0fs("import", volume, image, code=1)
    assert json.loads(d0fs("--json", "images", volume)) == []


def test_reimport_repairs(volume, tmp_path):
    image = make_oci(tmp_path / "oci", [layer(base)])
    d0fs("import", volume, tmp_path / "oci")
    data = bytearray(volume.read_bytes())
    at = data.find(BIG[:64])
    assert at > 0
    while at >= 0:
        data[at + 5] ^= 0xff
        at = data.find(BIG[:64], at + 1)
    volume.write_bytes(data)
    r = subprocess.run([D0FS, "images", volume, "verify", "demo:1"], check=False,
                       stderr=subprocess.PIPE)
    assert r.returncode != 0
    d0fs("import", volume, tmp_path / "oci")
    d0fs("images", volume, "verify", "demo:1")
    assert d0fs("cat", volume, f"img-{image}:/big") == BIG


@pytest.mark.parametrize("source", ["archive", "volume", "import"])
def test_bad_blocks_are_mended_in_place(volume, tmp_path, source):
    """... for the image and for a container that shares them; what the container wrote stays."""
    names_of = [f"f{n}" for n in range(12)]
    contents = {n: os.urandom(70000 + 9000 * i) + b"compress me " * 9000 for i, n in enumerate(names_of)}
    image = make_oci(tmp_path / "oci", [layer(lambda t: [member(t, n, d) for n, d in contents.items()])])
    d0fs("import", volume, tmp_path / "oci")
    d0fs("snapshot", volume, f"img-{image}", "box")
    (tmp_path / "mine").write_bytes(b"my own")
    d0fs("cp", volume, tmp_path / "mine", "box:/mine")
    other = tmp_path / "other"
    d0fs("newfs", "-s", "64M", other)
    d0fs("mkdir", other, "LOCAL:/elsewhere")  # its blocks lie at other places
    d0fs("import", other, tmp_path / "oci")

    data = bytearray(volume.read_bytes())
    hits = 0
    for content in contents.values():
        at = data.find(content[:64])
        assert at > 0
        data[at + 17] ^= 0x20
        hits += 1
    volume.write_bytes(data)
    assert "check code" in d0fs("scrub", volume, code=4)
    if source == "import":
        d0fs("import", volume, tmp_path / "oci")
    else:
        d0fs("scrub", "--repair-from", tmp_path / "oci" if source == "archive" else other, volume)
    d0fs("scrub", volume)
    d0fs("check", volume)
    for name, content in contents.items():
        assert d0fs("cat", volume, f"box:/{name}") == content
    assert d0fs("cat", volume, "box:/mine") == b"my own"
    d0fs("images", volume, "verify", "demo:1")


def test_ends_of_files(volume, tmp_path):
    """Sizes around those at which the way of storing changes; also ends of zeros."""
    sizes = 1, 511, 512, 513, 1024, 1025, 65535, 65536, 65537, 131072 + 512, 262144, 262145, 300000
    contents = {f"{kind}{n}": make(n) for n in sizes for kind, make in (
        ("random", os.urandom), ("text", lambda n: (b"all the same " * (n // 13 + 1))[:n]),
        ("zeros", bytes), ("end", lambda n: os.urandom(n // 65536 * 65536).ljust(n, b"\0")))}
    tar = layer(lambda t: [member(t, n, d, mode=0o4711) for n, d in contents.items()])
    image = make_oci(tmp_path / "oci", [tar])
    d0fs("import", volume, tmp_path / "oci")
    d0fs("check", volume)
    d0fs("images", volume, "verify", "demo:1")
    d0fs("cp", "-r", volume, f"img-{image}:/", tmp_path / "out")
    for name, content in contents.items():
        out = tmp_path / "out" / name
        assert out.read_bytes() == content, name
        assert (out.stat().st_mode, out.stat().st_mtime) == (0o104711, 1700000000)
    with tarfile.open(fileobj=io.BytesIO(d0fs("export", volume, "demo:1", "-"))) as out:
        assert any(out.extractfile(m).read() == tar for m in out if m.size == len(tar))


def test_repair_from_what_is_no_source(volume, tmp_path):
    """A source that can't help is told at once, also when nothing is bad."""
    make_oci(tmp_path / "oci", [layer(base)])
    d0fs("import", volume, tmp_path / "oci")
    (tmp_path / "junk").write_bytes(b"neither an archive nor a volume\n" * 4096)
    (tmp_path / "empty").mkdir()
    with tarfile.open(tmp_path / "other.tar", "w") as tar:
        base(tar)
    for name, says in ("junk", "archive"), ("empty", "neither"), ("other.tar", "neither"):
        said = d0fs("scrub", "--repair-from", tmp_path / name, volume, code=1)
        assert name in said and says in said
    d0fs("scrub", "--repair-from", tmp_path / "missing", volume, code=6)
    (tmp_path / "copy").write_bytes(volume.read_bytes())
    for good in tmp_path / "oci", tmp_path / "copy":
        d0fs("scrub", "--repair-from", good, volume)


def test_signatures(volume, tmp_path):
    """An image is signed by its ID, manifest and tree; what was changed since is told."""
    key, other = tmp_path / "key", tmp_path / "other"
    key_id = d0fs("key", "new", key).decode().strip()
    public = tmp_path / "public"
    public.write_bytes(d0fs("key", "public", key))
    d0fs("key", "new", other)
    d0fs("key", "new", key, code=1)  # never overwritten
    image = make_oci(tmp_path / "oci", [layer(base)])
    d0fs("import", "--sign", key, volume, tmp_path / "oci")
    for k in (key, public, key_id):
        assert key_id in d0fs("images", volume, "verify", "demo:1", "--key", k).decode()
    assert json.loads(d0fs("--json", "images", volume, "verify", "demo:1"))["signers"] == [key_id]
    assert "not signed" in d0fs("images", volume, "verify", "--key", other, "demo:1", code=7)
    d0fs("images", volume, "sign", "--key", other, "demo:1")
    d0fs("images", volume, "verify", "--key", other, "demo:1")
    d0fs("images", volume, "verify", "--key", key, "demo:1")

    # The signature holds on another volume, where the blocks lie elsewhere.
    d0fs("newfs", "-s", "64M", "-c", "xxhash64", tmp_path / "v2")
    d0fs("import", tmp_path / "v2", tmp_path / "oci")
    d0fs("images", tmp_path / "v2", "verify", "--key", key, "demo:1", code=7)
    d0fs("cp", volume, f"d0.images:/signatures/{image}", tmp_path / "sig")
    d0fs("cp", tmp_path / "v2", tmp_path / "sig", f"d0.images:/signatures/{image}")
    d0fs("images", tmp_path / "v2", "verify", "--key", key, "demo:1")

    # Someone with the disk changes a file, and all check codes with it.
    (tmp_path / "evil").write_bytes(b"evil::0:0:\n")
    before = volume.read_bytes()
    d0fs("cp", volume, tmp_path / "evil", f"img-{image}:/etc/passwd")
    d0fs("check", volume)
    d0fs("images", volume, "verify", "--key", key, "demo:1", code=4)
    d0fs("images", volume, "sign", "--key", key, "demo:1", code=4)

    # ... or the record, the config, the signature.
    for path in ("images", "blobs", "signatures"):
        volume.write_bytes(before)
        d0fs("cp", volume, f"d0.images:/{path}/{image}", tmp_path / "x")
        data = bytearray((tmp_path / "x").read_bytes())
        at = data.find(b"root ") + 9 if path == "images" else len(data) - 9
        data[at] = ord("0") if data[at] != ord("0") else ord("1")
        (tmp_path / "x").write_bytes(data)
        d0fs("cp", volume, tmp_path / "x", f"d0.images:/{path}/{image}")
        assert d0fs("images", volume, "verify", "--key", key, "demo:1", code=4)

    # Removal takes the signature along.
    volume.write_bytes(before)
    d0fs("images", volume, "rm", "demo:1")
    assert d0fs("ls", volume, "d0.images:/signatures").strip() == b""


def test_a_full_volume(tmp_path):
    """An import that does not fit: said so, nothing of it is left, the space comes back, what was
    there is there; also for a volume that is full of files."""
    volume = tmp_path / "v"
    d0fs("newfs", "-s", "64M", volume)
    small, large = tmp_path / "small", tmp_path / "large"
    for path in (small, large):
        path.mkdir()
    kept = make_oci(small, [layer(base)], ref="small:1")
    noise = os.urandom(30 << 20)
    make_oci(large, [layer(lambda t: member(t, "a", noise)),
                     layer(lambda t: member(t, "b", noise[::-1]))], pack=lambda x: x, ref="large:1")
    d0fs("import", volume, small)
    d0fs("bulkfree", volume)
    before = json.loads(d0fs("--json", "info", volume))
    for _ in range(2):
        assert "no space" in d0fs("import", volume, large, code=5)
        d0fs("check", volume)
        after = json.loads(d0fs("--json", "info", volume))
        assert [p["label"] for p in after["pfs"]] == [p["label"] for p in before["pfs"]]
        assert [i["id"] for i in json.loads(d0fs("--json", "images", volume))] == [kept]
        d0fs("bulkfree", volume)
        after = json.loads(d0fs("--json", "info", volume))
        assert after["allocator_free"] > before["allocator_free"] - (1 << 20)
    d0fs("create", volume, "files")
    (tmp_path / "fill").write_bytes(os.urandom(80 << 20))
    d0fs("cp", volume, tmp_path / "fill", "files:/", code=5)
    d0fs("import", volume, large, code=5)
    d0fs("snapshot", volume, f"img-{kept}", "box", code=5)
    d0fs("rm", volume, "files")
    d0fs("bulkfree", volume)
    d0fs("snapshot", volume, f"img-{kept}", "box")
    d0fs("images", volume, "verify", "small:1")
    d0fs("images", volume, "rm", "small:1")
    d0fs("check", volume)
