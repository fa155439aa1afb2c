r"""The Wiener filter of stationary images, by FFT: no n x n matrix at any size.

If the covariance of two pixels depends only on their distance, on a torus, then every
Fourier mode is an eigenvector and the filter is a convolution. Of images that are not
like that the spectrum here describes the nearest circulant covariance (T. Chan, 1988):
the diagonal of the true one in the Fourier basis.

The torus joins opposite borders, which real images do not: near a border the filter
looks at pixels that have nothing to do with it. `Stationary.expected_error` includes
that price, exactly; `departure` says how far the covariance is from circulant.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from helpers.denoisers import check_noisy
from helpers.lowrank import unit
from helpers.targets import noise_level

PLANE = (-2, -1)  # the axes of a picture


class Spectrum:
    r"""Mean and average power spectrum of images in one pass, mergeable.

    $$P_{cd}(f) = \frac1N \sum_n \hat z_{nc}(f)\, \overline{\hat z_{nd}(f)},
      \qquad z_n = y_n - \mu$$

    for each pair of channels c, d and each frequency f, with the unitary Fourier
    transform. Feed batches (n, C, H, W), uint8 levels or floats in [-1, 1].
    """

    def __init__(self):
        self.count, self.sum, self.product = 0, None, None  # of the transforms

    def update(self, batch: Tensor) -> "Spectrum":
        """Add a batch; ValueError if it is no finite (n, C, H, W) of the same size."""
        if batch.ndim != 4:
            raise ValueError(f"images are (n, C, H, W), not {tuple(batch.shape)}")
        y = unit(batch, torch.float64).view(batch.shape)
        z = torch.fft.rfft2(y, norm="ortho").permute(2, 3, 1, 0)  # (H, W', C, n)
        shape = (batch.shape[1:], z.sum(-1), z @ z.mH)
        return self._add(len(batch), *shape)

    def merge(self, other: "Spectrum") -> "Spectrum":
        """Add the sums of another shard of the same set."""
        if other.count == 0:
            return self
        return self._add(other.count, other.shape, other.sum, other.product)

    def _add(self, count, shape, total, product):
        if self.sum is None:
            self.shape, self.sum, self.product = shape, 0, 0
        if shape != self.shape:
            raise ValueError(
                f"these images are {tuple(shape)}, the ones before {tuple(self.shape)}"
            )
        self.count, self.sum = self.count + count, self.sum + total
        self.product = self.product + product
        return self

    @property
    def mean(self) -> Tensor:
        r"""$\mu$, (C, H, W), float64."""
        self._check_any()
        mean = (self.sum / self.count).permute(2, 0, 1)  # (C, H, W')
        return torch.fft.irfft2(mean, s=self.shape[1:], norm="ortho")

    @property
    def power(self) -> Tensor:
        """$P$, (H, W // 2 + 1, C, C), complex128; the other half is its conjugate."""
        self._check_any()
        mean = self.sum[..., None] / self.count  # (H, W', C, 1)
        return self.product / self.count - mean @ mean.mH

    def _check_any(self):
        if not self.count:
            raise ValueError("no image has been added yet")


def circulant_power(cov: Tensor, shape: tuple[int, int, int]) -> Tensor:
    r"""$P$ of a covariance (n, n): its diagonal in the Fourier basis, by pairs of
    channels.

    (H, W // 2 + 1, C, C), complex128. The covariance with this spectrum is the
    circulant one nearest to `cov` in Frobenius norm. ValueError unless n = C H W.
    """
    C, H, W = shape
    if cov.shape != (C * H * W, C * H * W):
        raise ValueError(f"cov {tuple(cov.shape)} is not of images {shape}")
    pairs = cov.double().view(C, H, W, C, H, W)
    rows = torch.arange(H), torch.arange(W)
    lag = torch.zeros(C, C, H, W, dtype=torch.float64)  # mean over pairs at each lag
    for i in rows[0]:
        for j in rows[1]:
            lag += pairs[:, i, j].roll((-int(i), -int(j)), (-2, -1)) / (H * W)
    # cov[c, p, d, p + h] = lag[c, d, h]: the transform of -h is the conjugate
    return torch.fft.rfft2(lag).permute(2, 3, 0, 1).conj()


class Stationary:
    r"""The Wiener filter of the circulant covariance with a given spectrum.

    $$\hat D(x; \sigma) = \hat\mu + P (P + \sigma^2 I)^{-1} (\hat x - \hat\mu)$$

    at each frequency, with C x C matrices. `mu` has shape (C, H, W), `power` (H, W // 2
    + 1, C, C), Hermitian. For a circulant covariance it is the Wiener filter; for any
    other it is the best of all filters that are convolutions on the torus (plus a
    constant image).
    """

    def __init__(self, mu: Tensor, power: Tensor):
        C, H, W = mu.shape
        if power.shape != (H, W // 2 + 1, C, C):
            raise ValueError(
                f"mu {tuple(mu.shape)} needs a spectrum {(H, W // 2 + 1, C, C)}, not "
                f"{tuple(power.shape)}"
            )
        if not bool(torch.isfinite(mu).all() and torch.isfinite(power).all()):
            raise ValueError("mu or the spectrum holds NaN or infinite numbers")
        lam, self.V = torch.linalg.eigh(power.to(torch.complex128))
        self.mu, self.lam = mu.double(), lam.clamp_min(0)  # (H, W', C)
        # how often a frequency of the half plane stands for two of the whole one
        column = torch.arange(W // 2 + 1, device=mu.device)
        self.times = torch.where((column == 0) | (2 * column == W), 1.0, 2.0)

    @classmethod
    def fit(cls, batches: Iterable[Tensor]) -> "Stationary":
        """From batches (n, C, H, W) of uint8 levels or of floats in [-1, 1]."""
        spectrum = Spectrum()
        for batch in batches:
            spectrum.update(batch)
        return cls(spectrum.mean, spectrum.power)

    def __call__(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        check_noisy(x, self.mu.shape)
        gain = self.gain(noise_level(sigma, x).reshape(-1))  # (1 or B, H, W', C)
        V = self.V.to(x.device, (x[:0] + 0j).dtype)
        mu = self.mu.to(x)
        z = torch.fft.rfft2(x - mu, norm="ortho").movedim(1, -1)[..., None]
        z = (V @ (gain.to(x)[..., None] * (V.mH @ z)))[..., 0].movedim(-1, 1)
        return mu + torch.fft.irfft2(z, s=x.shape[2:], norm="ortho")

    def gain(self, sigma: float | Tensor) -> Tensor:
        r"""$\lambda / (\lambda + \sigma^2)$ of each mode, (1 or B, H, W // 2 + 1, C),
        float64.
        """
        lam = self.lam
        variance = torch.as_tensor(sigma, dtype=torch.float64, device=lam.device) ** 2
        return lam / (lam + variance.reshape(-1, 1, 1, 1))

    def kernel(self, sigma: float) -> Tensor:
        r"""The convolution: k[c, d, H // 2 + i, W // 2 + j] weighs channel d of the
        pixel at (i, j) from the output pixel, in channel c.

        (C, C, H, W), float64. A row of the Jacobian is this kernel, moved.
        """
        gain = self.gain(sigma)[0].to(self.V)  # (H, W', C)
        G = (self.V * gain[..., None, :]) @ self.V.mH
        k = torch.fft.irfft2(G.permute(2, 3, 0, 1).conj(), s=self.mu.shape[1:])
        return torch.fft.fftshift(k, dim=PLANE)

    def expected_error(self, sigma: float | Tensor) -> Tensor:
        r"""$E\|x_0 - D(x; \sigma)\|^2 = \sum \lambda \sigma^2 / (\lambda + \sigma^2)$,
        per image, over all modes.

        Exact for any images with this average spectrum, stationary or not: of their
        covariance, the error of a convolution sees the spectrum only. The full Wiener
        filter has an error that is smaller; where it is too large to be made,
        `LowRank.error_bracket` bounds its error. Shape (1 or B,), float64.
        """
        error = self.lam * (1 - self.gain(sigma))  # (1 or B, H, W', C)
        return (error.sum(dim=-1) * self.times).sum(dim=(1, 2))

    @property
    def square(self) -> float:
        r"""$\sum \lambda^2$ over all modes: squared Frobenius norm of the circulant."""
        return (self.lam.square().sum(dim=-1) * self.times).sum().item()


def departure(stationary: Stationary, cov: Tensor) -> float:
    r"""Relative distance of a covariance to its circulant part, in Frobenius norm.

    $$\frac{\|\Sigma - \Sigma_\circ\|_F}{\|\Sigma\|_F}
      = \sqrt{1 - \|\Sigma_\circ\|_F^2 / \|\Sigma\|_F^2}$$

    0 for a circulant covariance, below 1. `stationary` has the spectrum of `cov`.
    """
    return max(1 - stationary.square / cov.double().square().sum().item(), 0.0) ** 0.5


def square_of_covariance(mu: Tensor, a: Tensor, b: Tensor) -> tuple[float, float]:
    r"""An estimate of $\|\Sigma\|_F^2$ without $\Sigma$, and its standard error.

    $E\,(z \cdot z')^2 = \|\Sigma\|_F^2$ for independent images $z, z'$ less their mean:
    the mean over all pairs of an image of `a` with one of `b`, (n, C, H, W), two
    disjoint samples, uint8 or float. The standard error is that of a two-sample U
    statistic. With it sqrt(1 - stationary.square / this) estimates `departure` for
    images of any size. ValueError with fewer than two images in a sample.
    """
    if min(len(a), len(b)) < 2:
        raise ValueError(f"{len(a)} and {len(b)} images are too few")
    x, y = (unit(part, torch.float64) - mu.double().flatten() for part in (a, b))
    squares = (x @ y.T).square()
    errors = (squares.mean(1 - i).var() / squares.shape[i] for i in (0, 1))
    return squares.mean().item(), sum(errors).sqrt().item()
