r"""Gaussian mixtures as data: everything about their denoising is known exactly.

For data $x_0 \sim \sum_k w_k N(\mu_k, \Sigma_k)$ and $x = x_0 + \sigma \epsilon$ both
$p_\sigma(x)$ and the posterior $p(x_0 | x)$ are mixtures again, so that whatever is
learned or sampled can be compared with the truth. Images are (B, C, H, W) in units of
[-1, 1], D = C H W, sigma is a float or (B,), finite and above 0; float64 inside. For
many points, such as a training set, `denoisers.Optimal` is the faster way.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from helpers.denoisers import check_noisy
from helpers.targets import noise_level

ROUNDING = 1e-6  # of weights that add up to 1 and of covariances: float32 will do


class Posterior(NamedTuple):
    r"""$p(x_0 | x) = \sum_k r_k\, N(m_k, U_k\, \mathrm{diag}(v_k)\, U_k^T)$, flat."""

    weights: Tensor  # r, (B, K)
    means: Tensor  # m, (B, K, D)
    variances: Tensor  # v, along the eigenvectors of component k, (B, K, D)


class Mixture:
    r"""Posterior mean when the data are a mixture of Gaussians.

    $$D(x; \sigma) = \sum_k r_k(x)\, m_k(x), \qquad
      m_k = \mu_k + \Sigma_k (\Sigma_k + \sigma^2 I)^{-1} (x - \mu_k), \qquad
      r_k \propto w_k\, N(x;\, \mu_k, \Sigma_k + \sigma^2 I)$$

    One Wiener filter for each component, averaged by how likely the component is.
    `weights` has shape (K,), `means` (K, C, H, W), `cov` (K, D, D), or None for points.
    ValueError when a shape does not fit, the weights are negative or do not add up to
    1, or a covariance is not symmetric or has a negative eigenvalue.
    """

    def __init__(self, weights: Tensor, means: Tensor, cov: Tensor | None = None):
        weights, means = (torch.as_tensor(v).double() for v in (weights, means))
        if means.ndim != 4 or not means.numel() or weights.shape != means.shape[:1]:
            raise ValueError(
                "weights must be (K,) and means (K, C, H, W), none of them empty, not "
                f"{tuple(weights.shape)} and {tuple(means.shape)}"
            )
        if not bool((weights >= 0).all()) or abs(weights.sum() - 1) > ROUNDING:
            raise ValueError(f"weights must be at least 0 and add up to 1: {weights}")
        if not bool(torch.isfinite(means).all()):
            raise ValueError("means must be finite")
        self.weights, self.means = weights / weights.sum(), means
        self.shape = means.shape[1:]
        self.lam, self.U = _eigen(cov, *means.flatten(1).shape)

    def __call__(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        r"""$E[x_0 | x]$, shape and dtype of x."""
        posterior = self.posterior(x, sigma)
        mean = torch.einsum("bk,bkd->bd", posterior.weights, posterior.means)
        return mean.view(x.shape).to(x)

    def log_density(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        r"""$\log p_\sigma(x) = \log \sum_k w_k N(x;\, \mu_k, \Sigma_k + \sigma^2 I)$.

        Nats, (B,), float64.
        """
        return self._log_joint(*self._coordinates(x, sigma)).logsumexp(dim=1)

    def score(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        r"""$\nabla_x \log p_\sigma(x)
        = -\sum_k r_k\, (\Sigma_k + \sigma^2 I)^{-1} (x - \mu_k)$, like x.

        From the density itself, not from the posterior mean.
        """
        z, total = self._coordinates(x, sigma)
        r = self._log_joint(z, total).softmax(dim=1)
        score = -torch.einsum("bk,bkd->bd", r, self._rotate(z / total))
        return score.view(x.shape).to(x)

    def responsibilities(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        r"""$r_k(x)$, the probability that x comes from component k, (B, K), float64."""
        return self._log_joint(*self._coordinates(x, sigma)).softmax(dim=1)

    def posterior(self, x: Tensor, sigma: float | Tensor) -> Posterior:
        """The mixture $p(x_0 | x)$ for each x, float64."""
        z, total = self._coordinates(x, sigma)
        gain = self.lam.to(z.device) / total
        means = self.means.flatten(1).to(z.device) + self._rotate(gain * z)
        r = self._log_joint(z, total).softmax(dim=1)
        return Posterior(r, means, gain * _variance(x, sigma))

    def draw(
        self, x: Tensor, sigma: float | Tensor, generator: torch.Generator
    ) -> Tensor:
        """One exact posterior sample $x_0$ for each x, shape and dtype of x."""
        r, means, variances = self.posterior(x, sigma)
        k = torch.multinomial(r.cpu(), 1, generator=generator).squeeze(1)
        rows = torch.arange(len(x))
        return self._at(k, means[rows, k], variances[rows, k], generator).to(x)

    def covariance(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        r"""$Cov[x_0 | x] = \sigma^2\, \partial D / \partial x$, (B, D, D), float64."""
        r, means, variances = self.posterior(x, sigma)
        U = self.U.to(means.device)
        apart = means - torch.einsum("bk,bkd->bd", r, means)[:, None]
        within = torch.einsum("bk,kde,bke,kfe->bdf", r, U, variances, U)
        return within + torch.einsum("bk,bkd,bkf->bdf", r, apart, apart)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Data: n independent draws of $x_0$, (n, C, H, W), float64."""
        k = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        return self._at(k, self.means.flatten(1)[k], self.lam[k], generator)

    def _coordinates(self, x, sigma) -> tuple[Tensor, Tensor]:
        """x - mu_k in the eigenvectors of Sigma_k, and lam + sigma^2, (B, K, D)."""
        check_noisy(x, self.shape)
        means, U = self.means.flatten(1).to(x.device), self.U.to(x.device)
        apart = x.flatten(1).double()[:, None] - means
        total = self.lam.to(x.device) + _variance(x, sigma)
        return torch.einsum("bkd,kde->bke", apart, U), total.expand_as(apart)

    def _log_joint(self, z, total) -> Tensor:
        """log w_k N(x; mu_k, Sigma_k + sigma^2 I), (B, K)."""
        exponent = (z.square() / total + torch.log(2 * torch.pi * total)).sum(dim=2)
        joint = self.weights.to(z.device).log() - exponent / 2
        if not bool(torch.isfinite(joint.detach().amax(dim=1)).all()):
            raise ValueError("x is so far from the data that its density is 0")
        return joint

    def _rotate(self, z) -> Tensor:
        """From the eigenvectors of each component to pixels, (B, K, D)."""
        return torch.einsum("bke,kde->bkd", z, self.U.to(z.device))

    def _at(self, k, mean, variance, generator) -> Tensor:
        """Draws of N(mean, U_k diag(variance) U_k^T), one for each row."""
        z = torch.randn(mean.shape, generator=generator, dtype=torch.float64)
        z = z.to(mean.device) * variance.sqrt()
        U = self.U.to(mean.device)[k]
        return (mean + torch.einsum("be,bde->bd", z, U)).view(-1, *self.shape)


