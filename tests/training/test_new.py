"""Recipes of one's own, from shipped recipes and presets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from acreg.data.manifest import Dataset
from acreg.errors import UsageError
from acreg.inference.presets import SHIPPED
from acreg.losses import LABEL_LOSSES
from acreg.models import ACRegNet, AffineDeformableNet, JRSNet, LabelAutoencoder
from acreg.training import load_recipe, new_recipe, run_recipe
from acreg.training.new import losses_on_labels
from acreg.training.schema import Recipe
from tests.training.test_grids import write_volumes


def loaded(text: str, folder: Path) -> Recipe:
    path = folder / "new.yaml"
    path.write_text(text, encoding="utf-8")
    return load_recipe(path)


@pytest.fixture(scope="module")
def unlabelled(discs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The discs without their labels."""
    dataset = Dataset.load(discs)
    records = [replace(record, labels=None) for record in dataset.records]
    folder = tmp_path_factory.mktemp("unlabelled")
    replace(dataset, folder=folder, records=records, label_names={0: "background"}).save()
    return folder


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four volumes of noise without labels."""
    return write_volumes(tmp_path_factory.mktemp("volumes"), [(12, 20, 30)] * 4, (3.0, 1.0, 1.0))


def test_a_shipped_recipe_becomes_one_for_other_data(discs: Path, tmp_path: Path) -> None:
    source, found = load_recipe("ae-regnet-jsrt"), loaded(new_recipe("ae-regnet-jsrt", discs, "own"), tmp_path)
    assert (found.name, found.start) == ("own", None)
    assert found.description == "ACRegNet on discs."
    assert (found.data.dataset, found.data.shape, found.data.spacing) == (str(discs), (64, 64), None)
    assert (found.data.train_splits, found.data.validation_split) == (["train"], "validation")
    assert found.data.validation_pairs == 12, "of 4 subjects, all pairs"
    assert (found.optimizer, found.training, found.autoencoder) == (
        source.optimizer,
        source.training,
        source.autoencoder,
    )
    assert (found.model, found.data.augmentation) == (source.model, source.data.augmentation)


def test_every_key_stands_in_the_file_below_a_comment(discs: Path) -> None:
    text = new_recipe("ddmr-mni152", discs)
    assert "# Subjects: 8 for training, 4 for validation. Labels: 0 background, 1 disc.\n" in text
    lines = text.splitlines()
    keys = [number for number, line in enumerate(lines) if line and not line.lstrip().startswith("#")]
    assert all(lines[number - 1].lstrip().startswith("# ") for number in keys)
    values = yaml.safe_load(text)
    assert set(values) == set(Recipe.model_fields)
    assert set(values["data"]) == set(Recipe.model_fields["data"].annotation.model_fields)
    assert max(map(len, lines)) < 130


def test_without_labels_nothing_needs_them(unlabelled: Path, tmp_path: Path) -> None:
    found = loaded(new_recipe("acregnet-jsrt", unlabelled), tmp_path)
    assert found.model.arguments["losses"] == {"ncc": 1, "diffusion": 0.1}
    assert found.autoencoder is None
    assert (found.data.train_splits, found.data.validation_split) == (["train", "validation"], "none")
    assert loaded(new_recipe("uw-nsd-ixi", unlabelled), tmp_path).optimizer.schedule == "constant", "no plateau to see"
    small = ["model.arguments={encoder: [2], decoder: [2]}", "data.shape=[16, 16]", "data.synthetic=null"]
    recipe = load_recipe(tmp_path / "new.yaml", ["training={steps: 1, batch_size: 2}", *small])
    assert run_recipe(recipe, tmp_path / "run").is_dir()


def test_a_preset_gives_its_network_its_voxel_size_and_its_weights(volumes: Path, tmp_path: Path) -> None:
    found = loaded(new_recipe("ddmr-hippocampus", volumes), tmp_path)
    assert found.start is not None and found.start.source == "ddmr-hippocampus"
    assert found.description == "DDMR on volumes, starting from the preset ddmr-hippocampus."
    assert (found.model.class_name, found.model.arguments["encoder"]) == ("DDMR", [16, 32, 64, 64])
    assert found.data.spacing == (1.0, 1.0, 1.0), "that at which its weights were trained"
    assert found.data.shape == (48, 32, 32), "36 x 20 x 30 mm"
    assert found.optimizer.learning_rate == 5e-4, "that of the recipe in its model card"
    assert found.model.arguments["losses"] == {"ncc": 1, "diffusion": 1}


def test_a_preset_of_larger_organs_gives_its_number_of_voxels(volumes: Path, tmp_path: Path) -> None:
    found = loaded(new_recipe("affine-deformable-brain", volumes), tmp_path)
    assert (found.data.shape, found.data.spacing) == ((16, 32, 32), (3.0, 1.0, 1.0)), "not 2.5 mm, as for brains"


def test_limits_of_made_pairs_scale_with_the_grid(volumes: Path, tmp_path: Path) -> None:
    source, found = load_recipe("uw-nsd-ixi"), loaded(new_recipe("uw-nsd-ixi", volumes), tmp_path)
    before, after = (np.prod(np.multiply(r.data.shape, r.data.spacing)) ** (1 / 3) for r in (source, found))
    assert after == pytest.approx((36 * 20 * 30) ** (1 / 3), rel=0.01), "within the images"
    limits = [(r.data.synthetic.max_translation, r.data.synthetic.max_deformation) for r in (source, found)]
    assert limits[1] == pytest.approx(np.multiply(limits[0], after / before), rel=0.01)
    assert found.data.synthetic.max_rotation == source.data.synthetic.max_rotation


def test_a_preset_without_a_recipe_in_its_card(volumes: Path, tmp_path: Path) -> None:
    folder = tmp_path / "converted"
    folder.mkdir()
    for name in ("config.json", "preprocessing.json"):
        (folder / name).write_bytes((SHIPPED / "ddmr-hippocampus" / name).read_bytes())
    (folder / "model_card.md").write_text("# Converted\n\n```yaml\nnot: a recipe\n```\n", encoding="utf-8")
    found = loaded(new_recipe(folder, volumes), tmp_path)
    assert (found.training.steps, found.optimizer.learning_rate) == (1000, 2e-4)
    assert found.model.arguments["downsize"] == 2


def test_a_recipe_for_pictures_becomes_one_for_volumes(volumes: Path, tmp_path: Path) -> None:
    found = loaded(new_recipe("regnet-jsrt", volumes), tmp_path)
    assert (found.data.shape, found.data.spacing) == ((16, 32, 32), (3.0, 1.0, 1.0))


@pytest.mark.parametrize(
    ("source", "data", "message"),
    [
        ("acregnet-jsrt", "volumes", r"images with 3 axes, and the preset acregnet-jsrt for 2\. Choose another"),
        ("segmenter-shenzhen", "unlabelled", r"segmenter and pairs of data\.deformed need labels"),
        ("jrs-noseg-montgomery", "unlabelled", r"segmenter and pairs of data\.deformed need labels"),
        ("svfnet-hearts", "volumes", r"without the folder velocities\. Make them by `acreg data velocities`"),
        ("autoencoder-jsrt", "discs", r"starts from a registration model or a segmenter"),
        ("acregnet-jsrtt", "discs", r"Did you mean acregnet-jsrt\?"),
    ],
)
def test_what_does_not_fit_is_one_paragraph(
    source: str, data: str, message: str, request: pytest.FixtureRequest
) -> None:
    with pytest.raises(UsageError, match=message):
        new_recipe(source, request.getfixturevalue(data))


def test_losses_on_labels_are_known() -> None:
    autoencoder = LabelAutoencoder(shape=(16, 16), num_classes=2, code_size=2)
    models = [
        ACRegNet(num_classes=2, autoencoder=autoencoder, filters=(2, 2), network="unet"),
        AffineDeformableNet(rank=2, num_classes=2, filters=(2, 2), decoder=(2,)),
        JRSNet(num_classes=2, filters=2, blocks=1, discriminator_filters=2, losses={"ncc": 1}),
    ]
    on_labels = {loss.name for model in models for loss in model._own_losses.values() if loss.compares_labels}
    assert on_labels | set(LABEL_LOSSES) == losses_on_labels()


def test_validation_subjects_without_labels_do_not_join_a_training_with_labels(discs: Path, tmp_path: Path) -> None:
    dataset = Dataset.load(discs)
    records = [replace(record, labels=None) if record.split == "validation" else record for record in dataset.records]
    replace(dataset, folder=tmp_path / "half", records=records).save()
    found = loaded(new_recipe("acregnet-phantoms", tmp_path / "half"), tmp_path)
    assert (found.data.train_splits, found.data.validation_split) == (["train"], "none")
