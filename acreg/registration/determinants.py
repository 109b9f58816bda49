"""The Jacobian determinant of a transform, and how much the transform folds: `acreg.jacobian`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from acreg.errors import UsageError
from acreg.geometry import Grid, Image, Transform, folding, jacobian_determinant, log_determinant
from acreg.geometry.display import table_html
from acreg.io import check_free, write_image
from acreg.io.formats import FORMATS, suffix
from acreg.io.inputs import ImageLike, as_image
from acreg.registration.warping import PathLike, read_transforms, transform_list


@dataclass(eq=False, repr=False)
class JacobianMap:
    """The determinant, or its logarithm, at each voxel of the reference, and summary numbers.

    Attributes:
        image: the map.
        mean, low, high: mean, minimum and maximum of the determinant.
        regularity: see `acreg.geometry.folding`.
    """

    image: Image
    mean: float
    low: float
    high: float
    regularity: dict[str, float]

    @property
    def rows(self) -> list[tuple[str, str]]:
        """The summary numbers as text."""
        numbers = self.regularity
        return [
            ("determinant", f"mean {self.mean:.4f}, min {self.low:.4f}, max {self.high:.4f}"),
            ("folded", f"{numbers['folded_percent']:.4f} %"),
            ("NDV", f"{numbers['ndv_percent']:.4f} %"),
            ("SDlogJ", f"{numbers['sd_log_j']:.4f}"),
            ("Learn2Reg", f"{numbers['sd_log_j_learn2reg']:.4f}"),
        ]

    def save(self, path: PathLike, *, overwrite: bool = False) -> Path:
        """Write .nii, .nii.gz, .nrrd or .mha and return the path; errors as for `check_map_file` and `write_image`."""
        path = Path(path)
        check_map_file(path, overwrite)
        write_image(self.image, path)
        return path

    def __repr__(self) -> str:
        return f"JacobianMap({', '.join(f'{name} {text}' for name, text in self.rows)})"

    def _repr_html_(self) -> str:
        return self.image._repr_html_() + table_html(self.rows)

    def _repr_png_(self) -> bytes | None:
        return self.image._repr_png_()


def jacobian(
    transform: PathLike | Transform | Sequence[PathLike | Transform],
    reference: ImageLike | Grid,
    *,
    log: bool = False,
) -> JacobianMap:
    """The local change of volume from the fixed image to the moving one, as `acreg jacobian` writes it.

    1 means no change; below 1, the moving image is locally smaller than the fixed one; at 0 or less, the transform
    folds.

    Args:
        transform, reference: as in `acreg.warp`.
        log: map the natural logarithm instead, at least log(1e-9).

    Raises:
        AcregError: a file cannot be read, or the transform does not fit.
    """
    grid = reference if isinstance(reference, Grid) else as_image(reference, "reference").grid
    parts = transform_list(transform)
    displacement = read_transforms(parts, grid, grid).displacement
    determinant = jacobian_determinant(displacement)
    image = Image(log_determinant(determinant) if log else determinant, grid)
    mean, low, high = (float(each(determinant)) for each in (np.mean, np.min, np.max))
    return JacobianMap(image, mean, low, high, folding(displacement))


def check_map_file(path: Path, overwrite: bool) -> None:
    """Raise an error if a map of determinants cannot be written to a file.

    Raises:
        UsageError: its format does not support fractions.
        AcregError: the file exists and may not be replaced, or cannot be created.
    """
    possible = [ending for known in FORMATS if not known.picture for ending in known.written]
    if suffix(path) not in possible:
        raise UsageError(
            f"A map of determinants has fractions: it is written as {', '.join(possible)}. Received: "
            f"{path}. Choose one of these suffixes."
        )
    check_free(path, overwrite=overwrite)
