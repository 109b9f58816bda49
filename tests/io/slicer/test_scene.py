"""Scenes, read back with SimpleITK and compared with the format of Slicer's own scene files, since Slicer is absent."""

import itertools
import zipfile
from xml.etree import ElementTree

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage
from scipy.spatial.transform import Rotation

from acreg.geometry import Displacement, Grid, Transform, Velocity
from acreg.io import Image, read_image, write_transform
from acreg.io.slicer.scene import GREY, write_scene
from tests.io.made_transforms import between, field

LEGACY = ("colorNodeID", "backgroundVolumeID", "foregroundVolumeID")
"""Attributes that hold a node's ID."""
AXIAL = [[-1, 0, 0], [0, 1, 0], [0, 0, 1]]
CORONAL = [[-1, 0, 0], [0, 0, 1], [0, 1, 0]]
SAGITTAL = [[0, 0, -1], [-1, 0, 0], [0, 1, 0]]
"""What Slicer 5 writes as orientationMatrixAxial, ...Coronal and ...Sagittal."""


class Opened:
    """An unpacked scene."""

    def __init__(self, path, folder):
        with zipfile.ZipFile(path) as bundle:
            assert bundle.testzip() is None
            self.names = bundle.namelist()
            bundle.extractall(folder)
        (scene,) = (name for name in self.names if name.endswith(".mrml"))
        self.folder = (folder / scene).parent
        self.root = ElementTree.parse(folder / scene).getroot()
        self.nodes = {node.get("id"): node for node in self.root}
        assert len(self.nodes) == len(self.root)

    def references(self, node):
        return dict(part.split(":") for part in node.get("references", "").split(";") if part)

    def named(self, name):
        (node,) = (node for node in self.root if node.get("name") == name)
        return node

    def file(self, name):
        """The file of a node; Slicer decodes these escapes."""
        stored = self.nodes[self.references(self.named(name))["storage"]].get("fileName")
        assert "%" not in stored
        return str(self.folder / stored)

    def image(self, name):
        return sitk.ReadImage(self.file(name))

    def views(self):
        return {
            view.get("name"): np.reshape([float(word) for word in view.get("sliceToRAS").split()], (4, 4))
            for view in self.root.findall("Slice")
        }


FIXED = Grid((9, 30, 26), (6.0, 1.2, 0.5), (-1e3, 30.0, 4.0), Rotation.from_euler("xyz", (0.3, -0.5, 0.2)).as_matrix())
MOVING = Grid((26, 24, 20), (1.2, 2.0, 1.0), (-1e3 - 3, 33.0, 8.0), np.eye(3)[[2, 0, 1]] * [1, -1, 1])
FLAT = Grid((30, 26), (1.2, 0.5), (30.0, 4.0), ((0.8, 0.6), (0.6, -0.8)))
OTHER = Grid((24, 28), (1.5, 0.6), (28.0, 2.0), ((0.8, 0.6), (0.6, -0.8)))


TRANSFORMS = {
    "oblique": Transform(FIXED, MOVING, (Displacement(field(FIXED), FIXED), between(FIXED, MOVING))),
    "velocity": Transform(FIXED, MOVING, (Velocity(field(FIXED), FIXED), between(FIXED, MOVING))),
    "identity": Transform(MOVING, MOVING),
    "2-D": Transform(FLAT, OTHER, (Velocity(field(FLAT), FLAT), between(FLAT, OTHER))),
    "2-D identity": Transform(FLAT, FLAT),
}


def images(transform, seed=0):
    """Fixed, moving and warped image, and the two label maps."""
    rng = np.random.default_rng(seed)
    fixed, moving = (Image(rng.normal(size=grid.shape), grid) for grid in (transform.fixed, transform.moving))
    labels = {
        f"{name}_labels": Image((ndimage.gaussian_filter(image.array, 2) > 0) * 3, image.grid, "labels")
        for name, image in (("fixed", fixed), ("moving", moving))
    }
    return {"fixed": fixed, "moving": moving, "warped": transform.warp_image(moving), **labels}


