from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage
from scipy.spatial.transform import Rotation

from acreg.cli.main import main
from acreg.geometry import Displacement, Grid, Transform
from acreg.io import Image, read_image, write_image
from acreg.io.transforms import write_transform

GRID = Grid((9, 14, 12), (4.0, 1.5, 1.0), (-30.0, 12.0, 5.0), Rotation.from_euler("xyz", (0.2, -0.3, 0.1)).as_matrix())


@pytest.fixture
def files(tmp_path):
    write_image(Image(np.zeros(GRID.shape), GRID), tmp_path / "fixed.nii.gz")
    return tmp_path


def jacobian(files, transform, *more, out="j.nii.gz"):
    named = ["--transform", str(files / transform), "--reference", str(files / "fixed.nii.gz")]
    return main(["jacobian", *named, "--out", str(files / out), *more])


def numbers(text):
    return {line.split()[0]: line.split()[1:] for line in text.splitlines()}


def test_the_determinant_of_an_affine_transform_is_its_matrix_determinant(files, capsys):
    matrix = np.array([[1.1, 0.1, 0.0], [0.0, 0.9, 0.2], [0.1, 0.0, 1.2]])
    sitk.WriteTransform(sitk.AffineTransform(matrix.ravel().tolist(), (3, 2, 1)), str(files / "a.tfm"))
    assert jacobian(files, "a.tfm") == 0
    det = np.linalg.det(matrix)
    written = read_image(files / "j.nii.gz")
    np.testing.assert_allclose(written.array, det, rtol=1e-4)
    np.testing.assert_allclose(written.grid.matrix, GRID.matrix, atol=1e-5)
    said = numbers(capsys.readouterr().out)
    assert said["determinant"][1] == f"{det:.4f}," and said["folded"][0] == said["NDV"][0] == "0.0000"
    assert said["SDlogJ"] == said["Learn2Reg"] == ["0.0000"]


def test_the_map_of_a_field_equals_simpleitk_s(files, capsys):
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(*GRID.shape, 3)), (1, 1, 1, 0))
    field = Displacement(2.5 * noise / np.abs(noise).max(), GRID)
    write_transform(Transform(GRID, GRID, (field,)), files / "t.nii.gz")
    assert jacobian(files, "t.nii.gz") == 0
    said = numbers(capsys.readouterr().out)
    ours = read_image(files / "j.nii.gz").array
    # SimpleITK differentiates along the axes of the image: its vectors are turned there first.
    itk = sitk.ReadImage(str(files / "t.nii.gz"), sitk.sitkVectorFloat64)
    turned = sitk.GetArrayFromImage(itk) @ np.reshape(itk.GetDirection(), (3, 3))
    straight = sitk.GetImageFromArray(turned, isVector=True)
    straight.SetSpacing(itk.GetSpacing())
    theirs = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(straight))
    inner = (slice(1, -1),) * 3
    np.testing.assert_allclose(ours[inner], theirs[inner], rtol=0, atol=1e-4)
    assert said["folded"][0] == f"{100 * np.mean(ours <= 0):.4f}" != "0.0000"
    assert float(said["NDV"][0]) > 0 and float(said["SDlogJ"][0]) > float(said["Learn2Reg"][0]) > 0

    assert jacobian(files, "t.nii.gz", "--log", out="log.mha") == 0
    np.testing.assert_allclose(read_image(files / "log.mha").array, np.log(np.maximum(ours, 1e-9)), atol=1e-4)


def test_pictures_are_refused_and_files_are_kept(files, capsys):
    sitk.WriteTransform(sitk.TranslationTransform(3, (1, 2, 3)), str(files / "t.tfm"))
    assert jacobian(files, "t.tfm", out="j.png") == 2
    assert "has fractions" in capsys.readouterr().err
    assert jacobian(files, "t.tfm", out="fixed.nii.gz") == 1
    assert "--overwrite" in capsys.readouterr().err and not read_image(files / "fixed.nii.gz").array.any()
