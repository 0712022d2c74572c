"""CRC-32 (that of zlib) byte by byte: digests of what an allocator holds, as vectors of the real kernel code have them.

A digest begins with CRC32_START and ends with one more exclusive or of it.
"""

import numpy as np
from numpy.typing import NDArray

from mcsim.kernels.jit.compile import kernel

CRC32_START = 0xFFFFFFFF


def crc32_table() -> NDArray[np.int64]:
    """What each value of a byte does to the CRC: int64[256]."""
    table = np.arange(256, dtype=np.int64)
    for _ in range(8):
        table = np.where(table & 1, table >> 1 ^ 0xEDB88320, table >> 1)
    return table


CRC32_TABLE = crc32_table()


@kernel
def crc32_byte(crc: int, byte: int) -> int:
    """The CRC with one more byte."""
    return crc >> 8 ^ CRC32_TABLE[(crc ^ byte) & 255]


@kernel
def crc32_decimal(crc: int, number: int) -> int:
    """The CRC with a number, which is not negative, printed with %d."""
    power = 1
    while power * 10 <= number:
        power *= 10
    while power:
        crc = crc32_byte(crc, 48 + number // power % 10)
        power //= 10
    return crc


@kernel
def crc32_hex(crc: int, high: int, low: int) -> int:
    """The CRC with high * 2**32 + low printed with %x; both are below 2**32."""
    started = False
    for half in range(2):
        word = low if half else high
        for shift in range(28, -1, -4):
            digit = word >> shift & 15
            last = half == 1 and shift == 0
            if digit or started or last:
                started = True
                crc = crc32_byte(crc, digit + (48 if digit < 10 else 87))
    return crc