@pytest.fixture
def scene(tmp_path):
    def make(transform, **options):
        write_scene(tmp_path / "scene.mrb", transform, **options)
        assert [path.name for path in tmp_path.iterdir()] == ["scene.mrb"]
        return Opened(tmp_path / "scene.mrb", tmp_path / "opened")

    return make


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_every_reference_leads_to_a_node_and_every_node_to_its_file(transform, scene):
    opened = scene(transform, **images(transform))
    assert opened.root.tag == "MRML" and opened.root.get("version").startswith("Slicer")
    assert {name.split("/")[0] for name in opened.names} == {"scene"}, "one folder"
    for node in opened.root:
        kind = node.tag if not node.tag.startswith("Volume") or "Archetype" in node.tag else f"Scalar{node.tag}"
        assert node.get("id").startswith(f"vtkMRML{kind}Node")
        used = [*opened.references(node).values(), *(node.get(key) for key in LEGACY if node.get(key))]
        assert [each for each in used if each not in opened.nodes and each != GREY] == []
    files = {node.get("fileName") for node in opened.root if node.get("fileName")}
    assert {f"scene/{file}" for file in files} | {"scene/scene.mrml"} == set(opened.names)


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_simpleitk_finds_the_images_and_warps_them_by_the_transform(transform, scene):
    given = images(transform)
    opened = scene(transform, **given)
    for name, image in given.items():
        stored = opened.image(name.replace("_", " "))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(stored).reshape(image.array.shape), image.array)
        assert stored.GetDimension() == 3
        if image.grid.rank == 3:
            assert stored.GetSize() == image.grid.shape[::-1]
            np.testing.assert_allclose(stored.GetOrigin(), image.grid.origin[::-1])
            np.testing.assert_allclose(stored.GetSpacing(), image.grid.spacing[::-1])
            np.testing.assert_allclose(
                np.reshape(stored.GetDirection(), (3, 3)), np.array(image.grid.direction)[::-1, ::-1], atol=1e-12
            )
    found = sitk.ReadTransform(opened.file("fixed to moving"))
    theirs = sitk.Resample(opened.image("moving"), opened.image("fixed"), found, sitk.sitkLinear, float("nan"))
    theirs, ours = sitk.GetArrayFromImage(theirs), sitk.GetArrayFromImage(opened.image("warped"))
    inside = np.isfinite(theirs)
    assert inside.mean() > 0.3
    np.testing.assert_allclose(theirs[inside], ours[inside], atol=5e-3)
    one = sitk.Resample(opened.image("moving labels"), opened.image("fixed"), found, sitk.sitkNearestNeighbor)
    nearest = transform.warp_labels(given["moving_labels"], interpolation="nearest").array.ravel()
    assert (sitk.GetArrayFromImage(one).ravel() == nearest).mean() > 0.999


def test_the_transform_is_applied_to_moving_image_and_labels_alone(scene):
    transform = TRANSFORMS["oblique"]
    opened = scene(transform, **images(transform))
    applied = opened.named("fixed to moving").get("id")
    assert opened.named("fixed to moving").tag == "Transform"
    under = {node.get("name") for node in opened.root if opened.references(node).get("transform") == applied}
    assert under == {"moving", "moving labels"}
    outlined = {
        node.get("name"): opened.nodes[opened.references(node)["display"]].get("Visibility2DOutline")
        for node in opened.root.findall("Segmentation")
    }
    assert outlined == {"fixed labels": "false", "moving labels": "true"}


def affine_of(direction, spacing, origin):
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = direction * spacing, origin
    return affine


def test_a_corner_lies_in_ras_where_nibabel_puts_it(scene, tmp_path):
    """An oblique anisotropic volume and a left-handed one: a wrong sign of an axis is seen here."""
    rng = np.random.default_rng(0)
    affines = (
        affine_of(Rotation.from_euler("xyz", (0.4, 0.2, -0.3)).as_matrix(), (0.7, 1.1, 5.0), (-30, 12, 90)),
        affine_of(np.diag([-1, 1, 1]), (2.0, 1.0, 3.0), (25, -60, 7)),
    )
    read = []
    for name, affine in zip(("a", "b"), affines):
        nibabel.save(nibabel.Nifti1Image(rng.random((7, 6, 5)).astype(np.float32), affine), tmp_path / f"{name}.nii")
        read.append(read_image(tmp_path / f"{name}.nii"))
        (tmp_path / f"{name}.nii").unlink()
    transform = Transform(read[0].grid, read[1].grid, (between(read[0].grid, read[1].grid),))
    opened = scene(transform, fixed=read[0], moving=read[1], warped=transform.warp_image(read[1]))
    for name, affine in zip(("fixed a", "moving b"), affines):
        stored = opened.image(name)
        for corner in itertools.product((0, 6), (0, 5), (0, 4)):
            left, posterior, superior = stored.TransformIndexToPhysicalPoint(corner)
            np.testing.assert_allclose((-left, -posterior, superior), (affine @ (*corner, 1))[:3], atol=1e-4)
    assert opened.named("warped b").tag == "Volume"


