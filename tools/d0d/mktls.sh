#!/bin/sh
# SPDX-License-Identifier: ISC
# mktls.sh DIR [NAME|ADDRESS]...: an authority of its own (ca.pem), a certificate for d0d
# (server/), valid for the names and addresses given besides "d0" and the loopback, and one for a
# client (client/, laid out as DOCKER_CERT_PATH wants it). The authority's key is not kept: who needs
# another certificate makes all of them anew.
set -eu
out=$1
shift
names=DNS:d0,DNS:localhost,IP:127.0.0.1
for name; do
	case $name in
	*[!0-9.]*) names=$names,DNS:$name ;;
	*) names=$names,IP:$name ;;
	esac
done
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
umask 077

make_key() {
	openssl ecparam -name prime256v1 -genkey -noout -out "$1"
}

# issue WHO PURPOSE ALTERNATIVE-NAMES
issue() {
	mkdir -p "$dir/$1"
	make_key "$dir/$1/key.pem"
	openssl req -new -key "$dir/$1/key.pem" -subj "/CN=d0 $1" -out "$dir/$1.csr"
	printf 'extendedKeyUsage=%s\nsubjectAltName=%s\n' "$2" "$3" >"$dir/$1.ext"
	openssl x509 -req -in "$dir/$1.csr" -CA "$dir/ca.pem" -CAkey "$dir/ca.key" -CAcreateserial \
		-days 3650 -extfile "$dir/$1.ext" -out "$dir/$1/cert.pem" 2>/dev/null
	cp "$dir/ca.pem" "$dir/$1/ca.pem"
}

make_key "$dir/ca.key"
openssl req -x509 -new -key "$dir/ca.key" -subj "/CN=d0 authority" -days 3650 -out "$dir/ca.pem"
issue server serverAuth "$names"
issue client clientAuth "DNS:d0-client"
mkdir -p "$out"
rm -rf "$out/server" "$out/client"
cp -r "$dir/server" "$dir/client" "$out/"
