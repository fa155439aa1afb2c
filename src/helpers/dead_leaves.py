r"""Dead leaves: occluding discs, the simplest images with the edges of natural ones.

Discs fall on the plane for ever, each one hiding what lies below it. Centres are
uniform, radii have the density $f(r) \propto r^{-\alpha}$ on $[r_{min}, r_{max}]$,
a leaf has one colour. With $\alpha = 3$ the image is nearly scale invariant, like a
photograph. An image is sampled at the centres of its pixels, so mean and covariance
of the pixels are known exactly, quantisation to 256 levels included.

Unless said otherwise lengths are in pixels and $r_{max}$ is half the side.

Sources: Matheron (1968); Ruderman, Vision Research 37 (1997); Lee, Mumford and Huang,
IJCV 41 (2001). Front to back, hence without bias: Kendall and Thönnes (1999).
"""

import numpy as np

LEVELS = 256  # a grey level is uniform on 0, ..., 255, that is on [-1, 1] ...
VARIANCE = (LEVELS**2 - 1) / 12 / 127.5**2  # ... with mean 0 and this variance
# Images at a time, leaves on each: they change speed and random stream, not the law.
BLOCK, ROUND = 256, 256


def sample(
    n: int,
    side: int,
    *,
    channels: int = 1,
    alpha: float = 3.0,
    r_min: float = 1.0,
    r_max: float | None = None,
    grey: float = 0.8,
    generator: np.random.Generator,
) -> np.ndarray:
    """Draw `n` images (n, side, side, channels) uint8; see `moments` for the law.

    A leaf is grey with probability `grey`, else its channels are independent.
    Leaves fall on each image from the front, until no pixel is left uncovered.
    """
    r_max = _checked(side, channels, r_min, r_max, grey)
    images = np.zeros((n, side * side, channels), np.uint8)
    bare = np.ones((n, side * side), bool)  # no leaf here yet
    while (some := np.flatnonzero(bare.any(1))[:BLOCK]).size:
        y, x, r = _leaves(len(some) * ROUND, side, alpha, r_min, r_max, generator)
        colour = _colours(len(some) * ROUND, channels, grey, generator)
        front = _front(len(some), side, y, x, r)
        image, pixel = np.nonzero(bare[some] & (front >= 0))
        images[some[image], pixel] = colour[front[image, pixel]]
        bare[some[image], pixel] = False
    return images.reshape(n, side, side, channels)


def moments(
    side: int,
    *,
    channels: int = 1,
    alpha: float = 3.0,
    r_min: float = 1.0,
    r_max: float | None = None,
    grey: float = 0.8,
) -> tuple[np.ndarray, np.ndarray]:
    r"""Population mean (n,) and covariance (n, n) of the pixels, in units of [-1, 1].

    $$\mu = 0, \qquad
    \Sigma = \sigma^2 \, \big(g\,11^T + (1 - g)\,I_C\big) \otimes \rho(|p - q|),
    \qquad \sigma^2 = \frac{256^2 - 1}{12 \cdot 127.5^2}$$

    with g the probability `grey` of a grey leaf, p and q pixels, $\rho$ the
    `correlation`. n = C·H·W is flattened in the order of a (C, H, W) tensor. Exact
    to about 1e-14, the error of the quadrature in $\rho$.
    """
    r_max = _checked(side, channels, r_min, r_max, grey)
    y, x = (i.ravel() for i in np.indices((side, side)))
    squared = (y[:, None] - y) ** 2 + (x[:, None] - x) ** 2  # (H·W, H·W)
    lags = np.arange(squared.max() + 1.0) ** 0.5
    rho = correlation(lags, alpha=alpha, r_min=r_min, r_max=r_max)[squared]
    mix = np.full((channels, channels), grey) + (1 - grey) * np.eye(channels)
    return np.zeros(channels * side * side), np.kron(VARIANCE * mix, rho)


def covariance(side: int, **law) -> np.ndarray:
    """The covariance (n, n) of `moments`, float64, in squared units of [-1, 1]."""
    return moments(side, **law)[1]


def correlation(
    h: np.ndarray, *, r_max: float, alpha: float = 3.0, r_min: float = 1.0
) -> np.ndarray:
    r"""Correlation of two points at distance `h`, any shape.

    $$\rho(h) = \frac{\gamma(h)}{2\gamma(0) - \gamma(h)}$$

    The first leaf from the front that covers at least one of the two points decides:
    the numerator is the rate of leaves that cover both ($\gamma$, see `covariogram`),
    the denominator that of leaves that cover one or both. If it covers both, they
    have one colour; if not, the other point gets its colour from a later,
    independent leaf. So $\rho$ is also the probability that both see the same leaf.
    """
    gamma, area = (
        covariogram(d, alpha=alpha, r_min=r_min, r_max=r_max) for d in (h, 0.0)
    )
    return gamma / (2 * area - gamma)


