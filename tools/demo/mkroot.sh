#!/bin/sh
# SPDX-License-Identifier: ISC
# mkroot.sh OUT: the demo container's files, a tar archive: busybox from Debian's package
# busybox-static and one page. Reproducible: everything is as old as busybox.
set -eu
out=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
chmod 755 "$dir"
mkdir -p "$dir/bin" "$dir/www" "$dir/tmp" "$dir/etc"
cp /bin/busybox "$dir/bin/busybox"
for name in sh httpd ls cat echo ps uname mount ip \
	cp date df env false free grep head hostname id kill mkdir mv nc nslookup ping printf rm sed sleep sort \
	tail top touch true vi wc wget; do
	ln -s busybox "$dir/bin/$name"
done
echo 'root:x:0:0:root:/:/bin/sh' >"$dir/etc/passwd"
cat >"$dir/www/index.html" <<PAGE
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Hello from D0</title>
<h1>Hello from a container on D0</h1>
<p>busybox httpd runs in a virtual machine of its own; the TCP/IP stack that brought you this page
runs in another; the network card is in a third.</p>
</html>
PAGE
tar --format=ustar --sort=name --owner=0 --group=0 --mtime="@$(stat -c %Y /bin/busybox)" -C "$dir" -cf "$out" .
