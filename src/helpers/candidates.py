r"""To name a draw of q to somebody who knows p only, in little more than KL(q || p).

Both sides draw the same candidates $z_1, z_2, \ldots$ from p. The sender also draws
the arrivals $T_1 < T_2 < \ldots$ of a Poisson process and names
$K = \arg\min_i T_i / w(z_i)$ with $w = q / p$ (Li & El Gamal 2018). Then $z_K$ is a
draw of q, and given $z_K$

$$P(K > j) = \Big(\frac{\rho}{1 + \rho}\Big)^j, \qquad
  \rho = E_{z \sim p} [w(z_K) - w(z)]_+ \approx w(z_K) .$$

Reason: the points $T_i / w(z_i)$ are a Poisson process of rate 1, so the smallest, A,
is exponential and independent of $z_K$; the candidates before K are those with
$A\, w(z_i) < T_i < A\, w(z_K)$, a Poisson number of mean $A \rho$.

Here q and p are Gaussians with the means m + shift and m and the variances u < v. Then
ln w is about normal, with the mean $\kappa$ = KL and the variance $2 \kappa$ under q,
$- \kappa$ and $2 \kappa$ under p. The law of K that follows (`tail`) is the price list
of the index: the number of its binary digits is coded with it, the digits as they are.
(`exact_tail` is the law of K itself.) So for $\kappa$ above 2 nats or so an index costs

$$\frac{\kappa}{\ln 2}
  + \tfrac12 \log_2 \big[2 \pi e\, (2 \kappa + \tfrac{\pi^2}{6})\big]
  - \frac{\gamma}{\ln 2} \quad \text{bits:}$$

$\ln K$ is ln w plus the logarithm of an exponential number, of mean $-\gamma$ and
variance $\pi^2 / 6$, and a code for K must pay the entropy of $\ln K$ beyond its mean.
"""

import hashlib
import math
from functools import lru_cache

import numpy as np
import torch
from scipy.special import chndtr, ndtr
from torch import Tensor

from helpers import rangecoder
from helpers.rangecoder import Decoder, Encoder

CHUNK = 4096  # candidates drawn at a time
LENGTHS = 40  # K has at most 40 binary digits
NODES, MASS = np.polynomial.hermite_e.hermegauss(64)
MASS = MASS / MASS.sum()
NEARLY = 1e3  # c longer than this: ln w is as good as normal


