r"""Toy faces: drawn, aligned, symmetric, with a covariance that is a finite sum.

A face is a sum of templates, one for each factor (skin, mouth, left eye, ...):

$$k = b + \sum_f T_f[s_f], \qquad s_f \text{ uniform on the states of } f$$

with b and T integers, so grey levels k are integers, and within 0, ..., 255 by the
choice of the templates: nothing is rounded or clipped, the moments are exact. Factors
are independent but for the eyes: with probability $\rho$ (`eye_correlation`) the
right eye repeats the left one in the mirror. That is a covariance between distant
pixels which no local neighbourhood explains.

Templates are drawn from formulas at any side, each mirror symmetric, the right eye
the mirror image of the left one. Left and right are those of the picture.
"""

from itertools import product

import numpy as np

FINE = 8  # points a pixel and axis: a template is the mean over FINE x FINE points

BACKGROUND = (60, 120, 180, 230)  # grey levels of 255, as all numbers in a tuple
HAIR = (25, 70, 130, 215)
SKIN = (125, 150, 175, 200)
CLOTHES = (40, 110, 190)
BEARD = (0, -20, -40)


def sample(
    n: int, side: int, *, eye_correlation: float = 1.0, generator: np.random.Generator
) -> np.ndarray:
    """Draw `n` faces (n, side, side, 1) uint8; see `moments` for the law."""
    _check(side, eye_correlation)
    templates = factors(side)
    s = {f: generator.integers(len(T), size=n) for f, T in templates.items()}
    repeats = generator.random(n) < eye_correlation
    s["right_eye"] = np.where(repeats, s["left_eye"], s["right_eye"])
    levels = base(side) + sum(T[s[f]] for f, T in templates.items())
    return levels.astype(np.uint8)[..., None]


