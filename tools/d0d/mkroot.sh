#!/bin/sh
# SPDX-License-Identifier: ISC
# mkroot.sh D0D OUT [TLS]: the files of d0d's own cell, a tar archive: the static program,
# stripped, the folders it writes to, and the certificate and key in the folder TLS.
set -eu
d0d=$1 out=$2 tls=${3:-}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
chmod 755 "$dir"
mkdir -p "$dir/bin" "$dir/etc" "$dir/tmp" "$dir/var/lib/d0"
strip -o "$dir/bin/d0d" "$d0d"
ln -s /proc/net/pnp "$dir/etc/resolv.conf" # what the transport cell was told, or asked for
echo 'root:x:0:0:root:/:/bin/sh' >"$dir/etc/passwd"
[ ! -e /etc/ssl/certs/ca-certificates.crt ] || {
	mkdir -p "$dir/etc/ssl/certs"
	cp /etc/ssl/certs/ca-certificates.crt "$dir/etc/ssl/certs/"
}
[ -z "$tls" ] || {
	mkdir -p "$dir/etc/d0"
	cp -r "$tls" "$dir/etc/d0/tls"
}
tar --format=ustar --sort=name --owner=0 --group=0 --mtime=@0 -C "$dir" -cf "$out" .
