"""Five verbs that draw: images, a trajectory, curves, a field, bars.

They take arrays or tensors and know no model. Each draws on `ax`, or on a new figure,
and returns the axes. The look is in `helpers.mplstyle`; call `use_style()` once in a
chapter. Colours are four of Okabe and Ito's, which colour-blind readers can tell apart,
and a grey; all stand out on white and on the dark page. Lines also differ in their
dashes.
"""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes

STYLE = Path(__file__).with_name("helpers.mplstyle")
GAP = 0.08  # between two images, as a share of their width
INCH = 0.72  # width of one image in a grid


def use_style() -> None:
    """Set the style of all figures, drawn as SVG in a notebook."""
    plt.style.use(STYLE)
    try:
        from matplotlib_inline.backend_inline import set_matplotlib_formats
    except ImportError:
        return  # not in a notebook
    if plt.get_backend().lower().endswith("inline"):
        set_matplotlib_formats("svg", bbox_inches=None)


def array(value) -> np.ndarray:
    """A NumPy array from a tensor, a list or an array."""
    if torch.is_tensor(value):
        value = value.detach().cpu().numpy()
    return np.asarray(value)


def tile(images: np.ndarray, gap: int) -> np.ndarray:
    """Images (rows, columns, C, H, W) in [-1, 1] as one picture (., ., 4) in [0, 1].

    The gaps are transparent; values outside [-1, 1] are clipped.
    """
    R, K, _, H, W = images.shape
    levels = np.clip((images + 1) / 2, 0, 1)
    picture = np.zeros((R * (H + gap) - gap, K * (W + gap) - gap, 4))
    for r in range(R):
        for k in range(K):
            cell = picture[r * (H + gap) :, k * (W + gap) :][:H, :W]
            cell[..., :3] = np.moveaxis(levels[r, k], 0, -1)  # grey broadcasts
            cell[..., 3] = 1
    return picture


def show_images(
    images,
    columns: Sequence[str] = (),
    rows: Sequence[str] = (),
    ax: Axes | None = None,
) -> Axes:
    """Draw images as a grid, with a label for each column and each row.

    `images` has shape (N, C, H, W), one row, or (rows, columns, C, H, W), in [-1, 1], C
    = 1 or 3; ValueError otherwise, or when the labels are too few or too many.
    """
    images = array(images)
    images = images[None] if images.ndim == 4 else images
    if images.ndim != 5 or images.shape[2] not in (1, 3):
        raise ValueError(f"images must be (rows, columns, C, H, W), not {images.shape}")
    R, K, _, H, W = images.shape
    if len(columns) not in (0, K) or len(rows) not in (0, R):
        raise ValueError(f"{R} rows and {K} columns need as many labels, or none")
    gap = max(1, round(GAP * W))
    if ax is None:
        size = (
            INCH * (K + 1.2 * bool(rows)),
            INCH * (R * H / W + 0.35 * bool(columns)),
        )
        ax = plt.subplots(figsize=size)[1]
    ax.imshow(tile(images, gap), interpolation="none")
    ax.set_xticks([(W + gap) * k + (W - 1) / 2 for k in range(K)] if columns else [])
    ax.set_yticks([(H + gap) * r + (H - 1) / 2 for r in range(R)] if rows else [])
    ax.set_xticklabels(columns)
    ax.set_yticklabels(rows)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return ax


def show_trajectory(
    states, labels: Sequence[str], rows: Sequence[str] = (), ax: Axes | None = None
) -> Axes:
    """Draw how images change: one row an image, one column a moment, time to the right.

    `states` are the moments, each (B, C, H, W); `labels` names them.
    """
    stacked = np.stack([array(state) for state in states], axis=1)
    return show_images(stacked, columns=labels, rows=rows, ax=ax)


def curves(
    x,
    ys: dict,
    xlabel: str,
    ylabel: str,
    ax: Axes | None = None,
    bands: dict | None = None,
    log: str = "",
) -> Axes:
    """Draw lines y(x) with a legend. Axis labels carry the units.

    `ys` maps a label to (M,) values; `bands` maps the same labels to (low, high), each
    (M,), drawn as a shade; `log` names the logarithmic axes: "", "x", "y" or "xy".
    """
    ax = plt.subplots()[1] if ax is None else ax
    for label, y in ys.items():
        (line,) = ax.plot(array(x), array(y), label=label)
        if bands and label in bands:
            low, high = map(array, bands[label])
            ax.fill_between(
                array(x), low, high, color=line.get_color(), alpha=0.25, linewidth=0
            )
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.set_xscale("log" if "x" in log else "linear")
    ax.set_yscale("log" if "y" in log else "linear")
    ax.grid(True)
    if len(ys) > 1:
        ax.legend()
    return ax


def show_field(
    field, pixel: tuple[int, int] | None = None, ax: Axes | None = None, label: str = ""
) -> Axes:
    """Draw a signed field (H, W): red is positive, blue negative, white is 0.

    The colours reach to the largest absolute value. `pixel` (row, column) is marked.
    """
    field = array(field)
    if field.ndim != 2:
        raise ValueError(f"a field must have shape (H, W), not {field.shape}")
    ax = plt.subplots(figsize=(3.2, 2.8))[1] if ax is None else ax
    top = np.abs(field).max() or 1
    image = ax.imshow(field, cmap="RdBu_r", vmin=-top, vmax=top, interpolation="none")
    if pixel is not None:
        ax.plot(*pixel[::-1], marker="s", mfc="none", mec="#808080", mew=2, ms=8)
    ax.set(xticks=[], yticks=[])
    ax.figure.colorbar(image, ax=ax, label=label, shrink=0.85)
    return ax


def bars(
    labels: Sequence[str],
    values,
    ylabel: str,
    intervals=None,
    ax: Axes | None = None,
) -> Axes:
    """Draw one bar for each label, with its interval (low, high) as a whisker.

    `values` has shape (M,), `intervals` (M, 2).
    """
    ax = plt.subplots()[1] if ax is None else ax
    values = array(values)
    whisker = None
    if intervals is not None:
        low, high = array(intervals).T
        whisker = np.stack([values - low, high - values])
    ax.bar(labels, values, yerr=whisker, width=0.6, ecolor="#000001", capsize=3)
    ax.set_ylabel(ylabel)
    ax.grid(True, axis="y")
    ax.set_axisbelow(True)
    return ax
