"""Checks of the exercises of chapter 9, the optimal denoiser."""

import torch
from torch.nn.functional import one_hot

from helpers import data
from helpers.checks import Property, close
from helpers.denoisers import Optimal
from helpers.forward import gaussian_noise
from helpers.metrics import nearest
from helpers.mixtures import Mixture, two_point, two_point_information
from helpers.truncation import missing_weight
from helpers.wiener import Wiener


def exercise_1(largest_sigma):
    """largest_sigma(d, weight): up to it, w_1 >= weight with another image at d."""
    digits = data.load("digits").double()
    pixel = torch.tensor([-1.0, 0.5], dtype=torch.float64).view(2, 1, 1, 1)

    def first(images, weight, factor):
        sigma = factor * float(largest_sigma((images[0] - images[1]).norm(), weight))
        return Optimal(images).weights(images[:1], sigma)[0, 0]

    yield Property(
        "it is twice as large for images twice as far apart",
        close(float(largest_sigma(3.0, 0.99)), 2 * float(largest_sigma(1.5, 0.99))),
        ("Only d / sigma is in the weights.",),
    )
    yield Property(
        "just below it the first weight is above 0.99, just above it is below",
        all(
            first(images, 0.99, 1.001) < 0.99 < first(images, 0.99, 0.999)
            for images in (digits[:2], pixel)
        ),
        (
            "The noisy image is y_1 itself: its distance is 0.",
            "Mind the 2 of 2 sigma^2.",
        ),
    )
    yield Property(
        "the same with a weight of 0.6",
        first(digits[:2], 0.6, 1.001) < 0.6 < first(digits[:2], 0.6, 0.999),
        ("The odds of the two images are w / (1 - w).",),
    )


def exercise_2(example):
    """example(images): a noisy image (1, C, H, W), sigma, where Wiener goes outside."""
    sets = [data.load("digits"), data.load("digits")[:200]]
    found = [example(images) for images in sets]
    yield Property(
        "x is as far from the nearest training image as noise of this level brings it",
        all(typical(*pair, images) for pair, images in zip(found, sets)),
        ("Take a training image and add sigma times noise.",),
    )
    yield Property(
        "the Wiener filter's answer leaves the range of a pixel by more than 0.05",
        all(
            overshoot(Wiener.fit(images)(*pair), images) > 0.05
            for pair, images in zip(found, sets)
        ),
        (
            "At which noise levels does the filter leave much of x as it is?",
            "With very much noise it answers with the mean, which is inside.",
        ),
    )
    yield Property(
        "the answer of the perfect denoiser does not leave it",
        all(
            overshoot(Optimal(images)(*pair), images) < 1e-4
            for pair, images in zip(found, sets)
        ),
    )


def typical(x, sigma, images):
    """Whether |x - y| of the nearest image y is that of noise, to 30 %."""
    distance = nearest(x, images).distance.item()
    return 0.7 < distance / (float(sigma) * images[0].numel() ** 0.5) < 1.3


def overshoot(answer, images):
    """How far a pixel is at most outside of its range over the images."""
    above, below = answer - images.amax(0), images.amin(0) - answer
    return torch.maximum(above, below).max().item()


def exercise_3(effective):
    """effective(w, copies): effective numbers (B,), image n there copies[n] times."""
    digits = data.load("digits")[:200].double()
    x = digits[:20] + gaussian_noise(torch.Generator().manual_seed(93))(digits[:20])
    w = Optimal(digits).weights(x, 1.0)
    once = torch.ones(200, dtype=torch.long)
    yield Property(
        "with every image once it is the effective number of the chapter",
        close(effective(w, once), Optimal(digits).effective_number(x, 1.0)),
        ("One over the sum of squared weights.",),
    )
    yield Property(
        "with every image twice it is what `Optimal` says of the double deck",
        close(effective(w, 2 * once), again(digits, 2 * once, x)),
        ("Each copy has half of the weight, and there are twice as many.",),
    )
    copies = torch.arange(200) % 4
    yield Property(
        "so it is with some images more often than others, and some not at all",
        close(effective(w, copies), again(digits, copies, x)),
        ("The weights of the new deck must add up to 1 again.",),
    )


def again(images, copies, x):
    """The effective number of a deck with these copies."""
    return Optimal(images.repeat_interleave(copies, 0)).effective_number(x, 1.0)


def exercise_4(third):
    """third(images, x, sigma): derivative of the weighted covariance, (D, D, D)."""
    generator = torch.Generator().manual_seed(94)
    images = torch.rand(9, 1, 1, 3, generator=generator, dtype=torch.float64) * 2 - 1
    x, sigma = torch.zeros(1, 1, 1, 3, dtype=torch.float64), 0.6
    found = torch.as_tensor(third(images, x, sigma))
    yield Property(
        "all three indices are alike",
        found.shape == (3, 3, 3)
        and close(found, found.permute(1, 2, 0))
        and close(found, found.mT),
        ("Three centred images, multiplied index by index.",),
    )
    pair = torch.stack([images[0], -images[0]])
    yield Property(
        "half-way between two images it is 0",
        close(third(pair, x, sigma), torch.zeros(3, 3, 3)),
        ("A law that is symmetric has no third cumulant. Centre the images.",),
    )
    numeric = torch.stack([slope(images, x, sigma, k) for k in range(3)], -1)
    yield Property(
        "it is the slope of the covariance by small differences",
        close(found, numeric, rtol=1e-4, atol=1e-7),
        ("What does the derivative of a weight bring in front?",),
    )


