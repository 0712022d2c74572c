"""Two variants on the same boots: the difference of their rates, its interval, and an exact test.

The unit is the boot, because boot k is the same boot under every variant *and* RAM size. Over m RAM sizes it
contributes its net difference s, from -m to m: the number of sizes at which only the variant fails less the number at
which only the baseline fails. For one size s is 1, 0 or -1. Everything here is a function of `net`: int64[2 m + 1], the
number of boots by s, ascending. The difference of the mean rates is the mean of s / m.

Test: under the hypothesis that variant and baseline may change places in any boot, the signs of the nonzero s are fair
coins. The p-value is the probability of a sum at least as far from 0, summed up exactly. For one size this is the exact
test of McNemar (Q. McNemar, Psychometrika 12, 1947); for several the randomisation test of R. A. Fisher (The Design of
Experiments, 1935, section 21) for clustered pairs.

Interval: the difference D is inside if the score statistic (mean - D) / sqrt(variance / boots) is within the normal
quantile, where the variance is that of the most likely distribution with mean D on all values of s, seen or not. For
one size this is Tango's interval (T. Tango, Statistics in Medicine 17, 1998), which M. W. Fagerland, S. Lydersen and
P. Laake (Statistics in Medicine 33, 2014) recommend among others; the constrained distribution for several sizes is
that of empirical likelihood (A. B. Owen, Biometrika 75, 1988), with the ends of the scale added. Without a discordant
boot it is +-z^2 / (boots + z^2), not 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import binomtest, norm

from mcsim.stats.intervals import Interval, check_counts

SMALLEST = 1e-9  # of several sizes: rounding of the Fourier transform hides smaller p-values

Net = NDArray[np.int64]


def net_differences(variant: NDArray[np.bool_], baseline: NDArray[np.bool_]) -> Net:
    """`net` of failures bool[sizes, boots], same boots in both."""
    sizes = variant.shape[0]
    net = variant.sum(axis=0, dtype=np.int64) - baseline.sum(axis=0, dtype=np.int64)
    return np.bincount(net + sizes, minlength=2 * sizes + 1).astype(np.int64)


def one_size(variant_only: int, baseline_only: int, boots: int) -> Net:
    """`net` for one RAM size from the discordant counts."""
    return np.array([baseline_only, boots - variant_only - baseline_only, variant_only], dtype=np.int64)


def difference(net: Net) -> float:
    """Mean rate of the variant less that of the baseline."""
    values = _values(net)
    return float(net @ values / (net.sum() * values[-1]))


def p_value(net: Net) -> float:
    """Two-sided, exact; 1 without any difference."""
    values = _values(net)
    tied = net + net[::-1]  # boots by |s|, at the positive values
    magnitudes = [int(value) for value in values[values > 0] if tied[values == value][0]]
    if not magnitudes:
        return 1.0
    counts = [int(tied[values == magnitude][0]) for magnitude in magnitudes]
    if len(magnitudes) == 1:
        positive = int(net[values == magnitudes[0]][0])
        return float(binomtest(positive, counts[0]).pvalue)
    step = int(np.gcd.reduce(magnitudes))
    distribution = _sign_flips([magnitude // step for magnitude in magnitudes], counts)
    sums = 2 * np.arange(distribution.size) - (distribution.size - 1)
    seen = abs(int(net @ values)) // step
    return float(min(1.0, max(SMALLEST, distribution[np.abs(sums) >= seen].sum())))


def _sign_flips(magnitudes: list[int], counts: list[int]) -> NDArray[np.float64]:
    """Distribution of the sum of `counts[i]` times each magnitude under fair signs: at -top, -top + 2, .., top.

    By its characteristic function, the product of cos(magnitude * w) ** count.
    """
    top = int(np.dot(magnitudes, counts))
    size = top + 1
    turn = np.arange(size // 2 + 1)
    product = np.exp(-1j * np.pi * ((turn * top) % (2 * size)) / size)
    for magnitude, count in zip(magnitudes, counts, strict=True):
        product *= np.cos(np.pi * magnitude * turn / size) ** count
    return np.fft.irfft(product, size)


def interval(net: Net, level: float = 0.95) -> Interval:
    """The score interval for the difference; [-1, 1] without boots."""
    check_counts(0, 0, level)
    if net.sum() == 0:
        return Interval(-1.0, 1.0)
    quantile = float(norm.isf(0.5 - 0.5 * level))
    return Interval(-_upper(net[::-1], quantile), _upper(net, quantile))


def _upper(net: Net, quantile: float) -> float:
    """The upper end, on the scale of rates."""
    values = _values(net)
    boots, top = int(net.sum()), float(values[-1])
    mean = float(net @ values) / boots
    if mean == top:
        return 1.0
    seen = net > 0
    weights, points = net[seen] / boots, values[seen].astype(np.float64)

    def excess(centre: float) -> float:
        """Distance of the mean from `centre`, squared in units of the error, above its limit; times the variance."""
        variance = _constrained_variance(weights, points, centre, top)
        return (centre - mean) ** 2 * boots - quantile**2 * variance

    low = mean + 1e-12 * (top - mean)
    if excess(low) >= 0.0:  # nothing varies
        return mean / top
    return float(brentq(excess, low, top)) / top


def _constrained_variance(
    weights: NDArray[np.float64], points: NDArray[np.float64], centre: float, top: float
) -> float:
    """Variance of the most likely distribution on -top..top whose mean is `centre`, above that of the sample.

    `weights`: shares of the points seen. Lagrange: a share w at distance t from the centre becomes w / (1 + k t), k in
    (-1 / (top - centre), 0). Where no k gives the mean, the end of the scale takes what is missing.
    """
    distances = points - centre
    if centre >= top:
        return 0.0

    def pull(k: float) -> float:
        return float((weights * distances / (1.0 + k * distances)).sum())

    if pull(0.0) >= 0.0:  # the centre is the mean, but for rounding: so is the distribution that of the sample
        return float((weights * distances**2).sum())
    edge = -1.0 / (top - centre)
    inside = edge * (1.0 - 1e-12)
    if pull(inside) > 0.0:
        k = float(brentq(pull, inside, 0.0))
        return float((weights * distances**2 / (1.0 + k * distances)).sum())
    below = distances < top - centre
    shares = weights[below] / (1.0 + edge * distances[below])
    missing = max(0.0, 1.0 - float(shares.sum()))
    return float((shares * distances[below] ** 2).sum()) + missing * (top - centre) ** 2


def _values(net: Net) -> Net:
    """The values of s that `net` counts."""
    sizes = net.size // 2
    return np.arange(-sizes, sizes + 1, dtype=np.int64)
