"""Interpolation of displacements between landmarks by the deformation of an elastic body."""

from __future__ import annotations

import numpy as np
from scipy import linalg, spatial

from acreg.errors import AcregError

CHUNK_NUMBERS = 200_000
"""Number of distances between points and landmarks that are held at a time: they fit into the processor's cache."""


class ElasticBodySpline:
    """A displacement that takes given values at landmarks and, elsewhere, is that of an elastic body under forces.

    Each landmark pulls with a force that grows with the distance from it, `f(x) = c |x|`. The displacement of a
    homogeneous isotropic body under this force is, up to a factor, `U(x) c` with
    `U(x) = (a |x|^2 I - 3 x x^T) |x|` and `a = 2 (rank + 3) (1 - nu) - 1`, which in 3-D is `12 (1 - nu) - 1` as in
    Davis. An affine map is added to the sum over the landmarks, so that affine displacements are reproduced exactly.

    Args:
        landmarks: `(n, rank)` in mm, rank 2 or 3.
        poisson_ratio: `nu`, greater than -1 and less than 0.5: how much a body narrows when it is stretched.
        smoothing: 0 interpolates the landmarks; with a larger number, the spline may miss them to reduce strain. 0.5
            suits landmarks whose errors are a noticeable fraction of the distance between them. The effect does not
            depend on the unit of length; it is weaker for more landmarks of the same displacement. Affine maps are
            still exact.

    Raises:
        AcregError: fewer than rank + 1 landmarks, two at the same position, all on one line or plane, a number that is
            not finite, or a ratio or smoothing out of bounds.

    Sources: Davis et al., A physics-based coordinate transformation for 3-D image matching, IEEE TMI 16 (1997), eq. 12;
    the smoothing as Rohr et al. for thin-plate splines, Landmark-based elastic registration using approximating
    thin-plate splines, IEEE TMI 20 (2001).
    """

    def __init__(self, landmarks: np.ndarray, poisson_ratio: float = 0.3, smoothing: float = 0.0) -> None:
        landmarks = np.asarray(landmarks, float)
        self._check(landmarks, poisson_ratio, smoothing)
        self.landmarks = landmarks
        self.poisson_ratio = poisson_ratio
        # In units of the landmarks' spread the system is well conditioned whatever the unit of length.
        self._centre = landmarks.mean(axis=0)
        self._scale = float(np.sqrt(((landmarks - self._centre) ** 2).sum(axis=1).mean()))
        rank, n = self.rank, landmarks.size
        points = self._scaled(landmarks)
        affine = self._affine_columns(points)
        system = np.zeros((n + rank * (rank + 1),) * 2)
        system[:n, :n] = self._kernel(points) + smoothing * np.eye(n)
        system[:n, n:] = affine
        system[n:, :n] = affine.T
        self._system = linalg.lu_factor(system, check_finite=False)

    @property
    def rank(self) -> int:
        """2 or 3."""
        return self.landmarks.shape[1]

    def interpolate(self, displacements: np.ndarray, points: np.ndarray) -> np.ndarray:
        """The displacements of points.

        Args:
            displacements: displacements of the landmarks, `(..., n, rank)`, in any unit of length; several sets are
                solved together.
            points: `(m, rank)` in mm.

        Returns:
            `(..., m, rank)`, in the unit of `displacements`.

        Raises:
            AcregError: `displacements` do not fit the landmarks, or are not finite.
        """
        displacements = np.asarray(displacements, float)
        if displacements.shape[-2:] != self.landmarks.shape or not np.isfinite(displacements).all():
            raise AcregError(
                f"A spline of {len(self.landmarks)} landmarks takes as many finite displacements of rank {self.rank}. "
                f"Received: an array of shape {displacements.shape}, {np.count_nonzero(~np.isfinite(displacements))} "
                "values of it not finite."
            )
        several, rank = displacements.shape[:-2], self.rank
        right = np.zeros((self._system[0].shape[0], int(np.prod(several, dtype=int))))
        right[: self.landmarks.size] = displacements.reshape(-1, self.landmarks.size).T
        coefficients = linalg.lu_solve(self._system, right, check_finite=False)
        points = self._scaled(points)
        result = np.empty((right.shape[1], len(points), rank))
        forces = coefficients[: self.landmarks.size].reshape(-1, rank, right.shape[1])
        rows = max(1, CHUNK_NUMBERS // len(self.landmarks))
        for start in range(0, len(points), rows):
            part = points[start : start + rows]
            values = self._pulled(part, forces)
            values += (self._affine_columns(part) @ coefficients[self.landmarks.size :]).reshape(values.shape)
            result[:, start : start + rows] = np.moveaxis(values, -1, 0)
        return result.reshape(*several, len(points), rank)

    def _pulled(self, points: np.ndarray, forces: np.ndarray) -> np.ndarray:
        """The sum of `U(p - l) c` over the landmarks `l`, for scaled points.

        `(p - l) (p - l)^T c` is multiplied out, so that all sums over the landmarks are products of matrices: the
        blocks of the kernel, nine numbers for each point and landmark, are never stored.

        Args:
            points: `p`, `(m, rank)`.
            forces: `c`, `(n, rank, sets)`.

        Returns:
            `(m, rank, sets)`.
        """
        landmarks, rank = self._scaled(self.landmarks), self.rank
        length = spatial.distance.cdist(points, landmarks)
        along = np.einsum("nr,nrs->ns", landmarks, forces)
        pieces = (
            forces,
            along[:, None],
            np.einsum("ni,njs->nijs", landmarks, forces),
            landmarks[:, :, None] * along[:, None],
        )
        sizes = [int(np.prod(piece.shape[1:-1])) for piece in pieces]
        columns = np.concatenate([piece.reshape(len(landmarks), -1) for piece in pieces], axis=1)
        sums = np.split((length @ columns).reshape(len(points), -1, forces.shape[2]), np.cumsum(sizes)[:-1], axis=1)
        force, alongs, moments, others = sums
        moments = moments.reshape(len(points), rank, rank, -1)
        values = points[:, :, None] * (np.einsum("mj,mjs->ms", points, force)[:, None] - alongs)
        values -= np.einsum("mj,mijs->mis", points, moments) - others
        cubed = ((length**3) @ forces.reshape(len(landmarks), -1)).reshape(values.shape)
        return self._stiffness * cubed - 3.0 * values

    @property
    def _stiffness(self) -> float:
        return 2 * (self.rank + 3) * (1 - self.poisson_ratio) - 1

    def _scaled(self, points: np.ndarray) -> np.ndarray:
        return (np.asarray(points, float) - self._centre) / self._scale

    def _kernel(self, points: np.ndarray) -> np.ndarray:
        """`U` of all differences of scaled points and landmarks, `(m * rank, n * rank)`."""
        rank = self.rank
        apart = points[:, None] - self._scaled(self.landmarks)
        squared = (apart**2).sum(axis=-1)
        length = np.sqrt(squared)
        blocks = np.empty((len(points), rank, len(self.landmarks), rank))
        for i in range(rank):
            for j in range(i, rank):
                block = -3.0 * apart[..., i] * apart[..., j]
                if i == j:
                    block += self._stiffness * squared
                block *= length
                blocks[:, i, :, j] = blocks[:, j, :, i] = block
        return blocks.reshape(len(points) * rank, -1)

    def _affine_columns(self, points: np.ndarray) -> np.ndarray:
        """What the entries of the affine map contribute, `(m * rank, rank * (rank + 1))`."""
        homogeneous = np.column_stack([points, np.ones(len(points))])
        return np.kron(homogeneous, np.eye(self.rank))

    @staticmethod
    def _check(landmarks: np.ndarray, poisson_ratio: float, smoothing: float) -> None:
        if landmarks.ndim != 2 or landmarks.shape[1] not in (2, 3) or not np.isfinite(landmarks).all():
            raise AcregError(
                f"Landmarks are finite points (n, 2) or (n, 3). Received: an array of shape {landmarks.shape}, "
                f"{np.count_nonzero(~np.isfinite(landmarks))} values of it not finite."
            )
        if not -1 < poisson_ratio < 0.5:
            raise AcregError(f"Poisson's ratio lies between -1 and 0.5. Received: poisson_ratio={poisson_ratio}.")
        if not 0 <= smoothing < np.inf:
            raise AcregError(f"The smoothing of a spline is 0 or more. Received: smoothing={smoothing}.")
        n, rank = landmarks.shape
        if n < rank + 1:
            raise AcregError(
                f"An elastic body spline in {rank}-D needs at least {rank + 1} landmarks. Received: {n}. Add some, or "
                "lower the distance between them."
            )
        spread = np.linalg.svd(landmarks - landmarks.mean(axis=0), compute_uv=False)
        if spread[-1] < 1e-6 * spread[0] or spread[0] == 0:
            flat = "on one line" if rank == 2 else "in one plane"
            raise AcregError(
                f"The landmarks of an elastic body spline do not all lie {flat}. Received: {n} that do. Add one beside."
            )
        same = spatial.KDTree(landmarks).query_pairs(1e-6 * spread[0] / np.sqrt(n))
        if same:
            first, second = min(same)
            raise AcregError(
                f"Landmarks differ from each other. Received: numbers {first} and {second} of {n}, both at "
                f"{landmarks[first].round(6).tolist()}. Keep one of them."
            )
