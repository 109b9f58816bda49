"""The update of demons that compare two images by their local correlation, in closed form.

`F` is the fixed image after `exp(-v / 2)`, `M` the moving image after `exp(v / 2)`; `<.>` is the mean in a Gaussian
window about a voxel. With the local covariances `C(A, B) = <A B> - <A><B>` and `a = C(F, F)`, `b = C(M, M)`,
`c = C(F, M)`, the squared local correlation is `rho^2 = c^2 / (a b)`. An update `u` of the velocity that is constant in
the window shows `F(x - u / 2)` and `M(x + u / 2)`. As `C(F, grad F) = grad a / 2`, it changes the correlation by

    d ln |rho| = L . u / 2,    L = (C(F, grad M) - C(M, grad F)) / c + grad a / (2 a) - grad b / (2 b).

`r^2 = 1 - rho^2` is the share of the variance of `F` in the window that no linear function of `M` explains, and takes
the place of the squared difference of grey values in demons: at each voxel, `r(u)^2 / sigma_i^2 + |u|^2 / sigma_x^2` is
minimised. From `r dr = -rho^2 d ln |rho|` follows `grad r = -P / (2 r)` with `P = rho^2 L`, and the step of Gauss and
Newton is

    u = -r grad r / (|grad r|^2 + sigma_i^2 / sigma_x^2) = 2 r^2 P / (|P|^2 + 4 r^2 sigma_i^2 / sigma_x^2).

`P` needs no division by `c`. The length of `u` is at most `r s`, with `s = sigma_x / (2 sigma_i)`. Swapped images give
`-u`.

Lorenzi et al. (NeuroImage 81, 2013) linearise `rho` instead, with the same `L`: then the denominator is a difference,
which is zero for some `|L|`, and the length of an update has no bound.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from acreg.geometry.brackets import derivative

FLOOR = 1e-4
"""Added to local variances, as a share of their mean: where an image is flat, nothing correlates."""

Array = NDArray[np.float32]


def local_update(
    fixed: Array, moving: Array, known: Array | None, sides: Sequence[float], window: float, longest: float
) -> tuple[Array, Array]:
    """The update of the velocity, and what the correlation leaves unexplained.

    Args:
        fixed, moving: ``(*spatial)``, `F` and `M`.
        known: ``(*spatial)``, from 0 to 1: how much a voxel counts; None for 1.
        sides: of a voxel; the unit of all lengths here.
        window: standard deviation of the windows.
        longest: `s`, which no update exceeds.

    Returns:
        `u`, ``(*spatial, rank)``; and `r^2`, ``(*spatial)``, from 0 to 1.
    """
    sigmas = [window / side for side in sides]

    def blurred(x: Array) -> Array:
        return ndimage.gaussian_filter(x, sigmas, mode="nearest", truncate=3.0)

    share = None if known is None else np.maximum(blurred(known), np.float32(1e-3))

    def mean(x: Array) -> Array:
        if known is None or share is None:
            return blurred(x)
        weighted: Array = blurred(x * known)
        weighted /= share
        return weighted

    # Without their means, so that the differences of squares keep their digits.
    fixed, moving = fixed - fixed.mean(), moving - moving.mean()
    mean_f, mean_m = mean(fixed), mean(moving)
    a, b = mean(fixed * fixed) - mean_f**2, mean(moving * moving) - mean_m**2
    a, b = (np.maximum(x, 0) + max(FLOOR * float(x.mean()), 1e-30) for x in (a, b))
    c = mean(fixed * moving) - mean_f * mean_m
    both = a * b
    explained = np.minimum(c * c / both, 1)
    left = 1 - explained

    forces = []
    for axis, side in enumerate(sides):
        df, dm, dmean_f, dmean_m, da, db = (derivative(x, axis, side) for x in (fixed, moving, mean_f, mean_m, a, b))
        of_m, of_f = mean(fixed * dm) - mean_f * dmean_m, mean(moving * df) - mean_m * dmean_f
        forces.append(c / both * (of_m - of_f) + explained * (da / a - db / b) / 2)
    force = np.stack(forces, axis=-1)
    length = np.sum(force * force, axis=-1)
    update = force * (2 * left / np.maximum(length + left / longest**2, 1e-12))[..., None]
    if known is not None:
        update = update * known[..., None]
    return update.astype(np.float32), left.astype(np.float32)
