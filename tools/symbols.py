"""Assembly for the nucleus's symbol table, from a linked image (none: an empty table)."""

import subprocess
import sys

IMAGE_START = 0x200000


def functions(elf):
    out = subprocess.run(["nm", "--defined-only", "-n", elf], capture_output=True, text=True,
                         check=True).stdout
    for line in out.splitlines():
        address, kind, name = line.split()
        if kind in "tT" and not name.startswith("."):
            yield int(address, 16) - IMAGE_START, name


def main():
    table = list(functions(sys.argv[1])) if len(sys.argv) > 1 else []
    # Behind all other read-only data: its size must not move the text it describes.
    print('\t.section .rodata.zsymbols, "a"\n\t.balign 8')
    print("\t.globl symbol_count, symbol_table, symbol_names")
    print("\t.hidden symbol_count, symbol_table, symbol_names")
    print(f"symbol_count:\n\t.long {len(table)}, 0\nsymbol_table:")
    offset = 0
    for address, name in table:
        print(f"\t.long {address}, {offset}")
        offset += len(name) + 1
    print("symbol_names:")
    for _, name in table:
        print(f'\t.asciz "{name}"')
    print("\t.byte 0")
    print('\t.section .note.GNU-stack, "", @progbits')


if __name__ == "__main__":
    main()
