#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""What `make run` does: put an image into the store's disk unless it is there, write a
configuration in which d0d makes a container of it, boot D0 in QEMU.

run.py --image ARCHIVE [--cmd "WORDS"] --disk FILE --web-port N [--docker-port N]
       [--dashboard-port N] [--control d0d|monitor] [--only-prepare] [-- QEMU ARGUMENTS]

The disk is a HAMMER2 volume and stays: the image is imported once. The container "web" is an
ordinary one of d0d's: `docker ps` shows it, and its output is printed here (follow.py). With the
image's own command its restart policy is "always": what it writes stays, and another image
replaces it. With --cmd it is a new one each time, and its end is told. Ports that containers publish
appear on the same ports of 127.0.0.1 (forward.py). With --control monitor it is a cell of
the configuration instead, and d0d makes none."""

import argparse
import ctypes
import hashlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.parse

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import follow  # noqa: E402
import forward  # noqa: E402

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(TOP, os.environ.get("B", "build"))
DISK_SIZE = "1G"


def fail(text):
    sys.exit(f"d0: {text}")


def tool(name, *args, capture=False):
    done = subprocess.run([f"{BUILD}/bin/{name}", *args], text=True, check=False,
                          stdout=subprocess.PIPE if capture else subprocess.DEVNULL)
    if done.returncode:
        fail(f"{name} {args[0]} failed ({done.returncode})")
    return done.stdout


def image_config(path):
    """The image's configuration: of `docker save`'s archives and of OCI archives."""
    def read(tar, name):
        member = tar.extractfile(name)
        return json.load(member)

    def blob(tar, digest):
        return read(tar, "blobs/" + digest.replace(":", "/"))

    try:
        with tarfile.open(path) as tar:
            names = {n.removeprefix("./") for n in tar.getnames()}
            if "manifest.json" in names:
                return read(tar, read(tar, "manifest.json")[0]["Config"]).get("config", {})
            manifest = blob(tar, read(tar, "index.json")["manifests"][0]["digest"])
            if "manifests" in manifest:
                manifest = blob(tar, manifest["manifests"][0]["digest"])
            return blob(tar, manifest["config"]["digest"]).get("config", {})
    except (OSError, tarfile.TarError, KeyError, IndexError, ValueError) as err:
        fail(f"{path}: not an image archive ({err})")
    return {}


def word(text):
    """A word in the args of a linux cell: commas separate, quotes keep blanks."""
    if any(c in text for c in ',"\n'):
        fail(f"a word of the command holds a comma, a quote or a line end: {text!r}")
    return f'"{text}"' if " " in text or "#" in text or not text else text


def store_image(disk, image):
    """Import what is missing; the label of the image's PFS."""
    before = set()
    if not os.path.exists(disk):
        tool("d0fs", "newfs", "-s", DISK_SIZE, disk)
    else:
        before = {i["id"] for i in json.loads(tool("d0fs", "--json", "images", disk, capture=True))}
    tool("d0fs", "import", disk, image)
    images = json.loads(tool("d0fs", "--json", "images", disk, capture=True))
    new = [i["id"] for i in images if i["id"] not in before]
    if new:
        print(f"d0: image {new[0][:12]} is in the store now", flush=True)
        return new[0]
    with open(image, "rb") as f:  # it was there: find which by its configuration's digest
        archive = f.read()
    for i in images:
        if i["id"].encode() in archive:
            return i["id"]
    return images[0]["id"]


def container(disk, image_id, argv):
    """The container's PFS: a snapshot of the image, made once for this image and command."""
    name = "web-" + hashlib.sha256("\0".join([image_id, *argv]).encode()).hexdigest()[:12]
    listed = tool("d0fs", "ls", disk, capture=True).split()
    if name not in listed:
        tool("d0fs", "snapshot", disk, f"img-{image_id}", name)
    return name


def image_name(path):
    """The archive's own name for its image, or nothing."""
    with tarfile.open(path) as tar:
        if "manifest.json" in {n.removeprefix("./") for n in tar.getnames()}:
            return (json.load(tar.extractfile("manifest.json"))[0].get("RepoTags") or [""])[0]
    return ""


def ensured(image_id, opts):
    """The words by which d0d makes the container (d0d --ensure): a create request."""
    body = {"Image": image_name(opts.image) or f"sha256:{image_id}", "Hostname": "web",
            "Labels": {"d0.image": image_id}, "ExposedPorts": {"80/tcp": {}},
            "HostConfig": {"RestartPolicy": {"Name": "no" if opts.cmd else "always"},
                           "PortBindings": {"80/tcp": [{"HostPort": "80"}]}}}
    if opts.cmd:
        body["Cmd"] = shlex.split(opts.cmd)
        body["Labels"]["d0.run"] = str(time.time_ns())  # other words: another container
    text = urllib.parse.quote(json.dumps(body, separators=(",", ":")), safe="")
    return f",--ensure,web={text}"


