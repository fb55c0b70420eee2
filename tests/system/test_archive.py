# SPDX-License-Identifier: ISC
"""Boot archives that are damaged, forged, cut or nonsense: D0 says why and stops."""

import re
import struct
import subprocess

import pytest
from conftest import KEY, MKARCHIVE
from machine import BUILD

STOP = r"^d0: HALT: (.*)$"
HEADER = struct.Struct("<QIIQQQQQ8s")  # struct d0_archive


def damaged(path, change):
    with open(path, "rb") as f:
        data = bytearray(f.read())
    out = change(data, HEADER.unpack_from(data))
    with open(path, "wb") as f:
        f.write(data if out is None else out)
    return path


def flip(offset, bit=0x01):
    def change(data, _):
        data[offset] ^= bit
    return change


def flip_manifest(data, header):
    data[header[4] + 40] ^= 1


def flip_signature(data, header):
    data[header[6] + 10] ^= 0x80


def flip_conf(data, _):
    at = data.find(b"beat-a")
    data[at] ^= 0x20


def cut(size):
    return lambda data, _: data[:size]


def cut_half(data, _):
    return data[:len(data) // 2]


def patch(offset, value):
    def change(data, _):
        struct.pack_into("<Q", data, offset, value)
    return change


CASES = {
    "magic": (flip(0), "wrong magic"),
    "version": (flip(8), "version"),
    "manifest": (flip_manifest, "signature is wrong"),
    "signature": (flip_signature, "signature is wrong"),
    "configuration": (flip_conf, "d0.conf|hash"),
    "cut": (cut_half, "truncated"),
    "a few bytes": (cut(40), "too short|no boot archive"),
    "manifest beyond": (patch(24, 1 << 62), "outside"),
    "manifest size wraps": (patch(32, (1 << 64) - 64), "outside"),
    "signature beyond": (patch(40, (1 << 64) - 32), "outside"),
    "manifest over header": (patch(24, 0), "impossible place|signature is wrong"),
}


@pytest.mark.parametrize("case", CASES)
def test_damaged_archive_stops_the_boot(boot, archive, pair, case):
    change, why = CASES[case]
    m = boot(damaged(archive(pair, ["heartbeat"]), change), mem="128M")
    m.expect(rf"^d0: HALT: .*({why})", timeout=60, absent=r"^d0: ready")


def test_no_archive(boot):
    m = boot(mem="128M")
    m.expect(r"^d0: HALT: .*no boot archive", timeout=60)


def test_foreign_key(boot, archive, pair, tmp_path):
    key = tmp_path / "other.key"
    subprocess.run([MKARCHIVE, "key", key], check=True)
    m = boot(archive(pair, ["heartbeat"], key=key), mem="128M")
    m.expect(r"^d0: HALT: .*signature is wrong", timeout=60, absent=r"^d0: ready")


CONF = {
    "cell": "incomplete line|unknown",
    "cell a": "no image=",
    "cell a image=nosuch": "no usable image",
    "cell a image=heartbeat heap=12X": "not a number",
    "cell a image=heartbeat heap=999999999G": "not a number|out of range|out of memory",
    "cell a image=heartbeat stack=0": "out of range",
    "cell a image=heartbeat vcpus=1000": "out of range",
    "cell a image=heartbeat channels=100000": "out of range",
    "cell a image=heartbeat caps=everything": "unknown capability",
    "cell a image=heartbeat\ncell a image=heartbeat": "named twice",
    "cell a image=heartbeat\nchannel a b protocol=virtq": "no such cell",
    "cell a image=heartbeat\nchannel a a protocol=psychic": "unknown value",
    "frobnicate a": "unknown statement",
}


def refused(archive, capfd, conf, **kwargs):
    """What d0-mkarchive says when it does not make the archive."""
    with pytest.raises(subprocess.CalledProcessError):
        archive(conf, **kwargs)
    return capfd.readouterr().err


@pytest.mark.parametrize("conf", CONF)
def test_wrong_configuration_is_named(archive, capfd, conf):
    said = refused(archive, capfd, conf + "\n", cells=["heartbeat"])
    assert re.search(rf"d0.conf, line \d+: .*({CONF[conf]})", said)


def test_signed_but_wrong_configuration(boot, tmp_path, archive, pair):
    """What d0-mkarchive lets pass the nucleus still checks: too much memory (of a cell with a
    device, which has all of it from its start), no such device."""
    conf = ("# a comment\n\ncell a image=heartbeat heap=4G\ndevice a pci=8086:2922\n"
            "device a pci=dead:beef\n")
    m = boot(archive(pair + conf, cells=["heartbeat"]), mem="128M")
    m.expect(r"^d0: d0.conf, line 11: this machine has no such device", timeout=60)
    m.expect(r"^d0: NOT READY: 1 of 3 cells did not start", timeout=60)


def broken_elf(tmp_path, change):
    with open(f"{BUILD}/cells/monitor.elf", "rb") as f:
        data = bytearray(f.read())
    change(data)
    path = tmp_path / "broken.elf"
    path.write_bytes(data)
    return path


def elf_entry_in_data(data):
    phoff = struct.unpack_from("<Q", data, 32)[0]
    struct.pack_into("<Q", data, 24, struct.unpack_from("<Q", data, phoff + 3 * 56 + 16)[0])


def elf_reloc_in_text(data):
    # The first relocation's target becomes the first word of text.
    phoff, phnum = struct.unpack_from("<Q", data, 32)[0], struct.unpack_from("<H", data, 56)[0]
    heads = [struct.unpack_from("<IIQQQQQQ", data, phoff + 56 * i) for i in range(phnum)]
    dynamic = next(h for h in heads if h[0] == 2)
    tags = dict(struct.iter_unpack("<QQ", data[dynamic[2]:dynamic[2] + dynamic[5]]))
    rela = tags[7]
    load = next(h for h in heads if h[0] == 1 and h[3] <= rela < h[3] + h[5])
    struct.pack_into("<Q", data, load[2] + rela - load[3], 0)


def elf_truncated(data):
    del data[len(data) // 2:]


@pytest.mark.parametrize("change, why", [
    (elf_entry_in_data, "entry point is not in text"),
    (elf_reloc_in_text, "relocation outside relro and data"),
    (elf_truncated, "truncated")])
def test_wrong_image_is_not_archived(tmp_path, capfd, change, why):
    conf = tmp_path / "conf"
    conf.write_text("cell broken image=broken\n")
    argv = [MKARCHIVE, "create", "--key", KEY, "--out", tmp_path / "out", "--conf", conf,
            "--nucleus", f"{BUILD}/d0.elf", "--cell", f"broken={broken_elf(tmp_path, change)}"]
    assert subprocess.run(argv, check=False).returncode
    assert why in capfd.readouterr().err


def resigned(path, change):
    """The archive with another manifest, properly signed again."""
    damaged(path, change)
    subprocess.run([MKARCHIVE, "sign", "--key", KEY, path], check=True)
    return path


def segment_outside(data, header):
    # The first image's first segment begins far behind the end of its file.
    files = struct.unpack_from("<I", data, header[4] + 8)[0]
    for i in range(files):
        at = header[4] + 32 + 416 * i
        if data[at:at + 10] == b"heartbeat\0":
            struct.pack_into("<Q", data, at + 128 + 48 + 24, 1 << 40)


def test_signed_but_wrong_image(boot, archive, pair):
    """A signature makes an image authentic, not right."""
    m = boot(resigned(archive(pair, ["heartbeat"]), segment_outside), mem="128M")
    m.expect(r"^d0: HALT: .*the record of an image makes no sense", timeout=60)
