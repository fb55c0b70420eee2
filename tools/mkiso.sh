#!/bin/sh
# SPDX-License-Identifier: ISC
# mkiso.sh OUT NUCLEUS ARCHIVE: an ISO that boots by BIOS and by UEFI, through GRUB. D0_CMDLINE:
# boot parameters; D0_TIMEOUT: seconds in which they can be edited ("e" in GRUB's menu).
set -eu
out=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir -p "$dir/boot/grub"
cp "$2" "$dir/boot/d0.elf"
cp "$3" "$dir/boot/boot.d0a"
cat > "$dir/boot/grub/grub.cfg" <<CFG
set timeout=${D0_TIMEOUT:-0}
serial --unit=0 --speed=115200
terminal_input console serial
terminal_output console serial
menuentry "D0" {
	multiboot2 /boot/d0.elf ${D0_CMDLINE:-}
	module2 /boot/boot.d0a
}
CFG
log=$dir.log
if ! grub-mkrescue -o "$out" "$dir" >"$log" 2>&1; then
	cat "$log" >&2
	rm -f "$log"
	exit 1
fi
rm -f "$log"