def slope(images, x, sigma, k, h=1e-4):
    """The covariance under the weights, differentiated by pixel k of x."""
    step = torch.zeros_like(x)
    step.view(-1)[k] = h
    up, down = (spread(images, x + d, sigma) for d in (step, -step))
    return (up - down) / (2 * h)


def spread(images, x, sigma):
    w = Optimal(images).weights(x, sigma)[0]
    return torch.cov(images.flatten(1).T, correction=0, aweights=w)


def exercise_5(smallest_k):
    """smallest_k(x, sigma): k that the certificate of the digits asks for, k needed."""
    digits = data.load("digits")
    noise = gaussian_noise(torch.Generator().manual_seed(95))
    asked = [(digits[i : i + 1] + s * noise(digits[:1]), s) for i, s in PLACES]
    found = [smallest_k(*place) for place in asked]
    ks = [(int(certain), int(enough)) for certain, enough in found]
    yield Property(
        "the certificate never asks for fewer images than are needed",
        all(1 <= enough <= certain <= len(digits) for certain, enough in ks),
        ("Both errors count root mean squares over the pixels, in grey levels.",),
    )
    curves = [errors(digits, *place) for place in asked]
    yield Property(
        "with the second k the answer is less than one level off, with k - 1 it is not",
        all(smallest(e, k) for (_, k), (_, e) in zip(ks, curves)),
        ("Sort by distance, and take means of the first k with their weights.",),
    )
    yield Property(
        "with the first k the certificate is below one level, with k - 1 it is not",
        all(smallest(c, k) for (k, _), (c, _) in zip(ks, curves)),
        ("`Truncated(digits, k).certified(x, sigma).error` is a length, not a mean.",),
    )


PLACES = ((0, 1.0), (3, 0.7), (10, 1.5))


def smallest(curve, k):
    """Whether k is the first place of a curve, counted from 1, that is below 1."""
    return bool((curve[: k - 1] >= 1).all()) and curve[k - 1] < 1


def errors(images, x, sigma):
    """Certified and true errors for k = 1, 2, ..., in grey levels, (N,) each."""
    y, w = images.flatten(1).double(), Optimal(images).weights(x, sigma)[0]
    w, order = w.sort(descending=True)
    means = (w[:, None] * y[order]).cumsum(0) / w.cumsum(0)[:, None]
    distance = (x.flatten(1).double() - y).norm(dim=1).sort().values[None]
    N, mu = len(images), y.mean(0)
    left = [missing_weight(distance[:, :k], sigma, N - k) for k in range(1, N + 1)]
    reach = (means - mu).norm(dim=1) + (y - mu).norm(dim=1).max()
    levels = 127.5 / images[0].numel() ** 0.5
    return torch.cat(left) * reach * levels, (means - w @ y[order]).norm(dim=1) * levels


def exercise_6(same_class):
    """same_class(same_image, frequency): with random labels of these frequencies."""
    frequency = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    yield Property(
        "if the image is certain, so is the class",
        close(float(same_class(1.0, frequency)), 1.0),
        ("Two walks that end in one image end in one class.",),
    )
    yield Property(
        "two images out of very many are of one class by chance",
        close(float(same_class(0.0, frequency)), 0.38),
        ("With which probability have two random images the same label?",),
    )
    digits, generator = data.load("digits"), torch.Generator().manual_seed(96)
    x = digits[:50] + gaussian_noise(generator)(digits[:50])
    w = Optimal(digits).weights(x, 1.0)
    drawn = torch.multinomial(frequency, 60 * len(digits), True, generator=generator)
    classes = torch.stack(
        [w @ one_hot(c, 3).double() for c in drawn.view(60, -1)]
    )  # (60, 50, 3)
    same = float(w.square().sum(1).mean())
    yield Property(
        "it is what 60 random labellings of the digits give, to 2 %",
        close(
            float(same_class(same, frequency)),
            classes.square().sum(2).mean(),
            rtol=0.02,
        ),
        ("Split the double sum over images: the same one, and two different ones.",),
    )


def exercise_7(information):
    """information(mixture, sigma): nats that x tells about x0, estimated by draws."""
    generator = torch.Generator().manual_seed(97)
    root = torch.randn(8, 8, generator=generator, dtype=torch.float64) / 8
    cov = root @ root.T
    bell = Mixture(torch.ones(1), torch.zeros(1, 1, 1, 8), cov[None])
    exact = [torch.logdet(torch.eye(8) + cov / s**2).item() / 2 for s in (0.1, 0.5)]
    yield Property(
        "for one Gaussian it is half of log det(1 + cov / sigma^2), to 0.25 nats",
        all(
            abs(float(information(bell, s)) - nats) < 0.25
            for s, nats in zip((0.1, 0.5), exact)
        ),
        (
            "Draw pairs: the mean of ln p(x | x0) - ln p_sigma(x).",
            "ln p(x | x0) is the log density of the noise, all pixels together.",
            "Some thousand draws; Mixture has `sample` and `log_density`.",
        ),
    )
    coin = two_point()
    yield Property(
        "for a coin it is that of chapter 8, to 0.05 nats",
        all(
            abs(float(information(coin, s)) - two_point_information(s**-2).item())
            < 0.05
            for s in (0.3, 1.0, 3.0)
        ),
        (
            "Natural logarithms.",
            "The clean image is a draw of the mixture, not its mean.",
        ),
    )
