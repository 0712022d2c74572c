"""The random numbers are Philox4x32-10, word for word, and fair."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from mcsim.kernels.jit import rng
from mcsim.kernels.jit.rng import FACTOR_BITS, philox4x32, random_below, scale
from tests.twin_sched import philox

# Counter, key and words: the known-answer test of the authors' own library (Random123, kat_vectors).
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]
FALSE_ALARM = 1e-6  # of each statistical test, were its seed not fixed
PURPOSES = [value for name, value in vars(rng).items() if name.startswith("PURPOSE_")]


def words_of(seed, boot, purpose, entity, k):
    words = np.zeros(4, np.uint64)
    philox4x32(np.uint64(seed), np.uint64(boot), purpose, entity, k, words)
    return tuple(int(word) for word in words)


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN_ANSWERS)
def test_known_answers(counter, key, words):
    boot = (counter[1] & 0xFFFF) << 32 | counter[0]
    got = words_of(key[1] << 32 | key[0], boot, counter[1] >> 16, counter[2], counter[3])
    assert got == words
    assert philox(counter, key) == words


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**48 - 1),
    st.integers(0, 2**15 - 1),
    st.integers(0, 2**31 - 1),
    st.integers(0, 2**31 - 1),
)
def test_every_bit_of_the_key_and_counter_counts_as_in_the_twin(seed, boot, purpose, entity, k):
    counter = (boot & 0xFFFFFFFF, boot >> 32 | purpose << 16, entity, k)
    assert words_of(seed, boot, purpose, entity, k) == philox(counter, (seed & 0xFFFFFFFF, seed >> 32))


@pytest.mark.parametrize("seed", [0, 1, 2**31, 2**32 + 5, 2**63 - 1])
@pytest.mark.parametrize("boot", [0, 2**32 + 7])
def test_a_signed_seed_and_boot_give_the_same_words(seed, boot):
    words = np.zeros(4, np.uint64)
    philox4x32(seed, boot, 5, 6, 7, words)
    assert tuple(words) == words_of(seed, boot, 5, 6, 7)


def test_each_part_of_the_counter_gives_other_words():
    assert len(set(PURPOSES)) == len(PURPOSES)
    seen = {
        words_of(seed, boot, purpose, entity, k)
        for seed in (0, 1, 2**32, 2**63)
        for boot in (0, 1, 2**32, 2**32 + 1, 2**47)
        for purpose in PURPOSES
        for entity in (0, 1, 2)
        for k in (0, 1, 2)
    }
    assert len(seen) == 4 * 5 * len(PURPOSES) * 3 * 3


@pytest.mark.parametrize("limit", [2, 3, 7, 41, 4096])
@pytest.mark.parametrize("purpose", [rng.PURPOSE_RECORDING, rng.PURPOSE_PRE_INIT])
def test_random_below_is_uniform_over_boots(limit, purpose):
    words = np.zeros(4, np.uint64)
    draws = [int(random_below(20220601, boot, purpose, 0, 0, limit, words)) for boot in range(20 * 4096)]
    counts = np.bincount(draws, minlength=limit)
    assert len(counts) == limit
    expected = len(draws) / limit
    statistic = float(((counts - expected) ** 2 / expected).sum())
    assert chi2.ppf(FALSE_ALARM / 2, limit - 1) < statistic < chi2.isf(FALSE_ALARM / 2, limit - 1)


def test_the_sixteen_bit_halves_of_the_words_are_uniform():
    """The gaps of the scheduler are drawn from them, by their upper 12 bits."""
    draws = []
    for k in range(16 * 1024):
        for word in words_of(7, 3, rng.PURPOSE_GAP, 4, k):
            draws += [(word & 0xFFFF) >> 4, word >> 20]
    counts = np.bincount(draws, minlength=4096)
    expected = len(draws) / 4096
    statistic = float(((counts - expected) ** 2 / expected).sum())
    assert chi2.ppf(FALSE_ALARM / 2, 4095) < statistic < chi2.isf(FALSE_ALARM / 2, 4095)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.integers(0, 2**64 - 1), st.integers(1, 2**31 - 1))
def test_random_below_scales_the_first_word(seed, limit):
    words = np.zeros(4, np.uint64)
    value = random_below(np.uint64(seed), np.uint64(1), 2, 3, 4, limit, words)
    assert value == words_of(seed, 1, 2, 3, 4)[0] * limit >> 32
    assert 0 <= value < limit


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1))
def test_scale_rounds_to_the_nearest_count(gap, factor):
    exact = gap * factor
    got = int(scale(gap, factor)) << FACTOR_BITS
    half = 1 << (FACTOR_BITS - 1)
    assert got - half <= exact < got + half


def test_scale_by_one_changes_nothing_and_halves_go_up():
    one = 1 << FACTOR_BITS
    assert [scale(gap, one) for gap in (0, 1, 13021, 10**9)] == [0, 1, 13021, 10**9]
    assert [scale(gap, one // 2) for gap in (0, 1, 2, 3)] == [0, 1, 1, 2]
