"""Draw the picture of the landing page from artifacts: `python workflow/landing.py`.

One row a set of images, one column a denoiser: where each of them looks. It shows the
thesis of the book at a glance: the rows differ, the columns hardly do.
"""

import os
import sys

import chapters
from chapters import BUILD

SETS = {"celeba32": "aligned faces", "cifar10": "photographs"}
SETS |= {"dead_leaves": "dead leaves"}
NETS = {"unet": "U-Net", "dit": "transformer"}
TITLES = ("such images", "Wiener filter", *NETS.values())
EYE, LEVEL = 1, 4  # of the tables: the place "eye", the fifth noise level
FIELDS = "results/locality_{}_{}_0"
DRAWN = ("results/samples_celeba32.safetensors", "results/samples_cifar10.safetensors")
NAMES = [FIELDS.format(s, n) + ".safetensors" for s in SETS for n in NETS]
USED = [*NAMES, *(FIELDS.format(s, "unet") + ".json" for s in SETS), *DRAWN]
SHOWN = (15, 10, 0)  # which of these images
OUT = BUILD / "pictures"


def examples():
    """One image for each set: drawn by the book's own nets, or by the program."""
    import numpy as np

    from helpers import artifacts, data, dead_leaves

    drawn = [artifacts.load(name)["images"].permute(0, 2, 3, 1) for name in DRAWN]
    leaves = dead_leaves.sample(1, 32, generator=np.random.default_rng(2))
    sets = (*(images.numpy() for images in drawn), leaves)
    return [data.to_unit(images)[k] for images, k in zip(sets, SHOWN)]


def fields(image_set):
    """What filter and nets look at, as responses to a grey change, each (H, W)."""
    from helpers import artifacts

    stored = [
        artifacts.load(FIELDS.format(image_set, net) + ".safetensors") for net in NETS
    ]
    rows = [stored[0]["wiener"], *(each["final"] for each in stored)]
    return [row[LEVEL, EYE].float().sum(dim=0) for row in rows]


def show(ax, field, pixel):
    """A field on its own scale, which the marked pixel itself may exceed."""
    rest = field.clone()
    rest[tuple(pixel)] = 0
    top = rest.abs().max()
    ax.imshow(field, cmap="RdBu_r", vmin=-top, vmax=top)
    ax.plot(*pixel[::-1], "s", mfc="none", mec="#808080", mew=1.5, ms=8)


def draw():
    """Three rows of one example and three fields."""
    from helpers import artifacts, plotting

    plotting.use_style()
    size = {"figsize": (5.4, 4.3)}
    figure, axes = plotting.plt.subplots(len(SETS), len(TITLES), **size)
    for line, name, image in zip(axes, SETS, examples()):
        pixel = artifacts.load(FIELDS.format(name, "unet") + ".json")["pixels"][EYE]
        plotting.show_images(image[None], ax=line[0])
        line[0].set_ylabel(SETS[name])
        for ax, field in zip(line[1:], fields(name)):
            show(ax, field, pixel)
    for ax, title in zip(axes[0], TITLES):
        ax.set_title(title)
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    return figure


def main():
    from helpers import artifacts

    OUT.mkdir(parents=True, exist_ok=True)
    draw().savefig(OUT / "thesis.part", format="svg")
    lines = (str(artifacts.provenance(name)) for name in (NAMES[0], NAMES[-1]))
    text = "".join(f'<p class="provenance">{line}</p>\n' for line in lines)
    (OUT / "thesis.html").write_text(text)
    os.replace(OUT / "thesis.part", OUT / "thesis.svg")


if __name__ == "__main__":
    sys.path.insert(0, str(chapters.ROOT / "src"))
    main()