def moments(
    side: int, *, eye_correlation: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    r"""Population mean (n,) and covariance (n, n), float64, in units of [-1, 1].

    $$\mu = \frac{b + \sum_f \langle T_f \rangle}{127.5} - 1, \qquad
    127.5^2\, \Sigma = \sum_f \langle \tilde T_f^T \tilde T_f \rangle
    + \rho\, \langle \tilde T_L^T \tilde T_R + \tilde T_R^T \tilde T_L \rangle$$

    where $\langle\cdot\rangle$ is the mean over the states of a factor and
    $\tilde T = T - \langle T \rangle$. n = H·W. Exact; $\rho$ in [0, 1], 1 if both
    eyes are always alike, 0 if they know nothing of each other.
    """
    _check(side, eye_correlation)
    flat = {f: T.reshape(len(T), -1) / 127.5 for f, T in factors(side).items()}
    mu = base(side).ravel() / 127.5 - 1 + sum(T.mean(0) for T in flat.values())
    T = {f: t - t.mean(0) for f, t in flat.items()}
    cross = T["left_eye"].T @ T["right_eye"] / len(T["left_eye"])
    cov = sum(t.T @ t / len(t) for t in T.values())
    return mu, cov + eye_correlation * (cross + cross.T)


def eyes(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Masks (side, side) of the pixels that the left and the right eye change."""
    T = factors(side)
    return T["left_eye"].any(0), T["right_eye"].any(0)


def base(side: int) -> np.ndarray:
    """What all faces share: shadow at the rim of the face and below the nose."""
    x, y = _points(side)
    rim = _face(x, y) & ~_oval(x, y, 0, 0.06, 0.44, 0.62)
    nose = _oval(x, y, 0, 0.235, 0.12, 0.045) | _oval(x, y, 0, 0.12, 0.035, 0.14)
    return _template(-14 * rim - 30 * nose)


def factors(side: int) -> dict[str, np.ndarray]:
    """Templates (states, side, side), integer, of each factor by its name."""
    x, y = _points(side)
    left = np.stack([_template(_eye(x, y, *s)) for s in EYE])
    drawn = {
        "outline": [_outline(x, y, *s) for s in product(BACKGROUND, HAIR, HAIRCUTS)],
        "skin": [level * _skin(x, y) for level in SKIN],
        "clothes": [level * _clothes(x, y) for level in CLOTHES],
        "beard": [level * _beard(x, y) for level in BEARD],
        "brows": [-60 * _brow(x, y, *s) for s in BROWS],
        "mouth": [-80 * _mouth(x, y, *s) for s in MOUTHS],
    }
    T = {f: np.stack([_template(image) for image in s]) for f, s in drawn.items()}
    return T | {"left_eye": left, "right_eye": left[:, :, ::-1]}


def _points(side):
    """Coordinates in [-1, 1], x to the right, y down; x is exactly antisymmetric."""
    m = side * FINE
    y, x = np.meshgrid(*2 * [(2 * np.arange(m) + 1 - m) / m], indexing="ij")
    return x, y


def _template(image):
    """Means over the points of each pixel, rounded to integers."""
    side = len(image) // FINE
    sums = image.reshape(side, FINE, side, FINE).sum((1, 3))
    return np.rint(sums / FINE**2).astype(np.int16)


def _oval(x, y, x0, y0, a, b):
    return ((x - x0) / a) ** 2 + ((y - y0) / b) ** 2 <= 1


# The regions cut the picture into pieces: skin, clothes, and the outline of both.


def _face(x, y):
    return _oval(x, y, 0, 0.06, 0.54, 0.74) & (y > 0.5 * x**2 - 0.42)


def _skin(x, y):
    return _face(x, y) | (
        (np.abs(x) < 0.2) & (y > 0.5) & ~_oval(x, y, 0, 1.2, 0.26, 0.3)
    )


def _clothes(x, y):
    return _oval(x, y, 0, 1.2, 0.92, 0.42) & ~_skin(x, y)


# A haircut: half width and half height of the hair, and where it ends.
HAIRCUTS = ((0.62, 0.76, -0.02), (0.68, 0.82, 0.62), (0.82, 0.9, 0.3))


def _outline(x, y, background, hair, haircut):
    a, b, end = haircut
    rest = ~_skin(x, y) & ~_clothes(x, y)
    return np.where(_oval(x, y, 0, -0.04, a, b) & (y < end), hair, background) * rest


def _beard(x, y):
    cheeks = _face(x, y) & (y > 0.28 + 0.1 * np.cos(6 * x))
    return cheeks & ~_oval(x, y, 0, 0.47, 0.19, 0.07)


# Brows: height and slope, outwards.
BROWS = ((-0.2, 0.1), (-0.25, 0.2), (-0.19, -0.2))


def _brow(x, y, y0, slope):
    dx = np.abs(x) - 0.25
    return (np.abs(dx) < 0.16) & (np.abs(y - y0 - slope * dx) < 0.035)


# Mouth: half width, opening, and how far the corners rise.
MOUTHS = ((0.2, 0.05, 0.0), (0.26, 0.06, 0.08), (0.2, 0.05, -0.06), (0.15, 0.1, 0.0))


def _mouth(x, y, a, b, rise):
    bent = y + rise * (x / a) ** 2
    return _oval(x, bent, 0, 0.47 + rise / 2, a, b)


# One eye: how far it is open, grey level of the iris on the skin, where it looks.
EYE = tuple(product((0.1, 0.6, 1.0), (-115, -65), (-1, 0, 1)))


def _eye(x, y, opening, iris, gaze):
    x0, y0, a, b = -0.25, 0.0, 0.16, 0.11
    ball = _oval(x, y, x0, y0, a, b * opening)
    lid = _oval(x, y + 0.045, x0, y0, a + 0.01, b * opening + 0.02) & (y < y0 + 0.02)
    pupil = _oval(x, y, x0, y0 + 0.03 * gaze, 0.09, 0.09)
    return np.where(ball, np.where(pupil, iris, 28), -75 * lid)


def _check(side, eye_correlation):
    if not 0 <= eye_correlation <= 1:
        raise ValueError(f"eye_correlation is in [0, 1], not {eye_correlation}.")
    if side < 4:
        raise ValueError(f"A face needs a side of at least 4 pixels, not {side}.")