def draw(name: str, chunk: int, n: int) -> Tensor:
    """Candidates CHUNK * chunk + 1, ..., CHUNK * (chunk + 1), (CHUNK, n), N(0, I)."""
    digest = hashlib.sha256(f"{name}/{chunk}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    return torch.randn(CHUNK, n, generator=generator)


def candidate(name: str, K: int, n: int) -> Tensor:
    """Candidate K = 1, 2, ..., (n,), float64."""
    chunk, row = divmod(K - 1, CHUNK)
    return draw(name, chunk, n)[row].double()


def kl(shift: Tensor, v: float, u: float) -> float:
    r"""KL(q || p) in nats:
    $\frac12 [n (\ln \frac vu + \frac uv - 1) + |shift|^2 / v]$.
    """
    square = shift.square().sum().item()
    return (len(shift) * (math.log(v / u) + u / v - 1) + square / v) / 2


def spread(shift: Tensor, v: float, u: float) -> float:
    r"""Standard deviation of ln w under q.

    $[\frac n2 (1 - \frac uv)^2 + \frac{u}{v^2} |shift|^2]^{1/2}$
    """
    square = shift.square().sum().item()
    return math.sqrt(len(shift) / 2 * (1 - u / v) ** 2 + u * square / v**2)


def depth(shift: Tensor, v: float, u: float, reach: float) -> float:
    r"""How many candidates to search, $e^{KL + reach\, s}$, s that of `spread`."""
    return math.exp(min(99, kl(shift, v, u) + reach * spread(shift, v, u)))


def search(
    name: str,
    shift: Tensor,
    v: float,
    u: float,
    depth: float,
    chance: np.random.Generator,
) -> int:
    """K among about `depth` candidates, whole chunks of them; `chance` draws the T_i.

    It stops early when no later candidate can win, since w has a maximum for u < v.
    ValueError for u >= v, unless q is p.
    """
    if u >= v:
        if u == v and not bool(shift.any()):
            return 1
        raise ValueError(f"q / p has no maximum: variances {u:g} and {v:g}")
    n, delta = len(shift), shift.double()
    top = n / 2 * math.log(v / u)
    top_w = top + (delta.square().sum() / (2 * (v - u))).item()
    low = top - (delta.square().sum() / (2 * u)).item()
    best, K, arrival, chunk = math.inf, 1, 0.0, 0
    direction, bend = (math.sqrt(v) / u * delta).float(), (1 - v / u) / 2
    while chunk * CHUNK < depth and (chunk == 0 or math.log(arrival) < best + top_w):
        z = draw(name, chunk, n)
        log_w = low + bend * z.square().sum(1).double() + (z @ direction).double()
        T = arrival + chance.exponential(size=CHUNK).cumsum()
        score = np.log(T) - log_w.numpy()
        if score.min() < best:
            best, K = score.min(), chunk * CHUNK + int(score.argmin()) + 1
        arrival, chunk = T[-1], chunk + 1
    return K


def tail(kappa: float) -> np.ndarray:
    r"""$P(K \ge 2^b)$ for b = 0, ..., LENGTHS, if ln w has the normal law of this KL.

    What a receiver can know, who is told $\kappa$ and no more.
    """
    kappa = max(kappa, 1e-12)
    s = math.sqrt(2 * kappa)
    log_w = kappa + s * NODES
    over, under = ndtr((log_w + kappa) / s), ndtr((log_w - kappa) / s)
    return _tail(log_w, over, under, MASS)


def exact_tail(
    shift: Tensor, v: float, u: float, depth: float = math.inf
) -> np.ndarray:
    r"""$P(K \ge 2^b)$ for b = 0, ..., LENGTHS, for this q, which the sender knows.

    With $c = \sqrt v\, shift / (v - u)$

    $$\ln w(z) = \tfrac n2 \ln \tfrac vu + \frac{|shift|^2}{2 (v - u)}
      - \frac{v - u}{2 u}\, |z - c|^2,$$

    and the square is non-central $\chi^2_n$: under p of non-centrality $|c|^2$, under q
    u / v times one of $\frac uv |c|^2$. Where a `search` of this depth would have gone
    on, its index is taken to be any one, all equally likely. For q next to p, `tail`.
    """
    n, square, gap = len(shift), shift.square().sum().item(), v - u
    if not gap * NEARLY > math.sqrt(v * square):
        return tail(kl(shift, v, u))
    apart, nc = v * square / gap**2, u * square / gap**2
    edges = n + nc + math.sqrt(2 * (n + 2 * nc)) * np.linspace(-8, 10, 242)
    edges = np.maximum(edges, 0)
    R, mass = (edges[1:] + edges[:-1]) / 2, np.diff(chndtr(edges, n, nc))
    log_w = n / 2 * math.log(v / u) + square / (2 * gap) - gap / (2 * v) * R
    over, under = 1 - chndtr(R * u / v, n, apart), 1 - chndtr(R, n, nc)
    whole = _tail(log_w, over, under, mass / mass.sum())
    return _cut(whole, CHUNK * math.ceil(min(depth, 2.0**LENGTHS) / CHUNK))


def _tail(log_w, over, under, mass) -> np.ndarray:
    r"""The law of K from ln w(z_K) with these masses, and the chances that p (`over`)
    and q (`under`) give to the candidates of a smaller w.
    """
    w = np.exp(np.minimum(log_w, 600))
    rho = np.maximum(w * over - under, 1e-300)
    j = 2.0 ** np.arange(LENGTHS + 1)[:, None] - 1
    chances = np.exp(-j * np.log1p(1 / rho)) @ mass
    chances[0], chances[-1] = 1, 0  # exactly
    return chances


def _cut(whole: np.ndarray, most: int) -> np.ndarray:
    """The law of an index that is drawn once more, evenly, where it is above `most`."""
    b = np.arange(LENGTHS + 1)
    later = np.interp(math.log2(most), b, whole)
    evenly = np.maximum(0, 1 - (2.0**b - 1) / most)
    return np.where(evenly > 0, np.maximum(whole - later, 0) + later * evenly, 0)


@lru_cache(maxsize=4096)
def length_starts(kappa: float) -> tuple[int, ...]:
    """The chances of K having 1, 2, ..., LENGTHS binary digits, for the range coder."""
    return tuple(rangecoder.starts(np.maximum.accumulate(1 - tail(kappa)).tolist()))


def put(encoder: Encoder, K: int, kappa: float) -> None:
    """The index K as a symbol: how many digits it has, then all but the first."""
    starts, b = length_starts(kappa), K.bit_length() - 1
    encoder.put(starts[b], starts[b + 1] - starts[b])
    encoder.put_number(K - (1 << b), b)


def get(decoder: Decoder, kappa: float) -> int:
    """The next index."""
    b = decoder.get(length_starts(kappa))
    return (1 << b) + decoder.get_number(b)


def expected_bits(kappa: float, chances: np.ndarray | None = None) -> float:
    """Mean price of an index, by the price list for `kappa` nats.

    `chances` is the law of K, that of `exact_tail` or, unless given, of `tail(kappa)`.
    """
    starts = np.diff(length_starts(kappa)) / (1 << rangecoder.BITS)
    found = -np.diff(tail(kappa) if chances is None else chances)
    return float(found @ (np.arange(LENGTHS) - np.log2(starts)))


def overhead(kappa: float) -> float:
    """The closed form at the head of this module, without its first term, in bits."""
    variance = 2 * kappa + math.pi**2 / 6
    return math.log2(2 * math.pi * math.e * variance) / 2 - np.euler_gamma / math.log(2)