def test_three_views_show_the_fixed_image_below_the_moving_image(scene):
    transform = TRANSFORMS["oblique"]
    given = images(transform)
    opened = scene(transform, **given)
    assert opened.root.find("Layout").get("currentViewArrangement") == "3"
    views = opened.views()
    assert sorted(views) == ["Green", "Red", "Yellow"]
    fixed = opened.image("fixed")
    left, posterior, superior = fixed.TransformIndexToPhysicalPoint([size // 2 for size in fixed.GetSize()])
    for name, orientation in (("Red", AXIAL), ("Green", CORONAL), ("Yellow", SAGITTAL)):
        np.testing.assert_allclose(views[name][:3, :3], orientation, atol=1e-9)
        np.testing.assert_allclose(views[name][:3, 3], (-left, -posterior, superior))
    for layers in opened.root.findall("SliceComposite"):
        assert opened.nodes[layers.get("backgroundVolumeID")].get("name") == "fixed"
        assert opened.nodes[layers.get("foregroundVolumeID")].get("name") == "moving"
        assert layers.get("foregroundOpacity") == "0.5" and layers.get("layoutName") == layers.get("singletonTag")


def test_a_picture_is_a_slice_at_height_0_in_the_axial_view(scene):
    fixed, moving = (Image.from_array(np.random.default_rng(0).random((20, 30)), name="a.png") for _ in range(2))
    transform = Transform(fixed.grid, moving.grid, (Displacement(field(fixed.grid), fixed.grid),))
    opened = scene(transform, fixed=fixed, moving=moving, warped=transform.warp_image(moving))
    stored = opened.image("fixed a")
    assert stored.GetSize() == (30, 20, 1) and stored.TransformIndexToPhysicalPoint((29, 19, 0)) == (29, 19, 0)
    assert opened.root.find("Layout").get("currentViewArrangement") == "6", "the red slice alone"
    ((name, view),) = opened.views().items()
    assert name == "Red"
    np.testing.assert_allclose(view, [[-1, 0, 0, -15], [0, 1, 0, -10], [0, 0, 1, 0], [0, 0, 0, 1]])
    (view,) = opened.root.findall("Slice")
    assert [float(word) for word in view.get("fieldOfView").split()] == pytest.approx([33, 33, 1])


@pytest.mark.parametrize(("axis", "orientation"), [(0, SAGITTAL), (1, CORONAL), (2, AXIAL)])
def test_a_slice_of_a_patient_stays_in_its_plane(axis, orientation, scene, tmp_path):
    """From NIfTI, stored with its third axis along x, y or z of RAS."""
    rng = np.random.default_rng(0)
    order = [d for d in range(3) if d != axis] + [axis]
    read = []
    for name, shift in (("a", 0.0), ("b", 4.0)):
        affine = affine_of(np.eye(3)[:, order], (1.5, 0.8, 4.0), (-40 + shift, 15, 60 - shift))
        nibabel.save(nibabel.Nifti1Image(rng.random((20, 24, 1)).astype(np.float32), affine), tmp_path / f"{name}.nii")
        read.append((read_image(tmp_path / f"{name}.nii"), affine))
        (tmp_path / f"{name}.nii").unlink()
    (fixed, place), (moving, other) = read
    transform = Transform(fixed.grid, moving.grid, (Displacement(field(fixed.grid), fixed.grid),))
    warped = transform.warp_image(moving)
    opened = scene(transform, fixed=fixed, moving=moving, warped=warped)
    for name, affine in (("fixed a", place), ("moving b", other)):
        left, posterior, superior = opened.image(name).TransformIndexToPhysicalPoint((19, 23, 0))
        np.testing.assert_allclose((-left, -posterior, superior), (affine @ (19, 23, 0, 1))[:3], atol=1e-4)
    np.testing.assert_allclose(opened.views()["Red"][:3, :3], orientation, atol=1e-6)
    np.testing.assert_allclose(opened.views()["Red"][:3, 3], (place @ (10, 12, 0, 1))[:3], atol=1e-4)
    found = sitk.ReadTransform(opened.file("fixed to moving"))
    theirs = sitk.Resample(opened.image("moving b"), opened.image("fixed a"), found, sitk.sitkLinear, float("nan"))
    theirs = sitk.GetArrayFromImage(theirs)[0]
    inside = np.isfinite(theirs)
    assert inside.mean() > 0.7
    np.testing.assert_allclose(theirs[inside], warped.array[inside], atol=5e-3)


def test_names_of_all_kinds_and_a_map_of_background(scene):
    transform = TRANSFORMS["oblique"]
    given = images(transform)
    odd = {"fixed": '/tmp/Größe <&> "a" %20\n\x07;b.nii.gz', "moving": "", "fixed_labels": "x.y.nii"}
    for name, text in odd.items():
        given[name] = Image(given[name].array, given[name].grid, given[name].kind, name=text)
    empty = Image(np.zeros(MOVING.shape, int), MOVING, "labels")
    opened = scene(transform, **given | {"moving_labels": empty}, label_names={3: "Leber <&>"})
    assert 'fixed Größe <&> "a" %20 \\x07;b' in {node.get("name") for node in opened.root}
    assert sitk.GetArrayFromImage(opened.image("moving labels")).shape == MOVING.shape
    assert not any(key.startswith("Segment0") for key in opened.image("moving labels").GetMetaDataKeys())
    assert opened.image("fixed labels x.y").GetMetaData("Segment0_Name") == "Leber <&>"


def test_a_transform_that_was_written_is_copied(scene, tmp_path_factory):
    transform = TRANSFORMS["oblique"]
    written = tmp_path_factory.mktemp("written") / "transform.h5"
    write_transform(transform, written)
    written.write_bytes(written.read_bytes() + b"of this file")
    opened = scene(transform, **images(transform), written=written)
    assert (opened.folder / "Data" / "transform.h5").read_bytes() == written.read_bytes()


def test_a_scene_that_fails_leaves_nothing(tmp_path, monkeypatch):
    transform = TRANSFORMS["oblique"]
    given = images(transform)
    monkeypatch.setattr("acreg.io.slicer.scene.write_segmentation", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_scene(tmp_path / "scene.mrb", transform, **given)
    assert list(tmp_path.iterdir()) == []