def covariogram(
    h: np.ndarray, *, r_max: float, alpha: float = 3.0, r_min: float = 1.0
) -> np.ndarray:
    r"""Mean area common to a leaf and the same leaf moved by `h`, in square pixels.

    $$\gamma(h) = \int f(r)\, A(r, h)\, dr, \qquad
    A(r, h) = 2r^2 \arccos\frac{h}{2r} - \frac{h}{2}\sqrt{4r^2 - h^2}
    \quad (h < 2r)$$

    With $r = (h/2) \cosh t$ the integrand is smooth up to the end $r = h/2$,
    $A = r^2 (2\theta - \sin 2\theta)$, $\cos\theta = 1/\cosh t$, and 128
    Gauss-Legendre nodes reach rounding error.
    """
    h = np.asarray(h, np.float64)[..., None]
    node, weight = np.polynomial.legendre.leggauss(128)
    some = np.clip(h, 1e-15 * r_min, None)  # h = 0 is a limit of the substitution
    start = np.arccosh(np.clip(2 * r_min / some, 1, None))
    stop = np.arccosh(np.clip(2 * r_max / some, 1, None))
    t = start + (stop - start) * (node + 1) / 2
    r, theta = some / 2 * np.cosh(t), np.arctan(np.sinh(t))
    lens = r ** (2 - alpha) * (2 * theta - np.sin(2 * theta)) * some / 2 * np.sinh(t)
    area = ((stop - start) / 2 * weight * lens).sum(-1)
    return area / _power_integral(-alpha, r_min, r_max)


def _leaves(n, side, alpha, r_min, r_max, generator):
    r"""The next `n` leaves: centres (y, x) in pixels from the first pixel, and radii.

    Only discs that can reach a pixel centre are drawn. Their centres are uniform in
    a square of side L + 2r, L = side - 1, so their radii have the biased density
    $f(r) (L + 2r)^2$: three power laws, mixed.
    """
    L, powers = side - 1, -alpha + np.arange(3)
    mass = np.array([_power_integral(k, r_min, r_max) for k in powers])
    share = mass * [L * L, 4 * L, 4]
    k = generator.choice(powers, size=n, p=share / share.sum())
    r = _power_quantile(generator.random(n), k, r_min, r_max)
    y, x = generator.random((2, n)) * (L + 2 * r) - r
    return y, x, r


def _front(n, side, y, x, r):
    """Which of the leaves each pixel of `n` images sees first: (n, H·W), -1 for none.

    `y`, `x`, `r` hold as many leaves for each image, front to back. A disc is filled
    row by row; where discs overlap the one written last, the front one, stays.
    """
    disc, row = _ranges(np.maximum(np.ceil(y - r), 0), np.minimum(y + r, side - 1))
    half = np.sqrt(np.maximum(r[disc] ** 2 - (row - y[disc]) ** 2, 0))
    left, right = np.ceil(x[disc] - half), x[disc] + half
    span, column = _ranges(np.maximum(left, 0), np.minimum(right, side - 1))
    leaf = disc[span]
    pixel = (leaf // (len(r) // n) * side + row[span]) * side + column
    front = np.full(n * side * side, -1)
    front[pixel[::-1]] = leaf[::-1]
    return front.reshape(n, -1)


def _ranges(start, stop):
    """All integers from start[i] to stop[i], and to which i each belongs."""
    start, stop = np.int64(start), np.int64(np.floor(stop))
    count = np.maximum(stop - start + 1, 0)
    owner = np.repeat(np.arange(len(count)), count)
    return owner, (start - np.cumsum(count) + count)[owner] + np.arange(len(owner))


def _colours(n, channels, grey, generator):
    colour = generator.integers(LEVELS, size=(n, channels), dtype=np.uint8)
    is_grey = generator.random(n) < grey
    return np.where(is_grey[:, None], colour[:, :1], colour)  # (n, C)


def _power_integral(k, a, b):
    r"""$\int_a^b r^k dr$."""
    return np.log(b / a) if k == -1 else (b ** (k + 1) - a ** (k + 1)) / (k + 1)


def _power_quantile(u, k, a, b):
    """Quantile `u` of the density proportional to r^k on [a, b]; arrays u and k."""
    e = np.where(k == -1, 1.0, k + 1)
    power = (a**e + u * (b**e - a**e)) ** (1 / e)
    return np.where(k == -1, a * (b / a) ** u, power)


def _checked(side, channels, r_min, r_max, grey) -> float:
    """r_max with its default, or a ValueError that says which argument is wrong."""
    r_max = side / 2 if r_max is None else r_max
    if side < 1 or channels < 1:
        raise ValueError(f"side and channels are at least 1, not {side}, {channels}.")
    if not 0 < r_min < r_max:
        raise ValueError(f"Radii need 0 < r_min < r_max, not {r_min} and {r_max}.")
    if not 0 <= grey <= 1:
        raise ValueError(f"grey is a probability in [0, 1], not {grey}.")
    return float(r_max)