def prepare(opts):
    config = image_config(opts.image)
    argv = (shlex.split(opts.cmd) if opts.cmd else
            (config.get("Entrypoint") or []) + (config.get("Cmd") or []))
    if not argv:
        fail("the image names no command: give one, CMD=...")
    image_id, pfs, ensure = store_image(opts.disk, opts.image), "", ""
    if opts.control == "monitor":
        pfs = container(opts.disk, image_id, argv)
    else:
        ensure = ensured(image_id, opts)
    env = config.get("Env") or ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
    with open(os.path.join(TOP, "conf", "demo.conf"), encoding="utf-8") as f:
        conf = f.read()
    if opts.control != "monitor":
        conf = re.sub(r"# \[static.*?# \[/static\]\n", "", conf, flags=re.S)
    args = (f"argv={','.join(map(word, argv))} env={','.join(map(word, env))} hostname=web"
            + (f" cwd={config['WorkingDir']}" if config.get("WorkingDir") else ""))
    conf = conf.replace("@ARGS@", args).replace("@PFS@", pfs)
    conf = conf.replace("@ENSURE@", ensure)
    if any(len(line.split(" ", 2)[2]) > 1000 for line in conf.splitlines() if line.startswith("args ")):
        fail("the command is too long")
    monitor, d0d = "inspect,power,console", "inspect"
    if opts.control == "monitor":
        monitor += ",control"
    else:
        d0d += ",control"
    conf = conf.replace("@MONITOR@", monitor).replace("@D0D@", d0d)
    path, out = f"{opts.out}.conf", f"{opts.out}.d0a"
    with open(path, "w", encoding="utf-8") as f:
        f.write(conf)
    cells = ["heartbeat", "monitor", "nic", "transport", "store"]
    argv = ["create", "--key", f"{BUILD}/keys/signing.key", "--out", out, "--conf", path,
            "--nucleus", f"{BUILD}/d0.elf", "--cell", f"linux={BUILD}/cells/linux.elf,high",
            "--data", f"d0d-root={BUILD}/d0d-root.tar"]
    for cell in cells:
        argv += ["--cell", f"{cell}={BUILD}/cells/{cell}.elf"]
    tool("d0-mkarchive", *argv)
    return out


def end_with_parent():
    """SIGTERM for this process when the one that started it is gone, whatever ended that."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)


def say(text):
    print(text, flush=True)


def run(argv, opts):
    """QEMU to its end, in the foreground; what it ends with. Whoever ends us ends it."""
    with tempfile.TemporaryDirectory() as folder:
        qmp = os.path.join(folder, "qmp")
        machine = subprocess.Popen([*argv, "-qmp", f"unix:{qmp},server=on,wait=off"],
                                   preexec_fn=end_with_parent)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: machine.terminate())
        end_with_parent()
        while machine.poll() is None and not os.path.exists(qmp):
            time.sleep(0.05)
        if machine.poll() is None:
            try:
                forward.Forwards(forward.Qmp(qmp), opts.docker_port, say=say).start()
            except OSError as err:
                say(f"d0: published ports will not be forwarded: {err}")
            if opts.control == "d0d":
                follow.Follow(opts.docker_port, "web", say).start()
        return machine.wait()


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--image", required=True)
    args.add_argument("--cmd", default="")
    args.add_argument("--disk", default=f"{BUILD}/disk.h2")
    args.add_argument("--out", default=f"{BUILD}/run")
    args.add_argument("--web-port", type=int, default=8000)
    args.add_argument("--docker-port", type=int, default=2375)
    args.add_argument("--dashboard-port", type=int, default=8080)
    args.add_argument("--control", choices=("d0d", "monitor"), default="d0d",
                      help="which cell may make and restart others")
    args.add_argument("--only-prepare", action="store_true")
    args.add_argument("qemu", nargs="*")
    opts = args.parse_args()
    archive = prepare(opts)
    if opts.only_prepare:
        return
    web = "10.0.2.15" if opts.control == "monitor" else "10.0.2.16"
    say(f"d0: port 80 of the container will be at http://127.0.0.1:{opts.web_port}/\n"
        f"d0: the dashboard will be at http://127.0.0.1:{opts.dashboard_port}/\n"
        f"d0: the Docker endpoint will be at tcp://127.0.0.1:{opts.docker_port} "
        f"(docker -H tcp://127.0.0.1:{opts.docker_port} version)\n"
        "d0: this is the console: `help` and Enter lists its commands; `poweroff` or Ctrl-C ends it")
    sys.exit(run([
        "qemu-system-x86_64", "-M", "q35", "-cpu", "max", "-display", "none", "-no-reboot",
        "-chardev", "stdio,id=con,signal=on", "-serial", "chardev:con",
        "-netdev", f"user,id=net0,hostfwd=tcp:127.0.0.1:{opts.web_port}-{web}:80,"
        f"hostfwd=tcp:127.0.0.1:{opts.docker_port}-10.0.2.16:2375,"
        f"hostfwd=tcp:127.0.0.1:{opts.dashboard_port}-10.0.2.16:8080",
        "-device", "virtio-net-pci,netdev=net0",
        "-drive", f"if=none,id=disk0,format=raw,file={opts.disk}",
        "-device", "virtio-blk-pci,drive=disk0",
        "-kernel", f"{BUILD}/d0.elf", "-initrd", archive, *opts.qemu], opts))


if __name__ == "__main__":
    main()