def _variance(x, sigma) -> Tensor:
    """Sigma^2, checked, float64, (1, 1, 1) or (B, 1, 1)."""
    return noise_level(sigma, x.double()).flatten(1)[..., None] ** 2


def _eigen(cov, K, D) -> tuple[Tensor, Tensor]:
    """Eigenvalues (K, D), at least 0, and eigenvectors (K, D, D) of covariances."""
    if cov is None:
        one = torch.eye(D, dtype=torch.float64)
        return torch.zeros(K, D, dtype=torch.float64), one.expand(K, D, D)
    cov = torch.as_tensor(cov).double()
    if cov.shape != (K, D, D):
        raise ValueError(f"cov must be ({K}, {D}, {D}), not {tuple(cov.shape)}")
    tolerance = ROUNDING * cov.abs().max()
    if not (cov - cov.mT).abs().max() <= tolerance:  # NaN <= 1 is False
        raise ValueError("cov must be symmetric and finite")
    lam, U = torch.linalg.eigh(cov)
    if lam.min() < -tolerance:
        raise ValueError(f"cov has the negative eigenvalue {lam.min():.3g}")
    return lam.clamp_min(0), U


def two_point(p: float = 0.5) -> Mixture:
    """One pixel, +1 with probability p, else -1; ValueError unless 0 <= p <= 1."""
    values = torch.tensor([[1 - p, p], [-1, 1]], dtype=torch.float64)
    return Mixture(values[0], values[1].view(2, 1, 1, 1))


def two_point_mmse(snr: float | Tensor) -> Tensor:
    r"""$E(x_0 - E[x_0 | x])^2 = E[1 - \tanh(\gamma + \sqrt\gamma z)]$, `two_point()`.

    $\gamma = 1 / \sigma^2$, finite and at least 0; float64, shape of `snr`.
    """
    return _gaussian_mean(snr, lambda a: 2 * torch.sigmoid(-2 * a))


def two_point_information(snr: float | Tensor) -> Tensor:
    r"""$I(x_0; x) = \ln 2 - E \ln(1 + e^{-2 (\gamma + \sqrt\gamma z)})$ in nats.

    Its derivative is half of `two_point_mmse` (Guo, Shamai & Verdú 2005).
    """
    return math.log(2) + _gaussian_mean(snr, lambda a: logsigmoid(2 * a))


def _gaussian_mean(snr, function) -> Tensor:
    r"""$E f(\gamma + \sqrt\gamma z)$ by the trapezoidal rule, ValueError for bad snr.

    Under a bell, this rule is exact to rounding for a smooth f.
    """
    snr = torch.as_tensor(snr, dtype=torch.float64)
    if not bool((torch.isfinite(snr) & (snr >= 0)).all()):
        raise ValueError(f"snr must be finite and at least 0, not {snr}")
    z = torch.linspace(-12, 12, 961, dtype=torch.float64)
    bell = (-(z**2) / 2).exp()
    return function(snr[..., None] + snr.sqrt()[..., None] * z) @ (bell / bell.sum())
