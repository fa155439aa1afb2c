r"""The Wiener filter: the best denoiser among all affine maps, from two moments."""

import torch
from torch import Tensor

from helpers.data import check_images
from helpers.denoisers import check_noisy
from helpers.streaming import Moments
from helpers.targets import noise_level


class Wiener:
    r"""Posterior mean when the data are Gaussian with the moments $\mu$ and $\Sigma$.

    $$D(x; \sigma) = \mu + \Sigma (\Sigma + \sigma^2 I)^{-1} (x - \mu)
      = \mu + U\, \mathrm{diag}\Big(\frac{\lambda}{\lambda + \sigma^2}\Big)
      U^T (x - \mu)$$

    the best denoiser among all affine maps (Wiener 1949; Lukoianov et al. 2025).
    `mu` has shape (D,), `cov` (D, D), float64, D = C H W; ValueError when they do
    not fit. The eigendecomposition is symmetric and in float64 and eigenvalues are at
    least 0, so that a singular covariance does no harm on any platform.
    """

    def __init__(self, mu: Tensor, cov: Tensor):
        if mu.ndim != 1 or cov.shape != (len(mu), len(mu)):
            raise ValueError(
                f"mu must be (D,) and cov (D, D), not {tuple(mu.shape)} and "
                f"{tuple(cov.shape)}"
            )
        if not bool(torch.isfinite(mu).all() and torch.isfinite(cov).all()):
            raise ValueError("mu or cov holds NaN or infinite numbers")
        lam, self.U = torch.linalg.eigh(cov.double())  # (D,), (D, D), ascending
        self.mu, self.lam = mu.double(), lam.clamp_min(0)

    @classmethod
    def fit(cls, data: Tensor, chunk: int = 4096) -> "Wiener":
        """From images, float (N, C, H, W) in [-1, 1]; the covariance divides by N."""
        check_images(data)
        moments = Moments()
        for block in data.split(chunk):
            moments.update(block)
        return cls(moments.mean, moments.cov())

    def __call__(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        if x.ndim != 4 or x.shape[1:].numel() != len(self.mu):
            raise ValueError(
                f"x must be (B, C, H, W) with C H W = {len(self.mu)}, not "
                f"{tuple(x.shape)}"
            )
        check_noisy(x, x.shape[1:])
        mu, U = self.mu.to(x), self.U.to(x)
        gain = self.gain(noise_level(sigma, x).reshape(-1)).to(x)  # (1 or B, D)
        coefficients = (x.flatten(1) - mu) @ U  # (B, D)
        return (mu + (gain * coefficients) @ U.T).view_as(x)

    def gain(self, sigma: float | Tensor) -> Tensor:
        r"""$\lambda_j / (\lambda_j + \sigma^2)$ for each eigenvector, (1 or B, D),
        float64.
        """
        lam = self.lam
        variance = torch.as_tensor(sigma, dtype=torch.float64, device=lam.device) ** 2
        return lam / (lam + variance.reshape(-1, 1))

    def expected_error(self, sigma: float | Tensor) -> Tensor:
        r"""$E\|x_0 - D(x; \sigma)\|^2
        = \sum_j \lambda_j \sigma^2 / (\lambda_j + \sigma^2)$, per image.

        Exact for any data with these moments; shape (1 or B,), float64.
        """
        return (self.lam * (1 - self.gain(sigma))).sum(dim=1)
