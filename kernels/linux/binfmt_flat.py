"""Images of bFLT programs (fs/binfmt_flat.c): which mappings an exec asks for.

The caller has made the new, empty mm, and holds the argument pages.
"""

from mcsim.kernels.jit.compile import kernel
from mcsim.kernels.linux.nommu import NO_FILE, VM_MAYSHARE, Memory, do_mmap, do_munmap

FLAT_FLAG_RAM = 0x1  # load the program entirely into RAM
FLAT_FLAG_GZIP = 0x4  # all but the header is compressed

DATA_START_OFFSET = 0  # bytes between text and data: a word per shared library, 0 without CONFIG_BINFMT_SHARED_FLAT


@kernel
def flat_extra(bss_len: int, stack_len: int, relocs: int) -> int:
    """Bytes behind the data: bss and stack, or the relocation table (4 bytes each) that is read in there."""
    return max(bss_len + stack_len, 4 * relocs)


@kernel
def load_flat_file(
    memory: Memory,
    mm: int,
    text_len: int,
    data_len: int,
    bss_len: int,
    stack_len: int,
    relocs: int,
    flags: int,
    file: int,
) -> int:
    """Map an image into the empty mm; returns the address of its text or a negative errno.

    Lengths are bytes; `stack_len` holds the header's stack and the room for the arguments. With
    FLAT_FLAG_RAM or FLAT_FLAG_GZIP: one anonymous mapping. Otherwise the text is mapped from `file`, shared
    with other processes that run it, and the rest is anonymous; if that fails the text is unmapped again.
    """
    extra = flat_extra(bss_len, stack_len, relocs)
    if flags & (FLAT_FLAG_RAM | FLAT_FLAG_GZIP):
        length = text_len + data_len + extra + DATA_START_OFFSET
        return int(do_mmap(memory, mm, length, NO_FILE, 0, 0))
    text = do_mmap(memory, mm, text_len, file, VM_MAYSHARE, 0)
    if text < 0:
        return int(text)
    length = data_len + extra + DATA_START_OFFSET
    data = do_mmap(memory, mm, length, NO_FILE, 0, 0)
    if data < 0:
        do_munmap(memory, mm, text, text_len)
        return int(data)
    return int(text)
