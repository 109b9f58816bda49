"""SimpleITK: affine registration by mutual information, and demons or a B-spline, with or without affine first.

Mattes et al., PET-CT image registration in the chest using free-form deformations, IEEE TMI 22 (2003). Thirion, Image
matching as a diffusion process: an analogy with Maxwell's demons, Medical Image Analysis 2 (1998). Vercauteren et al.,
Diffeomorphic demons: efficient non-parametric image registration, NeuroImage 45 (2009).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from acreg.baselines.options import Options, Value
from acreg.geometry.grid import Grid
from acreg.geometry.maps import Affine, Displacement, Map
from acreg.io import Image
from acreg.io.transforms.itk import affine_from_itk, field_from_itk, image_to_itk

if TYPE_CHECKING:
    import SimpleITK as sitk

SAMPLES = 50_000
_AFFINE: dict[str, Any] = {
    "metric": "Mattes mutual information, 32 bins",
    "start": "centres of mass or of the images, whichever the metric prefers",
    "stages": "rigid, affine",
    "optimiser": "regular step gradient descent, 200 iterations a level",
    "shrink factors": (4, 2, 1),
    "samples": SAMPLES,
}
_DEMONS: dict[str, Any] = {
    "shrink factors": "1 at the last level, twice as much at each before",
    "histogram matching": True,
}
_BSPLINE: dict[str, Any] = {
    "metric": "Mattes mutual information, 32 bins",
    "optimiser": "L-BFGS, 30 iterations a level",
    "shrink factors": (4, 2, 1),
    "voxels between control points": (64, 32, 16),
    "samples": SAMPLES,
}
KINDS: Mapping[str, Mapping[str, Any]] = {
    "affine": _AFFINE,
    "demons": {"filter": "DemonsRegistrationFilter", **_DEMONS},
    "diffeomorphic-demons": {"filter": "DiffeomorphicDemonsRegistrationFilter", **_DEMONS},
    "symmetric-demons": {"filter": "FastSymmetricForcesDemonsRegistrationFilter", **_DEMONS},
    "bspline": _BSPLINE,
}
_DEMONS_OPTIONS: dict[str, Value] = {"affine": True, "iterations": (100, 50, 25), "smoothing": 1.5}
OPTIONS: Mapping[str, Options] = {
    **dict.fromkeys(("demons", "diffeomorphic-demons", "symmetric-demons"), _DEMONS_OPTIONS),
    "bspline": {"affine": True},
}
"""Iterations per level, from coarse to fine; the smoothing of the field is in voxels."""
SMALLEST = 8
"""Smallest number of voxels along an axis after shrinking."""


def load() -> None:
    """Import SimpleITK, which acreg itself needs."""
    import SimpleITK  # noqa: F401


def register(
    kind: str, fixed: Image, moving: Image, options: Options, threads: int, seed: int, folder: Path
) -> Sequence[Map]:
    """The deformation, sampled on the fixed grid, followed by the affine map (in the order applied to a fixed point).

    The filters see lengths in units of the fixed image's finest spacing, because their thresholds and steps are meant
    for voxels of about 1 mm: with pixels of 0.01 mm, the landmark error of the demons doubled.
    """
    with _threads(threads):
        return _register(kind, fixed, moving, options, seed)


def _register(kind: str, fixed: Image, moving: Image, options: Options, seed: int) -> Sequence[Map]:
    unit = min(fixed.grid.spacing)
    pair = [image_to_itk(dataclasses.replace(image, grid=_divided(image.grid, unit))) for image in (fixed, moving)]
    images = pair[0], pair[1]
    with_affine = bool(options.get("affine", True))
    found = _affine(*images, seed) if with_affine else _identity(fixed.grid.rank)
    matrix = affine_from_itk(found).matrix
    matrix[:-1, -1] *= unit
    after = [Affine(matrix)] if with_affine else []
    if kind == "affine":
        return after
    if kind == "bspline":
        field = _bspline(*images, found, seed)
    else:
        field = _demons(KINDS[kind]["filter"], *images, found, options)
    return [Displacement(field_from_itk(field).vectors, fixed.grid), *after]


def _identity(rank: int) -> sitk.Transform:
    import SimpleITK as sitk

    return sitk.AffineTransform(rank)


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """Set the threads of the whole process: a metric ignores other settings, and threads sum in random order."""
    import SimpleITK as sitk

    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(number)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def _divided(grid: Grid, unit: float) -> Grid:
    """The same grid with lengths in units of `unit` mm."""
    spacing, origin = (tuple(length / unit for length in lengths) for lengths in (grid.spacing, grid.origin))
    return dataclasses.replace(grid, spacing=spacing, origin=origin)


def _affine(fixed: sitk.Image, moving: sitk.Image, seed: int) -> sitk.Transform:
    """The better of two initial positions, then a rigid and an affine registration."""
    import SimpleITK as sitk

    rank = fixed.GetDimension()
    rigid = sitk.Euler3DTransform() if rank == 3 else sitk.Euler2DTransform()
    kinds = sitk.CenteredTransformInitializerFilter
    method = _registration(fixed, moving, seed)

    def metric(start: sitk.Transform) -> float:
        method.SetInitialTransform(start)
        try:
            return method.MetricEvaluate(fixed, moving)
        except RuntimeError:  # the images do not overlap
            return float("inf")

    # Without negative values, so that the air in CT does not count in the centre of mass.
    masses = [image - float(sitk.GetArrayViewFromImage(image).min()) for image in (fixed, moving)]
    starts = [sitk.CenteredTransformInitializer(*masses, rigid, how) for how in (kinds.MOMENTS, kinds.GEOMETRY)]
    start = type(rigid)(min(starts, key=metric))
    step = min(fixed.GetSpacing())
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=step,
        minStep=1e-3 * step,
        numberOfIterations=200,
        relaxationFactor=0.6,
        gradientMagnitudeTolerance=1e-9,  # the gradient of a metric depends on the unit: the step decides
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(start, inPlace=True)
    method.Execute(fixed, moving)
    affine = sitk.AffineTransform(rank)
    affine.SetCenter(start.GetCenter())
    affine.SetMatrix(start.GetMatrix())
    affine.SetTranslation(start.GetTranslation())
    method.SetInitialTransform(affine, inPlace=True)
    method.Execute(fixed, moving)
    return affine


def _demons(
    kind: str, fixed: sitk.Image, moving: sitk.Image, affine: sitk.Transform, options: Mapping[str, Any]
) -> sitk.Image:
    """The field in mm, from coarse to fine, between the fixed image and the affinely warped moving image."""
    import SimpleITK as sitk

    moved = sitk.Resample(moving, fixed, affine, sitk.sitkLinear, 0.0, sitk.sitkFloat32, True)
    matched = sitk.HistogramMatching(moved, fixed, numberOfHistogramLevels=256, numberOfMatchPoints=15)
    # The filters do not move voxels whose intensities differ by less than 0.001.
    low, high = sitk.GetArrayViewFromImage(fixed).min(), sitk.GetArrayViewFromImage(fixed).max()
    images = [(image - float(low)) / (float(high - low) or 1.0) for image in (fixed, matched)]
    demons = getattr(sitk, kind)()
    demons.SetStandardDeviations(options["smoothing"])
    field: Any = None  # an image after the first level
    for level, iterations in enumerate(options["iterations"], start=1):
        small = [_shrunk(image, 2 ** (len(options["iterations"]) - level)) for image in images]
        if field is not None:
            # The rim of the finer grid lies half a coarse voxel beyond the centres of the coarser one.
            field = sitk.Resample(field, small[0], sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkVectorFloat64, True)
        demons.SetNumberOfIterations(iterations)
        field = demons.Execute(*small) if field is None else demons.Execute(*small, field)
    return field


def _bspline(fixed: sitk.Image, moving: sitk.Image, affine: sitk.Transform, seed: int) -> sitk.Image:
    """The field in mm of a B-spline that is applied before the affine map."""
    import SimpleITK as sitk

    # Outside its domain a spline is zero, and by rounding the outermost voxel centres may lie there.
    domain = sitk.ConstantPad(fixed, [1] * fixed.GetDimension(), [1] * fixed.GetDimension())
    coarse = [max(1, round(size / _BSPLINE["voxels between control points"][0])) for size in fixed.GetSize()]
    spline = sitk.BSplineTransformInitializer(domain, coarse, order=3)
    method = _registration(fixed, moving, seed)
    method.SetOptimizerAsLBFGS2(numberOfIterations=30)
    method.SetMovingInitialTransform(affine)
    method.SetInitialTransformAsBSpline(spline, inPlace=True, scaleFactors=[1, 2, 4])
    method.Execute(fixed, moving)
    return sitk.TransformToDisplacementField(
        spline,
        sitk.sitkVectorFloat64,
        fixed.GetSize(),
        fixed.GetOrigin(),
        fixed.GetSpacing(),
        fixed.GetDirection(),
    )


def _registration(fixed: sitk.Image, moving: sitk.Image, seed: int) -> sitk.ImageRegistrationMethod:
    """A registration by mutual information on three levels, without optimiser and transform."""
    import SimpleITK as sitk

    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    if fixed.GetNumberOfPixels() > SAMPLES:  # otherwise all voxels count, at their centres
        method.SetMetricSamplingStrategy(method.REGULAR)
        method.SetMetricSamplingPercentage(SAMPLES / fixed.GetNumberOfPixels(), seed)
    method.SetInterpolator(sitk.sitkLinear)
    smallest = min(*fixed.GetSize(), *moving.GetSize())
    factors = [max(1, min(factor, smallest // SMALLEST)) for factor in _AFFINE["shrink factors"]]
    method.SetShrinkFactorsPerLevel(factors)
    # In mm, so that smoothing across thick slices is not stronger than within a slice.
    method.SetSmoothingSigmasPerLevel([factor // 2 * min(fixed.GetSpacing()) for factor in _AFFINE["shrink factors"]])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    return method


def _shrunk(image: sitk.Image, factor: int) -> sitk.Image:
    import SimpleITK as sitk

    factors = np.clip(np.array(image.GetSize()) // SMALLEST, 1, factor)
    if factors.max() == 1:
        return image
    smooth = sitk.SmoothingRecursiveGaussian(image, (factors / 2 * image.GetSpacing()).tolist())
    return sitk.Shrink(smooth, factors.tolist())
