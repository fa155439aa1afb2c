"""The analytic denoisers of the benchmark, and the choice of what is free in them.

Numbers are chosen at each noise level by the error on clean images that are in no
training set (`levels.Levels`); no net is asked.
"""

import torch
from masks import CONVENTIONS, DRAWS, SIDES, SMOOTHING, masked, per_batch
from tqdm import tqdm
from watched import short

from helpers.corrected import (
    Blend,
    Corrected,
    Weighted,
    blend_weight,
    gain_steps,
    interpolated,
)
from helpers.denoisers import Optimal
from helpers.masks import wiener_mask
from helpers.metrics import mse
from helpers.scales import Scales
from helpers.smoothed import Nearest, Smoothed
from helpers.windows import CropMean, LocalScore

KNOWN = 2_000  # images where a choice would take long: twice this, or this
BATCHES = (128, 512, 2048)
RELEASED = 98  # batches of 512 in the 50,000 images of CIFAR-10
FACTORS = (0.2, 0.4, 0.7, 2, 4)  # of the threshold
HOT = (1, 1.5, 2, 3)  # temperatures
CLOUDS = (0, 0.3, 0.5, 0.7, 0.85, 1)  # b of `Corrected`
POWERS = (1, 2)  # of the gains, for weights


def best(levels, family, values):
    """The value with the least error at each level, and that error."""
    errors = torch.stack(
        [
            levels.errors(levels.answers(family(v))).mean(dim=1)
            for v in tqdm(values, "choice")
        ]
    )
    least = errors.min(dim=0)
    return [values[i] for i in least.indices], least.values.tolist()


def rising(levels, family, sides):
    """Likewise for sides of windows, which rise with the noise: few are tried."""
    found, errors, place = [], [], 0
    pairs = list(zip(levels.sigmas, levels.noisy))[::-1]
    for sigma, x in tqdm(pairs, "sides"):

        def error(i, x=x, sigma=sigma):
            return mse(family(sides[i])(x, sigma), levels.clean).mean().item()

        least = error(place)
        while place + 1 < len(sides) and (wider := error(place + 1)) < least:
            place, least = place + 1, wider
        found.append(sides[place])
        errors.append(least)
    return found[::-1], errors[::-1]


class Chosen(dict):
    """The numbers taken at each level, and their errors, by denoiser."""

    def __init__(self, sigmas):
        super().__init__(error={})
        self.sigmas = sigmas

    def take(self, name, found):
        """Keep what `best` or `rising` gave; a function of sigma that looks it up."""
        values, self["error"][name] = found[0], short(found[1])
        self[name] = values
        return interpolated(self.sigmas, values)

    def sides(self, name, found):
        """Likewise, as `Scales`."""
        self.take(name, found)
        return Scales(self.sigmas[::-1], found[0][::-1])


def crops(images, s):
    """PSPC-Square; one crop that is the whole image is the optimal denoiser."""
    some, whole, H = CropMean(images, s), Optimal(images), images.shape[2]

    def denoise(x, sigma):
        side = s(float(sigma)) if callable(s) else s
        return (whole if side == H else some)(x, sigma)

    return denoise


def window_denoisers(images, levels, chosen):
    """LS and PSPC-Square, with sides by the error."""
    some, H = images[: 2 * KNOWN], images.shape[2]
    whole = 2 * H - 1  # the least window that holds the image from each pixel
    ladder = [*(k for k in SIDES if k < whole), whole]
    found = rising(levels, lambda k: LocalScore(images, k), ladder)
    own = chosen.sides("local_score", found)
    found = rising(levels, lambda s: crops(some, s), [*inside(H), H])
    crop = chosen.take("crop_mean", found)
    return {"local_score": LocalScore(images, own), "crop_mean": crops(images, crop)}


def inside(H):
    return [s for s in SIDES if s < H]


def odd_sides(chosen, like):
    """The sides of LS, as far as patches inside of an image can have them."""
    largest = (like.shape[2] - 1) // 2 * 2 + 1
    return [min(k, largest) for k in chosen["local_score"]]


