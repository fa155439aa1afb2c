r"""What a net may predict and what training may make small: Ho et al. 2020, Table 2.

A row of the table reads the output of a net as one step of the reverse process,
$p_\theta(x_{t-1} | x_t) = N(\mu_\theta, \Sigma_\theta)$, with a diagonal $\Sigma$:

    predicts  "mu"   the output is $\mu_\theta$
              "eps"  it is the noise, and $\mu_\theta = \tilde\mu_t(\hat x_0, x_t)$
    variance  a table (T + 1,), like those of `bound`: $\Sigma = \sigma_t^2 I$
              None: learned. The net has 2 C output channels, and the last C are
              $\ln \Sigma$, free of any bound, as in the authors' code

The loss is a term of the bound (`bound_loss`) or a square error: `training.simple_loss`
for the noise, `mean_loss` for the mean. Everything behind the net is float64: at
t = 2 the variances are 5e-5, and the means that are compared differ by less.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from helpers.bound import decoder_log_likelihood
from helpers.forward import (
    diffuse,
    per_image,
    posterior_mean,
    posterior_variance,
)
from helpers.sampling import Noise
from helpers.schedules import Schedule
from helpers.targets import to_sigma, x0_from_eps
from helpers.training import Draw

PREDICTS = ("eps", "mu")


class Moments(NamedTuple):
    """Of a diagonal Gaussian; float64, both shaped to go with images (B, C, H, W)."""

    mean: Tensor
    variance: Tensor


def posterior(x0: Tensor, xt: Tensor, t: Tensor, schedule: Schedule) -> Moments:
    r"""$q(x_{t-1} | x_t, x_0)$ (Eq. 6 and 7); at t = 1 its variance is 0."""
    x0, xt, t = x0.double(), xt.double(), t.cpu()
    variance = posterior_variance(schedule, t, t - 1)
    return Moments(posterior_mean(x0, xt, t, schedule), per_image(variance, xt))


def reverse(
    net: nn.Module,
    xt: Tensor,
    t: Tensor,
    schedule: Schedule,
    predicts: str = "eps",
    variance: Tensor | None = None,
    clip: bool = False,
) -> Moments:
    r"""$p_\theta(x_{t-1} | x_t)$ for t (B,) in 1, ..., T (Sec. 3.2).

    With `clip` an $\hat x_0$ that follows from $\epsilon$ is clipped to [-1, 1], as Ho
    et al. do outside of training; a mean that is predicted is used as it is. ValueError
    for another prediction.
    """
    if predicts not in PREDICTS:
        raise ValueError(f"a net predicts {' or '.join(PREDICTS)}, not {predicts!r}")
    out, xt, t = net(xt, t).double(), xt.double(), t.cpu()
    if variance is None:
        out, log = out.chunk(2, dim=1)
        spread = log.exp()
    else:
        spread = per_image(variance[t], out)
    if predicts == "mu":
        return Moments(out, spread)
    x, sigma = to_sigma(xt, t, schedule)
    x0_hat = x0_from_eps(x, out, sigma)
    x0_hat = x0_hat.clamp(-1, 1) if clip else x0_hat
    return Moments(posterior_mean(x0_hat, xt, t, schedule), spread)


def gaussian_kl(q: Moments, p: Moments) -> Tensor:
    r"""$KL(q \| p)$ of each coordinate, in nats; like the images.

    $\frac12 [\ln(v_p / v_q) + (v_q + (\mu_q - \mu_p)^2) / v_p - 1]$
    """
    ratio = (q.variance + (q.mean - p.mean).square()) / p.variance
    return (torch.log(p.variance / q.variance) + ratio - 1) / 2


def bound_terms(
    net: nn.Module, drawn: Draw, schedule: Schedule, clip: bool = False, **row
) -> Tensor:
    r"""$L_{t-1}$ of each drawn image, (B,), nats per dimension (Eq. 5).

    For t > 1 it is $KL(q(x_{t-1} | x_t, x_0) \| p_\theta(x_{t-1} | x_t))$, for t = 1
    $-\ln p_\theta(x_0 | x_1)$ of the discretised decoder (Eq. 13), for which the images
    must hold pixels $k / 127.5 - 1$. `row` is what `reverse` takes. T times its mean
    over t, and $L_T$, make the bound.
    """
    x0, t, eps = drawn
    xt, first = diffuse(x0, t.cpu(), schedule, eps), t == 1
    p = Moments(
        *torch.broadcast_tensors(*reverse(net, xt, t, schedule, clip=clip, **row))
    )
    terms = torch.zeros(len(x0), dtype=p.mean.dtype, device=x0.device)
    q = posterior(x0[~first], xt[~first], t[~first], schedule)
    kl = gaussian_kl(q, Moments(p.mean[~first], p.variance[~first]))
    terms[~first] = kl.flatten(1).mean(1)
    spread = p.variance[first].sqrt()
    log = decoder_log_likelihood(x0[first].double(), p.mean[first], spread)
    terms[first] = -log.flatten(1).mean(1)
    return terms


def bound_loss(net: nn.Module, drawn: Draw, schedule: Schedule, **row) -> Tensor:
    r"""The mean of `bound_terms`: $(L - L_T) / T$, if t is uniform on 1, ..., T."""
    return bound_terms(net, drawn, schedule, **row).mean()


def mean_loss(net: nn.Module, drawn: Draw, schedule: Schedule) -> Tensor:
    r"""$E \|\tilde\mu_t(x_t, x_0) - \mu_\theta(x_t, t)\|^2$ a pixel, without a weight.

    "Unweighted" in Table 2. With exact arithmetic it is $c_t^2$ times the error of
    $\hat x_0$, where $c_t$ falls from 1 at t = 1 to 1e-4 at t = T.
    """
    xt = diffuse(drawn.x0, drawn.t.cpu(), schedule, drawn.eps)
    target = posterior(drawn.x0, xt, drawn.t, schedule).mean
    return (target - net(xt, drawn.t)).square().mean()


@torch.no_grad()
def ancestral(
    net: nn.Module, xT: Tensor, schedule: Schedule, noise: Noise, **row
) -> Tensor:
    r"""A sample by Algorithm 2 with the row's own $\Sigma$, clipping as Ho et al. do.

    All T steps. A net that predicts $\tilde\mu_t$ knows no longer ones: to read $\hat
    x_0$ out of its mean is to divide its error by the coefficient of $x_0$, 1e-4 at
    t = T, and a chain of such steps grows without limit. `noise` as in
    `sampling.ancestral`. The last mean, at t = 1, is the sample.
    """
    xt, every = xT, torch.empty(len(xT), dtype=torch.long, device=xT.device)
    for t in range(schedule.T, 0, -1):
        p = reverse(net, xt, every.fill_(t), schedule, clip=True, **row)
        spread = p.variance.sqrt().to(xT)
        xt = p.mean.to(xT) + (spread * noise(xT) if t > 1 else 0)
    return xt
