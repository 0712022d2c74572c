"""Random numbers as a counter: Philox4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3,
SC 2011). A word is a function of (seed, boot, purpose, entity, k) and of nothing else, never of the variant, the RAM
size, the worker or the order of the boots.

Everything is an integer: the same words and the same scaled gaps come out on every machine.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcsim.kernels.jit.compile import inlined_kernel, kernel

# Purposes: what a number decides.
PURPOSE_RECORDING = 1  # which recording's user phase
PURPOSE_PRE_INIT = 2  # which recording's pre-init phase
PURPOSE_BOOT_FACTOR = 3  # the common factor of all gaps of a boot
PURPOSE_TICK_PHASE = 4  # time to the first tick
PURPOSE_GAP = 5  # factor of one gap; entity = lane, k = request
PURPOSE_EXEC_DELAY = 6  # artificial delay at exec; entity = lane, k = request

MULTIPLIER_0 = np.uint64(0xD2511F53)
MULTIPLIER_1 = np.uint64(0xCD9E8D57)
WEYL_0 = np.uint64(0x9E3779B9)
WEYL_1 = np.uint64(0xBB67AE85)
WORD = np.uint64(0xFFFFFFFF)
SHIFT_32 = np.uint64(32)
SHIFT_16 = np.uint64(16)
ROUNDS = 10

FACTOR_BITS = 20  # factors of gaps are fixed-point numbers with this many bits behind the point
FACTOR_TABLE_BITS = 12  # a distribution is a table of its 2**12 equally likely quantiles


@kernel
def philox4x32(seed: Any, boot: Any, purpose: int, entity: int, k: int, words: NDArray[np.uint64]) -> None:
    """Write the four 32-bit words of a counter to `words` (uint64[4]).

    The key is the seed (64 bits); the counter is boot (48 bits), purpose (16), entity (32), k (32).
    """
    key_0 = np.uint64(seed) & WORD
    key_1 = np.uint64(seed) >> SHIFT_32
    c0 = np.uint64(boot) & WORD
    c1 = ((np.uint64(boot) >> SHIFT_32) | (np.uint64(purpose) << SHIFT_16)) & WORD
    c2 = np.uint64(entity) & WORD
    c3 = np.uint64(k) & WORD
    for _ in range(ROUNDS):
        product_0 = MULTIPLIER_0 * c0
        product_1 = MULTIPLIER_1 * c2
        c0 = (product_1 >> SHIFT_32) ^ c1 ^ key_0
        c1 = product_1 & WORD
        c2 = (product_0 >> SHIFT_32) ^ c3 ^ key_1
        c3 = product_0 & WORD
        key_0 = (key_0 + WEYL_0) & WORD
        key_1 = (key_1 + WEYL_1) & WORD
    words[0] = c0
    words[1] = c1
    words[2] = c2
    words[3] = c3


@inlined_kernel
def philox4x32_blocks(
    seed: Any,
    boot: Any,
    purpose: int,
    entity: NDArray[np.int32],
    k: NDArray[np.int32],
    words: NDArray[np.uint32],
) -> None:
    """The words of many counters, words[4 i : 4 i + 4] those of (entity[i], k[i]): `philox4x32`, vectorised.

    entity, k: int32[n]. words: uint32[4 n or more].
    """
    key_0 = np.uint32(np.uint64(seed) & WORD)
    key_1 = np.uint32(np.uint64(seed) >> SHIFT_32)
    low = np.uint32(np.uint64(boot) & WORD)
    high = np.uint32(((np.uint64(boot) >> SHIFT_32) | (np.uint64(purpose) << SHIFT_16)) & WORD)
    for i in range(entity.shape[0]):
        c0 = low
        c1 = high
        c2 = np.uint32(entity[i])
        c3 = np.uint32(k[i])
        round_0 = key_0
        round_1 = key_1
        for _ in range(ROUNDS):
            # Half as wide as in `philox4x32`: only so does the compiler see that a product takes one instruction.
            product_0 = MULTIPLIER_0 * np.uint64(c0)
            product_1 = MULTIPLIER_1 * np.uint64(c2)
            c0 = np.uint32((product_1 >> SHIFT_32) ^ np.uint64(c1) ^ np.uint64(round_0))
            c1 = np.uint32(product_1 & WORD)
            c2 = np.uint32((product_0 >> SHIFT_32) ^ np.uint64(c3) ^ np.uint64(round_1))
            c3 = np.uint32(product_0 & WORD)
            round_0 = np.uint32((np.uint64(round_0) + WEYL_0) & WORD)
            round_1 = np.uint32((np.uint64(round_1) + WEYL_1) & WORD)
        words[4 * i] = c0
        words[4 * i + 1] = c1
        words[4 * i + 2] = c2
        words[4 * i + 3] = c3


@kernel
def random_below(seed: Any, boot: Any, purpose: int, entity: int, k: int, limit: int, words: NDArray[np.uint64]) -> int:
    """A whole number in [0, limit), limit < 2**31, from one word (bias below limit / 2**32); `words` is scratch."""
    philox4x32(seed, boot, purpose, entity, k, words)
    return int((words[0] * np.uint64(limit)) >> SHIFT_32)


@inlined_kernel
def scale(gap: int, factor: int) -> int:
    """A gap times a fixed-point factor, rounded to the nearest count."""
    return (gap * factor + (1 << (FACTOR_BITS - 1))) >> FACTOR_BITS