def simple_denoisers(images, levels, chosen, noise):
    """Those that look at whole images."""
    noises = noise(images.new_empty(DRAWS, *images.shape[1:]))
    found = best(levels, lambda s: Smoothed(images, noises, s), SMOOTHING)
    size = chosen.take("smoothed", found)
    return {
        "nearest": Nearest(images),
        "nearest_released": Nearest(images, scaled=False),
        "optimal": Optimal(images),
        "smoothed": lambda x, s: Smoothed(images, noises, size(float(s)))(x, s),
    }


class Remembered:
    """A slow denoiser that is asked only once about the same noisy images."""

    def __init__(self, denoise):
        self.denoise, self.seen = denoise, {}

    def __call__(self, x, sigma):
        pairs = self.seen.setdefault(float(sigma), [])
        for y, answer in pairs:
            if torch.equal(x, y):
                return answer
        pairs.append((x, self.denoise(x, sigma)))
        return pairs[-1][1]


class Variants:
    """The masked denoiser and its variants, for any number of training images."""

    def __init__(self, wiener, threshold, chosen):
        self.wiener, self.threshold, self.chosen = wiener, threshold, chosen
        self.found = {}

    def mask(self, sigma):
        return wiener_mask(self.wiener, sigma, self.threshold)

    def masked(self, images, factor=1.0, **convention):
        return masked(images, self.wiener, factor * self.threshold, **convention)

    def weights(self, power):
        return lambda s: gain_steps(self.wiener, s, power=power)

    def choose(self, images, levels, others=True):
        """By the error on clean images; the net is not asked. `others`: of all."""
        take, wiener = self.chosen.take, self.wiener
        exact = levels.answers(self.masked(images))
        linear = levels.answers(wiener)
        pairs = list(zip(linear, exact))
        w = [blend_weight(*pair, levels.clean) for pair in pairs]
        mixed = [torch.lerp(*pair, v) for pair, v in zip(pairs, w)]
        for name, answers in (("masked", exact), ("wiener", linear), ("blend", mixed)):
            errors = levels.errors(answers).mean(dim=1)
            self.chosen["error"][name] = short(errors)
        self.found["blend"] = interpolated(levels.sigmas, w)
        self.chosen["blend"] = short(w)
        families = {
            "corrected": (lambda b: Corrected(images, wiener, self.mask, b), CLOUDS),
            "tempered": (lambda T: Corrected(images, wiener, self.mask, 1, T), HOT),
            "weighted": (lambda p: Weighted(images, self.weights(p)), POWERS),
            "tuned": (lambda f: self.masked(images, f), (1, *FACTORS)),
        }
        for name in families if others else ["corrected"]:
            family, values = families[name]
            self.found[name] = take(name, best(levels, family, values))

    def best(self, images):
        """Those that the main table has too."""
        masked = Remembered(self.masked(images))
        return {
            "masked": masked,
            "corrected": Corrected(
                images, self.wiener, self.mask, self.found["corrected"]
            ),
            "blend": Blend(self.wiener, masked, self.found["blend"]),
        }

    def others(self, images):
        """The conventions, batches and thresholds, and the other variants."""
        whole, found = self.masked(images), self.found
        power, sizes = found["weighted"], (-(-len(images) // RELEASED), *BATCHES)
        return {
            **{
                label: self.masked(images, **convention)
                for label, convention in CONVENTIONS.items()
                if convention
            },
            **{f"batch_{K}": per_batch(whole, K) for K in sizes if K < len(images)},
            **{
                f"threshold_{f * self.threshold:g}": self.masked(images, f)
                for f in FACTORS
            },
            "tuned": lambda x, s: self.masked(images, found["tuned"](float(s)))(x, s),
            "tempered": Corrected(images, self.wiener, self.mask, 1, found["tempered"]),
            "weighted": Weighted(images, lambda s: self.weights(power(s))(s)),
        }
