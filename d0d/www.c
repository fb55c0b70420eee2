// SPDX-License-Identifier: ISC
// The dashboard's files, as bytes: d0d is one binary. Paths are from the top of the tree,
// where the compiler runs.
#define EMBED(name, path)                                                                \
	__asm__(".section .rodata\n.global www_" name "\nwww_" name ":\n.incbin \"" path \
		"\"\n.global www_" name "_end\nwww_" name "_end:\n.byte 0\n.previous\n")

EMBED("html", "d0d/www/index.html");
EMBED("css", "d0d/www/app.css");
EMBED("js", "d0d/www/app.js");
