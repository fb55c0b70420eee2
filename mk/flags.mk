# Compiler flags, one set for each variant of an object file. An object of SRC in
# variant V is $(B)/obj/V/SRC.o; rooms add flags for their own folder with
#   CFLAGS.<folder> += ...        (all variants)   and
#   CFLAGS.<variant>.<folder> += ... (one variant).

WARN := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
        -Wpointer-arith -Wvla -Wno-unused-parameter -Wimplicit-fallthrough
BASE := -std=gnu11 -g -I. -Iinclude -Ilibcell/include -fno-common -fno-strict-aliasing -MMD -MP \
        -ffile-prefix-map=$(CURDIR)=.

# Debian's hardening set for programs on the host.
FLAGS.host := -O2 -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fPIE -D_GNU_SOURCE \
              -D_FILE_OFFSET_BITS=64
FLAGS.asan := -O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined \
              -fno-omit-frame-pointer -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DD0_SANITIZED
FLAGS.fuzz := -O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined \
              -fno-omit-frame-pointer -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DD0_FUZZING
# Shared objects (packetdrill's interface).
FLAGS.pic  := -O2 -fPIC -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64
# Freestanding code that runs in a cell. SSE is theirs; there are no interrupts in a
# native cell, so the red zone is safe.
FLAGS.cell := -O2 -ffreestanding -fno-builtin-printf -fPIE -fvisibility=hidden \
              -fstack-protector-strong -mstack-protector-guard=global \
              -fno-asynchronous-unwind-tables -fno-omit-frame-pointer -mno-avx \
              -ftrivial-auto-var-init=zero -ffunction-sections -fdata-sections -DD0_CELL \
              -Ilibcell/include/libc
# The guest kernel of a linux cell: no SSE (user registers are live), no red zone.
FLAGS.guest := -O2 -ffreestanding -fno-builtin-printf -fPIE -fvisibility=hidden \
              -fstack-protector-strong -mstack-protector-guard=global \
              -fno-asynchronous-unwind-tables -fno-omit-frame-pointer -mgeneral-regs-only \
              -mno-red-zone -ftrivial-auto-var-init=zero -ffunction-sections -fdata-sections -DD0_CELL -DD0_GUEST \
              -Ilibcell/include/libc
# Host mode. No SSE of its own (guest registers are live), no red zone.
FLAGS.nucleus := -O2 -ffreestanding -fno-builtin-printf -fPIE -fvisibility=hidden \
              -fstack-protector-strong -mstack-protector-guard=global \
              -fno-asynchronous-unwind-tables -fno-omit-frame-pointer -mgeneral-regs-only \
              -mno-red-zone -ftrivial-auto-var-init=zero -ffunction-sections -DD0_NUCLEUS -Inucleus/libc

LD_SAN := -fsanitize=address,undefined
