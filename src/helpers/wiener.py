r"""The Wiener filter: the best denoiser among all affine maps, from two moments.

Everything here is a function of the covariance, $f(\Sigma) = U\, \mathrm{diag}(f(
\lambda))\, U^T$: the filter with $f = \lambda / (\lambda + \sigma^2)$, a sample of the
Gaussian model with $f = \sqrt\lambda$, a whole DDIM walk with a product of factors.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from helpers import artifacts
from helpers.data import check_images
from helpers.denoisers import check_noisy
from helpers.forward import gaussian_noise
from helpers.schedules import Schedule
from helpers.streaming import Moments
from helpers.targets import noise_level

# A covariance computed in float32 may have eigenvalues this far below 0, relative to
# the second moments that it was computed from.
ROUNDING = 1e-6
KEYS = ("mu", "lam", "U", "scale", "rest", "shape")


class Wiener:
    r"""Posterior mean when the data are Gaussian with the moments $\mu$ and $\Sigma$.

    $$D(x; \sigma) = \mu + S (x - \mu), \qquad
      S = \Sigma (\Sigma + \sigma^2 I)^{-1}
        = U\, \mathrm{diag}\Big(\frac{\lambda}{\lambda + \sigma^2}\Big) U^T$$

    the best denoiser among all affine maps (Wiener 1949; Lukoianov et al. 2025).
    `mu` has shape (D,), `cov` (D, D), symmetric; `shape` is that of an image, (C, H, W)
    with C H W = D. The eigendecomposition is done once, in float64; eigenvalues in
    `lam` rise, and those below 0 by rounding count as 0: a singular covariance does no
    harm. ValueError when the shapes do not fit, for NaN, and for a covariance that is
    not symmetric or has an eigenvalue clearly below 0.

    A filter from shipped moments (`load`) knows only the r largest eigenvalues: `U` is
    (D, r), and the components that were dropped share the gain of their mean
    eigenvalue, `rest[1]`. `row_error` bounds what that does.
    """

    def __init__(self, mu: Tensor, cov: Tensor, shape: Sequence[int] | None = None):
        mu, cov = mu.double(), cov.double()
        lam, U = _spectrum(mu, cov)
        self._keep(mu, lam, U, (len(mu),) if shape is None else shape)

    def _keep(self, mu, lam, U, shape, rest=(0.0, 0.0, 0.0), rounding=0.0) -> None:
        self.mu, self.lam, self.U = mu, lam, U  # (D,), (r,), (D, r), float64
        self.shape, self.rest = torch.Size(shape), lam.new_tensor(rest)
        self.rounding = rounding  # of the entries of U, a number or (r,)
        self._casts = {}
        if self.shape.numel() != len(mu):
            raise ValueError(f"an image of shape {shape} has not {len(mu)} numbers")

    @classmethod
    def fit(cls, data: Tensor, chunk: int = 4096) -> "Wiener":
        """From images, float (N, C, H, W) in [-1, 1]; the covariance divides by N."""
        check_images(data)
        moments = Moments()
        for block in data.split(chunk):
            moments.update(block.double())
        return cls(moments.mean, moments.cov(), data.shape[1:])

    @classmethod
    def from_moments(cls, tensors: dict[str, Tensor]) -> "Wiener":
        """From low-rank moments, as they are stored in `data/moments`.

        `mu` (D,); `lam` (r,), the largest eigenvalues, falling; `U` int16 (D, r), times
        `scale` (r,); `rest` (3,): smallest, mean and largest of the others; `shape`, C,
        H, W. ValueError when something is missing or does not fit.
        """
        if missing := [key for key in KEYS if key not in tensors]:
            raise ValueError(f"the moments have no {', '.join(missing)}")
        mu, lam, U, scale, rest, shape = (tensors[key] for key in KEYS)
        D, r = len(mu), len(lam)
        if U.shape != (D, r) or scale.shape != (r,) or r > D or rest.shape != (3,):
            raise ValueError(f"U {tuple(U.shape)} does not fit mu ({D},), lam ({r},)")
        if not 0 <= rest[0] <= rest[1] <= rest[2] or not bool((lam >= 0).all()):
            raise ValueError(f"rest {rest.tolist()} or lam is not what it should be")
        wiener, scale = cls.__new__(cls), scale.double()
        known = mu.double(), lam.double().flip(0), (U * scale).flip(1), shape.tolist()
        wiener._keep(*known, rest.tolist(), scale.flip(0) / 2)
        return wiener

    @classmethod
    def load(cls, name: str) -> "Wiener":
        """From the moments of an image set that the book ships, such as `cifar10`.

        Errors: those of `artifacts.load`.
        """
        return cls.from_moments(artifacts.load(f"moments/{name}.safetensors"))

    def __call__(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        shape, mu = self.shape if len(self.shape) == 3 else x.shape[1:], self.mu.to(x)
        if shape.numel() != len(mu):
            raise ValueError(f"x must be images of {len(mu)} numbers, not {x.shape}")
        check_noisy(x, shape)
        variance = _variance(noise_level(sigma, x).reshape(-1), x).reshape(-1, 1)
        answer = self.apply(lambda lam: lam / (lam + variance), x.flatten(1) - mu)
        return (mu + answer).view_as(x)

    def apply(self, f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        r"""$f(\Sigma)\, x = U\, \mathrm{diag}(f(\lambda))\, U^T x$ for x (B, D): two
        thin products.

        `f` maps eigenvalues (m,), float64, to (m,) or (B, m). The dropped components
        are $f(\bar\lambda)\, (I - U U^T)\, x$.
        """
        key = (x.device, x.dtype)
        if key not in self._casts:
            self._casts[key] = self.U.to(x)
        U = self._casts[key]
        common = f(self.rest[1:2].to(x.device))  # (1,) or (B, 1)
        own = f(self.lam.to(x.device)) - common  # (r,) or (B, r)
        return (own.to(x) * (x @ U)) @ U.T + common.to(x) * x

    def gain(self, sigma: float | Tensor) -> Tensor:
        r"""$\lambda_j / (\lambda_j + \sigma^2)$ for each eigenvector, (1 or B, r),
        float64.
        """
        return self.lam / (self.lam + _variance(sigma, self.lam).reshape(-1, 1))

    def matrix(self, sigma: float | Tensor) -> Tensor:
        r"""S, the derivative $\partial D / \partial x$, (D, D), float64."""
        variance, one = _variance(sigma, self.lam).reshape(()), torch.eye(len(self.mu))
        return self.apply(lambda lam: lam / (lam + variance), one.to(self.U))

    def row(self, m: int | tuple[int, int, int], sigma: float | Tensor) -> Tensor:
        r"""The sensitivity field $\partial D[m] / \partial x$: row m of S, float64.

        `m` is a channel, row and column, or the place in the flat image. The field has
        the shape of an image; with sigma (B,) there are B of them. It depends neither
        on x nor on $\mu$. ValueError for a pixel outside of the image.
        """
        variance = _variance(sigma, self.lam)
        unit = self.U.new_zeros(max(1, variance.numel()), len(self.mu))
        unit[:, self._flat(m)] = 1
        v = variance.reshape(-1, 1)
        field = self.apply(lambda lam: lam / (lam + v), unit)
        return field.view(*variance.shape, *self.shape)

    def row_error(self, m: int | tuple[int, int, int], sigma: float) -> float:
        r"""How far `row` can be from the row of the full covariance, Euclidean norm.

        $$\max_k |g_k - \bar g|\, \sqrt{1 - \textstyle\sum_j U_{mj}^2}$$

        over the dropped components k, with $g = \lambda / (\lambda + \sigma^2)$, plus
        what the rounding of U does. 0 when nothing was dropped or rounded.
        """
        variance = _variance(sigma, self.lam).reshape(())
        low, common, high = self.rest / (self.rest + variance)
        u, g = self.U[self._flat(m)], self.gain(sigma)[0] - common
        e = torch.as_tensor(self.rounding).to(u).expand_as(u)
        share = 1 - (u.abs() - e).clamp_min(0).square().sum()
        cut = torch.maximum(high - common, common - low) * share.clamp_min(0).sqrt()
        # Stored is V = U + E with |E_ij| <= e_j, and V g V' - U g U' = V g E' + E g U'.
        rounding = len(self.mu) ** 0.5 * (g * u * e).abs().sum() + (g * e).norm()
        return float(cut + rounding)

    def _flat(self, m) -> int:
        shape = (len(self.mu),) if isinstance(m, int) else tuple(self.shape)
        try:
            return int(np.ravel_multi_index((m,) if isinstance(m, int) else m, shape))
        except ValueError:
            raise ValueError(f"there is no pixel {m} in an image {shape}") from None

    def expected_error(self, sigma: float | Tensor) -> Tensor:
        r"""$E\|x_0 - D(x; \sigma)\|^2 = tr\, \Sigma (I - S)
        = \sum_j \lambda_j \sigma^2 / (\lambda_j + \sigma^2)$, per image.

        Exact for any data with these moments; shape (1 or B,), float64.
        """
        variance = _variance(sigma, self.lam).reshape(-1, 1)
        own, common = (
            lam * variance / (lam + variance) for lam in (self.lam, self.rest[1:2])
        )
        return own.sum(dim=1) + (len(self.mu) - len(self.lam)) * common[:, 0]

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        r"""`n` draws of $N(\mu, \Sigma)$, (n, *shape), float64: $\mu + \Sigma^{1/2} z$.

        Images without limits: a pixel may lie outside of [-1, 1].
        """
        z = gaussian_noise(generator)(self.mu.expand(n, -1))
        return (self.mu + self.apply(torch.sqrt, z)).view(n, *self.shape)


def ddim_gain(lam: Tensor, times: Sequence[int], schedule: Schedule) -> Tensor:
    r"""What DDIM with the Wiener filter makes of one eigenmode, shape of `lam`.

    $$u^T (x_0 - \mu) = \frac{1}{\sqrt{\bar\alpha_T}} \prod_{t \to s}
      \frac{\lambda + \sigma_t \sigma_s}{\lambda + \sigma_t^2}\;
      u^T (x_T - \sqrt{\bar\alpha_T} \mu)$$

    for the sample $x_0$ of a walk from $x_T$ along `times`, the last step to s = 0.
    float64. ValueError unless the timesteps fall within T, ..., 1.
    """
    times = torch.as_tensor(list(times))
    schedule.check(times)
    if not len(times) or times[-1] < 1 or bool((times.diff() >= 0).any()):
        raise ValueError(f"timesteps must fall to at least 1, not {times.tolist()}")
    high = schedule.sigma[times]
    low = torch.cat([high[1:], high.new_zeros(1)])
    lam = lam.double()[..., None]  # (..., 1)
    factors = (lam + high * low) / (lam + high**2)  # (..., S)
    return factors.prod(dim=-1) / schedule.alpha_bar[times[0]].sqrt()


def flow_gain(lam: Tensor, t: int, schedule: Schedule, s: int = 0) -> Tensor:
    r"""The same from t to s in infinitely many steps, the probability-flow ODE.

    $$\sqrt{\frac{\bar\alpha_s \lambda + 1 - \bar\alpha_s}
                 {\bar\alpha_t \lambda + 1 - \bar\alpha_t}}$$

    the ratio of the standard deviations: each mode keeps its quantile. Shape of `lam`,
    float64. ValueError unless 0 <= s < t <= T.
    """
    schedule.check(torch.tensor([s, t]))
    if s >= t:
        raise ValueError(f"need s < t, not s = {s}, t = {t}")
    signal, noise = schedule.alpha_bar, schedule.noise_variance
    end, begin = (signal[k] * lam.double() + noise[k] for k in (s, t))
    return (end / begin).sqrt()


def _spectrum(mu: Tensor, cov: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, rising, at least 0, and eigenvectors; ValueError for bad moments."""
    if mu.ndim != 1 or cov.shape != (len(mu), len(mu)):
        raise ValueError(
            f"mu must be (D,) and cov (D, D), not {tuple(mu.shape)} and "
            f"{tuple(cov.shape)}"
        )
    if not bool(torch.isfinite(mu).all() and torch.isfinite(cov).all()):
        raise ValueError("mu or cov holds NaN or infinite numbers")
    if (cov - cov.T).abs().max() > ROUNDING * cov.abs().max():
        raise ValueError("cov is not symmetric")
    lam, U = torch.linalg.eigh(cov)
    if lam[0] < -ROUNDING * (lam.abs().max() + mu.square().sum()):
        raise ValueError(f"cov has the negative eigenvalue {lam[0]:.3g}")
    return lam.clamp_min(0), U


def _variance(sigma: float | Tensor, like: Tensor) -> Tensor:
    """Sigma^2, float64, () or (B,); ValueError unless finite and above 0."""
    sigma = torch.as_tensor(sigma, dtype=torch.float64, device=like.device)
    variance = sigma**2
    fine = torch.isfinite(variance) & (variance > 0) & (sigma > 0)
    if variance.ndim > 1 or not bool(fine.all()):
        raise ValueError(f"sigma must be finite and above 0, () or (B,), not {sigma}")
    return variance
