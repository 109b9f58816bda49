"""elastix, by itk-elastix.

Klein et al., elastix: a toolbox for intensity-based medical image registration, IEEE TMI 29 (2010).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from acreg.baselines.options import Options
from acreg.geometry.displacement import voxel_indices
from acreg.geometry.grid import Grid
from acreg.geometry.maps import Affine, Displacement, Map
from acreg.io import Image

Stage = dict[str, list[str]]

_COMMON = {
    "FixedInternalImagePixelType": "float",
    "MovingInternalImagePixelType": "float",
    "UseDirectionCosines": "true",
    "FixedImagePyramid": "FixedSmoothingImagePyramid",
    "MovingImagePyramid": "MovingSmoothingImagePyramid",
    "Optimizer": "AdaptiveStochasticGradientDescent",
    "AutomaticParameterEstimation": "true",
    "ImageSampler": "RandomCoordinate",
    "NewSamplesEveryIteration": "true",
    "NumberOfSpatialSamples": "2048",
    "MaximumNumberOfSamplingAttempts": "1000",
    "RequiredRatioOfValidSamples": "0.01",
    "Resampler": "DefaultResampler",
    "ResampleInterpolator": "FinalBSplineInterpolator",
    "WriteResultImage": "false",
}
_AFFINE = {
    **_COMMON,
    "Registration": "MultiResolutionRegistration",
    "Transform": "AffineTransform",
    "AutomaticScalesEstimation": "true",
    "AutomaticTransformInitialization": "true",
    "AutomaticTransformInitializationMethod": "CenterOfGravity",
    "Metric": "AdvancedMattesMutualInformation",
    "Interpolator": "LinearInterpolator",
    "NumberOfResolutions": "4",
    "MaximumNumberOfIterations": "500",
}
_BSPLINE = {
    **_COMMON,
    "Registration": "MultiMetricMultiResolutionRegistration",
    "Transform": "BSplineTransform",
    # Mutual information with so few samples moves an image that is registered onto itself.
    "Metric": ("AdvancedNormalizedCorrelation", "TransformBendingEnergyPenalty"),
    "Metric0Weight": "1",
    "Metric1Weight": "1",
    # The bending energy with several threads crashes the process (itk-elastix 0.25.4).
    "UseMultiThreadingForMetrics": "false",
    "Interpolator": "LinearInterpolator",
    "NumberOfResolutions": "4",
    "MaximumNumberOfIterations": "256",
    "FinalGridSpacingInVoxels": "a sixteenth of the longest axis, from 8 to 16",
}
_PAPER = {"MaximumNumberOfIterations": "1000", "MaximumStepLength": "0.29"}
KINDS: Mapping[str, Mapping[str, Any]] = {
    "affine": {"affine": _AFFINE},
    "bspline": {"affine": _AFFINE, "bspline": _BSPLINE},
    # The authors' parameter files for JSRT, as far as they are known. They start with the origins on each other (as
    # " Origins", with a blank): of their pictures, all of one size, that is the same as the centres.
    "acregnet": {
        "affine": {
            **_AFFINE,
            **_PAPER,
            "Metric": "AdvancedNormalizedCorrelation",
            "AutomaticTransformInitializationMethod": "GeometricalCenter",
            "ImagePyramidSchedule": ("1", "1", "1", "1"),
        },
        "bspline": {
            **_BSPLINE,
            **_PAPER,
            "Metric1Weight": "2",
            "Interpolator": "BSplineInterpolator",
            "BSplineInterpolationOrder": "3",
            "NumberOfResolutions": "3",
            "ImagePyramidSchedule": ("8", "4", "2"),
            "FinalGridSpacingInVoxels": "1",
        },
    },
    # Mahapatra et al., MLMI 2018: affine, then a B-spline with 80, 40, 20, 10 and 5 mm between its points on images
    # reduced 4, 3, 2, 1 and 1 times, both by normalised mutual information.
    "jrsnet": {
        "affine": {**_AFFINE, "Metric": "NormalizedMutualInformation"},
        "bspline": {
            **_BSPLINE,
            "Registration": "MultiResolutionRegistration",
            "Metric": "NormalizedMutualInformation",
            "UseMultiThreadingForMetrics": "true",
            # 2048 samples per step move an image that is registered onto itself even more.
            "ImageSampler": "Full",
            "NewSamplesEveryIteration": "false",
            "NumberOfResolutions": "5",
            "ImagePyramidSchedule": ("4", "3", "2", "1", "1"),
            "GridSpacingSchedule": ("16", "8", "4", "2", "1"),
            "FinalGridSpacingInPhysicalUnits": "5",
        },
    },
}
OPTIONS: Mapping[str, Options] = {"bspline": {"mutual_information": False}}
"""Mutual information in place of correlation in the deformable stage is for two contrasts."""


def load() -> None:
    """Import what of itk is needed; its modules load on first use."""
    import itk

    for name in ("Image", "ParameterObject", "ElastixRegistrationMethod", "TransformixFilter"):
        try:
            getattr(itk, name)
        except AttributeError as error:  # an itk without the module that itk-elastix adds
            raise ImportError(f"itk has no {name}") from error


def register(
    kind: str, fixed: Image, moving: Image, options: Options, threads: int, seed: int, folder: Path
) -> Sequence[Map]:
    """Run the stages; an affine map is read from its parameters, a B-spline is sampled on the fixed grid."""
    import itk

    parameters = itk.ParameterObject.New()
    for name, stage in KINDS[kind].items():
        if name == "bspline" and options.get("mutual_information"):
            stage = {**stage, "Metric": ("AdvancedMattesMutualInformation", *stage["Metric"][1:])}
        parameters.AddParameterMap(_filled(stage, fixed.grid, seed))
    images = _image(fixed), _image(moving)
    # What the log says goes into the message of a failure. Without a folder of its own transformix writes its field
    # where the program was started.
    output = {"log_to_console": True, "output_directory": str(folder)}
    _, found = itk.elastix_registration_method(
        *images, parameter_object=parameters, number_of_threads=threads, **output
    )
    affine = _affine(found.GetParameterMap(0))
    if "bspline" not in KINDS[kind]:
        return [affine]
    field = itk.transformix_deformation_field(images[1], found, **output)
    grid = fixed.grid
    points = grid.to_world(voxel_indices(grid.shape)).reshape(-1, grid.rank)
    mm = itk.array_from_image(field)[..., ::-1].reshape(points.shape)
    # The field contains both stages, the B-spline first: without the affine map, it continues outside the grid.
    indices = grid.to_index(affine.invert_points(points + mm))
    return [Displacement(indices.reshape(*grid.shape, grid.rank) - voxel_indices(grid.shape), grid), affine]


def _filled(stage: Mapping[str, Any], grid: Grid, seed: int) -> Stage:
    """An elastix parameter map with the values that depend on the images, one per axis where required."""
    stage = {**stage, "RandomSeed": str(seed)}
    for name in ("ImagePyramidSchedule", "GridSpacingSchedule"):
        if name in stage:
            stage[name] = [factor for factor in stage[name] for _ in grid.shape]
    if "FinalGridSpacingInPhysicalUnits" in stage:
        del stage["FinalGridSpacingInVoxels"]
        stage["FinalGridSpacingInPhysicalUnits"] = [stage["FinalGridSpacingInPhysicalUnits"]] * grid.rank
    spacing = stage.get("FinalGridSpacingInVoxels", "")
    if spacing:
        spacing = spacing if spacing.isdigit() else str(min(max(max(grid.shape) // 16, 8), 16))
        stage["FinalGridSpacingInVoxels"] = [spacing] * grid.rank
    return {name: [value] if isinstance(value, str) else list(value) for name, value in stage.items()}


def _affine(found: Mapping[str, Sequence[str]]) -> Affine:
    """The affine map of elastix, `matrix (x - centre) + centre + shift` in LPS, as an acreg map."""
    centre = np.array(found["CenterOfRotationPoint"], float)[::-1]
    numbers = np.array(found["TransformParameters"], float)
    rank = len(centre)
    linear = numbers[:-rank].reshape(rank, rank)[::-1, ::-1]
    matrix = np.eye(rank + 1)
    matrix[:-1, :-1] = linear
    matrix[:-1, -1] = centre + numbers[-rank:][::-1] - linear @ centre
    return Affine(matrix)


def _image(image: Image) -> Any:
    import itk

    made = itk.image_from_array(image.array)
    made.SetSpacing(image.grid.spacing[::-1])
    made.SetOrigin(image.grid.origin[::-1])
    made.SetDirection(itk.matrix_from_array(np.ascontiguousarray(np.asarray(image.grid.direction)[::-1, ::-1])))
    return made
