"""The preprocessing of the AC-RegNet paper (section 4.1): padding to a square, then a similarity to a reference image.

The paper used SimpleElastix; here, the registration of SimpleITK finds rotation, isotropic scale and translation by
normalised correlation at three resolutions, on all pixels of a reduced image. It uses no random sampling, and thus no
seed, and one thread, so that each run gives the same result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from acreg.geometry import resize_image, resize_labels

if TYPE_CHECKING:
    import SimpleITK as sitk

REGISTRATION_SIDE = 256
OVERSAMPLING = 4
"""Pixels are warped on a grid that is finer than the result by this factor, then averaged."""
MAXIMUM_ROTATION = 0.35  # radians
SCALES = (0.7, 1.4)
MINIMUM_CORRELATION = 0.1  # squared


def pad_square(array: np.ndarray) -> np.ndarray:
    """``(rows, columns)`` with zeros added at both ends of the shorter axis, so that the image is in the middle."""
    missing = max(array.shape) - np.array(array.shape)
    return np.pad(array, [(int(m) // 2, int(m) - int(m) // 2) for m in missing])


def align(
    image: np.ndarray, labels: np.ndarray, reference: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Register an image to a reference and resample image and labels on a ``size`` x ``size`` grid over its square.

    Args:
        image: float32 ``(rows, columns)``; padded to a square here. Its pixels have the same size as those of the
            reference.
        labels: int32 of the same size; warped by the same transform, by nearest neighbour.
        reference: float32 ``(rows, columns)``.
        size: side of the result in pixels.

    Returns:
        Image float32 and labels int32, ``(size, size)``, zero outside the original image; and whether the registration
        was plausible (rotation under 0.35 rad, scale within 0.7 to 1.4, squared correlation over 0.1). If it was not,
        the image is only centred.
    """
    import SimpleITK as sitk

    transform, plausible = _register(reference, image)
    image, labels = pad_square(image), pad_square(labels)
    side, reference_side = image.shape[0], max(reference.shape)

    fine = size * OVERSAMPLING
    grid = _itk(np.zeros((fine, fine), np.float32), reference_side)
    moving = _itk(_shrink(image, fine), side)
    warped = sitk.GetArrayFromImage(sitk.Resample(moving, grid, transform, sitk.sitkLinear, 0.0))
    moving_labels = _itk(labels, side)
    warped_labels = sitk.GetArrayFromImage(sitk.Resample(moving_labels, grid, transform, sitk.sitkNearestNeighbor, 0))
    return resize_image(warped, (size, size)), resize_labels(warped_labels, (size, size)), plausible


def _shrink(array: np.ndarray, side: int) -> np.ndarray:
    return resize_image(array, (side, side)) if array.shape[0] > side else array


def _itk(array: np.ndarray, extent: float) -> sitk.Image:
    """A SimpleITK image whose pixels fill ``[0, extent]`` along both axes."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(array)
    spacing = extent / array.shape[0]
    image.SetSpacing([spacing, spacing])
    image.SetOrigin([spacing / 2, spacing / 2])
    return image


def _register(reference: np.ndarray, image: np.ndarray) -> tuple[sitk.Transform, bool]:
    """The similarity from points of the reference's square to those of the image, and whether it is plausible.

    Padding does not count: both squares are masked to the images. If the result is not plausible, the
    centred transform is returned.
    """
    import SimpleITK as sitk

    def prepared(array: np.ndarray) -> tuple[sitk.Image, sitk.Image]:
        squares = pad_square(array), pad_square(np.ones(array.shape, np.float32))
        small, inside = (_itk(_shrink(square, REGISTRATION_SIDE), max(array.shape)) for square in squares)
        return small, inside > 0.5

    (fixed, fixed_mask), (moving, moving_mask) = prepared(reference), prepared(image)
    start = sitk.CenteredTransformInitializer(
        fixed, moving, sitk.Similarity2DTransform(), sitk.CenteredTransformInitializerFilter.GEOMETRY
    )
    start = sitk.Similarity2DTransform(start)
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetMetricAsCorrelation()
    method.SetMetricFixedMask(fixed_mask)
    method.SetMetricMovingMask(moving_mask)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=max(reference.shape) / 250,
        minStep=max(reference.shape) / 25000,
        numberOfIterations=200,
        relaxationFactor=0.6,
        gradientMagnitudeTolerance=1e-9,  # the gradient of a correlation is small: the step decides
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([2.0, 1.0, 0.0])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOff()
    method.SetInitialTransform(sitk.Similarity2DTransform(start), inPlace=False)
    try:
        found = sitk.Similarity2DTransform(sitk.CompositeTransform(method.Execute(fixed, moving)).GetNthTransform(0))
    except RuntimeError:  # ITK raises this if the images do not overlap or have no contrast
        return start, False
    turned = abs(found.GetAngle()) > MAXIMUM_ROTATION
    scaled = not SCALES[0] <= found.GetScale() <= SCALES[1]
    unlike = not -method.GetMetricValue() >= MINIMUM_CORRELATION  # also if it is NaN
    return (start, False) if turned or scaled or unlike else (found, True)
