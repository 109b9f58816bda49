"""Groups of linear maps, and their exponential."""

from __future__ import annotations

import itertools

import numpy as np

KINDS = ("translation", "rigid", "similarity", "affine")
"""Linear maps from few to many parameters."""
TERMS = 8
"""Terms of the series of an exponential, of matrices with a norm of at most 1/8: the next one is below 1e-14."""


def generators(kind: str, rank: int, radius: float) -> np.ndarray:
    """Derivatives of the maps of a kind at the identity: `(parameters, rank + 1, rank + 1)`, homogeneous.

    One unit of a parameter moves points at a distance of `radius` mm from the origin by up to 1 mm, so that one
    step length suits all of them.

    Args:
        kind: one of `KINDS`.
        rank: 2 or 3.
        radius: mm.
    """
    units = np.zeros((rank, rank + 1, rank + 1, rank + 1))
    for i, j in itertools.product(range(rank), range(rank + 1)):
        units[i, j, i, j] = 1.0 if j == rank else 1.0 / radius
    found = [units[d, rank] for d in range(rank)]
    if kind in ("rigid", "similarity"):
        found += [units[i, j] - units[j, i] for i, j in itertools.combinations(range(rank), 2)]
    if kind == "similarity":
        found.append(sum(units[d, d] for d in range(rank)))
    if kind == "affine":
        found += [units[i, j] for i, j in itertools.product(range(rank), repeat=2)]
    return np.array(found)


def exponential(parameters: np.ndarray, generators: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The matrix `exp(sum_i p_i G_i)` and its derivatives by the parameters, by scaling and squaring.

    `scipy.linalg.expm` of block matrices gives the same, and took a thousand times as long for twelve parameters.

    Args:
        parameters: `(parameters,)`.
        generators: `(parameters, n, n)`.

    Returns:
        `(n, n)` and `(parameters, n, n)`.
    """
    total = np.tensordot(parameters, generators, 1)
    norm = float(np.abs(total).sum(axis=1).max())
    squarings = max(0, int(np.ceil(np.log2(max(norm, 1e-9)))) + 3)
    total, steps = total / 2**squarings, generators / 2**squarings
    term = np.eye(len(total))
    slope = np.zeros_like(steps)
    matrix, derivatives = term.copy(), slope.copy()
    for k in range(1, TERMS + 1):
        slope = (slope @ total + term @ steps) / k
        term = term @ total / k
        matrix, derivatives = matrix + term, derivatives + slope
    for _ in range(squarings):
        derivatives = derivatives @ matrix + matrix @ derivatives
        matrix = matrix @ matrix
    return matrix, derivatives
