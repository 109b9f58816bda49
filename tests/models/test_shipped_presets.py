"""The presets that ship: small, described, and good on real pairs that they were not trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from acreg.data.manifest import Dataset
from acreg.data.phantoms.chests import chest_phantom
from acreg.data.phantoms.hearts import heart_phantom
from acreg.data.prepare.pictures import prepare
from acreg.data.sampling.deformation import RandomDeformation
from acreg.data.sampling.synthesis import synthesize
from acreg.evaluation.pairs import choose_pairs
from acreg.geometry import Grid
from acreg.inference.presets import SHIPPED
from acreg.io import Image, Preprocessing
from acreg.metrics import label_metrics, mean_over_labels
from acreg.models import LabelAutoencoder, Segmenter, from_preset
from acreg.registration.usual import Usual

NAMES = [
    "acregnet-jsrt",
    "acregnet-jsrt-diffeomorphic",
    "acregnet-montgomery",
    "acregnet-shenzhen-diffeomorphic",
    "affine-deformable-brain",
    "autoencoder-jsrt",
    "autoencoder-montgomery",
    "ddmr-hippocampus",
    "ddmr-ixi",
    "ddmr-ixi-self-supervised",
    "jrsnet-montgomery",
    "segmenter-heads",
    "segmenter-hearts",
    "segmenter-hippocampus",
    "segmenter-jsrt",
    "segmenter-montgomery",
    "segmenter-shenzhen",
    "svfnet-hearts",
    "svfnet-hippocampus",
]
REGISTERING = [name for name in NAMES if not name.startswith(("autoencoder", "segmenter"))]


def test_these_ship() -> None:
    assert sorted(path.name for path in SHIPPED.iterdir() if path.is_dir()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_they_are_small_and_described(name: str, repository: Path) -> None:
    folder = SHIPPED / name
    assert sum(path.stat().st_size for path in folder.iterdir()) < 3_000_000
    card = (folder / "model_card.md").read_text(encoding="utf-8")
    for part in (f"# {name}:", "Licence of the data", "Seed 0", "## Scores", "## Recipe", "## Limits"):
        assert part in card
    pages = [repository / "README.md", *(repository / "docs" / "models").glob("*.md")]
    assert any(f"`{name}`" in page.read_text(encoding="utf-8") for page in pages)


@pytest.mark.parametrize("name", [n for n in NAMES if not n.startswith("autoencoder")])
def test_they_state_what_is_usual_for_them(name: str) -> None:
    usual = Usual.of_preset(SHIPPED / name)
    assert (
        usual is not None
        and usual.pairs >= (8 if name.startswith("segmenter") else 50)
        and usual.data.endswith(", train")
    )
    assert 0 < usual.ncc < 1 < usual.nmi < 2 and 0 <= usual.folded_percent < 20


@pytest.mark.parametrize("name", REGISTERING)
def test_they_know_their_anatomy_from_others(name: str) -> None:
    """A phantom of the organ, which no preset but svfnet-hearts saw, another organ, and the organ upside down."""
    usual, preprocessing = (
        Usual.of_preset(SHIPPED / name),
        Preprocessing.from_json(SHIPPED / name / "preprocessing.json"),
    )
    assert usual is not None and usual.inputs is not None and usual.inputs.images >= 8
    heart, chest = heart_phantom(200).image, chest_phantom(200, (96, 96)).image
    direction = ((-1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))  # as in the dataset
    volume = Image(heart, Grid(heart.shape, (8.0, 1.75, 1.75), direction=direction))
    strange = Image.from_array(heart[len(heart) // 2])
    if len(preprocessing.shape) == 3:
        strange = Image.from_array(np.tile(chest, (40, 1, 1))) if name == "svfnet-hearts" else volume
    inputs = usual.inputs
    assert inputs.unlikeness(preprocessing.apply(strange)) > inputs.limit
    known = {"svfnet-hearts": volume, "acregnet-jsrt": Image.from_array(chest)}.get(name)
    if known is not None:
        assert inputs.unlikeness(preprocessing.apply(known)) < inputs.limit
        turned = Image(np.ascontiguousarray(known.array[..., ::-1, :]), known.grid)
        assert inputs.unlikeness(preprocessing.apply(turned)) > inputs.limit


@pytest.mark.parametrize("name", ["autoencoder-jsrt", "autoencoder-montgomery"])
def test_an_autoencoder_is_the_prior_of_its_network(name: str) -> None:
    alone = from_preset(name)
    assert isinstance(alone, LabelAutoencoder)
    prior = from_preset(name.replace("autoencoder", "acregnet")).autoencoder
    for a, b in zip(alone.get_weights(), prior.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def _mean_scores(name: str, dataset: Dataset, pairs: int) -> dict[str, float]:
    model = from_preset(name)
    scores = []
    for fixed, moving in choose_pairs(str(pairs), [record.subject for record in dataset.split("test")], seed=0):
        a, b = dataset.record(fixed), dataset.record(moving)
        transform = model.register(fixed=dataset.read_image(a), moving=dataset.read_image(b))
        warped, truth = transform.warp_labels(dataset.read_labels(b)), dataset.read_labels(a)
        per_label = label_metrics(warped.array, truth.array, dataset.label_values[1:], truth.grid.spacing)
        scores.append({**mean_over_labels(per_label), **transform.folding()})
    return {key: float(np.mean([score[key] for score in scores])) for key in scores[0]}


MOVES = {
    "acregnet-jsrt": 8.5,
    "acregnet-jsrt-diffeomorphic": 1e-3,
    "acregnet-shenzhen-diffeomorphic": 1e-3,
    "acregnet-montgomery": 7.5,
    "jrsnet-montgomery": 6.5,
    "svfnet-hearts": 6.0,
    "ddmr-hippocampus": 5.5,
    "svfnet-hippocampus": 3.5,
}
"""How far an image that is registered onto itself moves at most, in voxels of the network's grid. Right is 0."""


@pytest.mark.parametrize("name", MOVES)
def test_an_image_onto_itself_moves_no_farther_than_it_is_known_to(name: str, request: pytest.FixtureRequest) -> None:
    images: list[Image]
    if "hippocampus" in name:
        folder = request.getfixturevalue("data_dir") / "hippocampus"
        if not (folder / "manifest.csv").is_file():
            pytest.skip("hippocampus is not on this machine")
        dataset = Dataset.load(folder)
        images = [dataset.read_image(record) for record in dataset.split("test")[:4]]
    elif name == "svfnet-hearts":
        spacing = (8.0, 1.75, 1.75)
        images = [Image.from_array(heart_phantom((0, number)).image, spacing) for number in (16, 17)]
    else:
        images = [Image.from_array(chest_phantom((0, number), (128, 128)).image) for number in range(48, 52)]
    model = from_preset(name)
    farthest = 0.0
    for image in images:
        found = model.register(fixed=image, moving=image)
        voxels = found.displacement * np.array(image.grid.spacing) / model.preprocessing.grid(image).spacing
        farthest = max(farthest, float(np.linalg.norm(voxels, axis=-1).max()))
    assert farthest < MOVES[name]


def test_montgomery(data_dir: Path, tmp_path: Path) -> None:
    dataset = prepare("montgomery", data_dir / "chest_montgomery", tmp_path)
    scores = _mean_scores("acregnet-montgomery", dataset, 12)
    assert scores["dsc"] > 0.95 and scores["assd"] < 2.65

    pairs = synthesize(dataset, tmp_path / "pairs", count=8, deformed=RandomDeformation(rotation=(5, 30)))
    model, found = from_preset("jrsnet-montgomery"), []
    for fixed, moving in zip(pairs.records[::2], pairs.records[1::2], strict=True):
        images = [pairs.read_image(record) for record in (fixed, moving)]
        labels = [pairs.read_labels(record) for record in (fixed, moving)]
        warped = model.register(fixed=images[0], moving=images[1]).warp_labels(labels[1])
        masks = (labels[1].array, warped.array, model.segment(fixed=images[0], moving=images[1]).array)
        found.append([label_metrics(mask, labels[0].array, [1])[1]["dsc"] for mask in masks])
    before, after, shown = np.mean(found, axis=0)
    assert before < 0.7 and after > 0.85 and shown > 0.9


def test_jsrt(jsrt_dir: Path) -> None:
    dataset = Dataset.load(jsrt_dir)
    scores = _mean_scores("acregnet-jsrt", dataset, 12)
    assert scores["dsc"] > 0.943 and scores["assd"] < 3.34
    scores = _mean_scores("acregnet-jsrt-diffeomorphic", dataset, 12)
    assert scores["dsc"] > 0.93 and scores["folded_percent"] < 0.01


def test_hippocampus(data_dir: Path) -> None:
    """The folder of the data is read as it is; centroids come nearer, nothing folds."""
    if not (data_dir / "hippocampus" / "manifest.csv").is_file():
        pytest.skip("hippocampus is not on this machine")
    scores = _mean_scores("ddmr-hippocampus", Dataset.load(data_dir / "hippocampus"), 12)
    assert scores["dsc"] > 0.79 and scores["assd"] < 0.85 and scores["folded_percent"] < 0.1


def _segmented(name: str, dataset: Dataset, count: int) -> float:
    """The mean Dice of a segmenter's label maps of the first test images."""
    model, found = from_preset(name), []
    assert isinstance(model, Segmenter)
    for record in dataset.split("test")[:count]:
        labels = dataset.read_labels(record)
        array = model.segment(dataset.read_image(record)).array
        scores = label_metrics(array, labels.array, dataset.label_values[1:], labels.grid.spacing)
        found.append(mean_over_labels(scores)["dsc"])
    return float(np.mean(found))


def test_segmenters(data_dir: Path, tmp_path: Path) -> None:
    assert _segmented("segmenter-montgomery", prepare("montgomery", data_dir / "chest_montgomery", tmp_path), 8) > 0.96
    if not (data_dir / "hippocampus" / "manifest.csv").is_file():
        pytest.skip("hippocampus is not on this machine")
    assert _segmented("segmenter-hippocampus", Dataset.load(data_dir / "hippocampus"), 8) > 0.85


def test_segmenters_of_hearts_and_of_heads(data_dir: Path, tmp_path: Path) -> None:
    if not (data_dir / "cardiac_sunnybrook" / "manifest.csv").is_file():
        pytest.skip("the volumes are not on this machine")
    assert _segmented("segmenter-hearts", Dataset.load(data_dir / "cardiac_sunnybrook"), 7) > 0.7


def test_a_segmenter_of_jsrt(jsrt_dir: Path) -> None:
    assert _segmented("segmenter-jsrt", Dataset.load(jsrt_dir), 8) > 0.95


def test_brains(data_dir: Path) -> None:
    """Heads that lie anywhere in the scanner, read as they are."""
    if not (data_dir / "brain_oasis_trt" / "manifest.csv").is_file():
        pytest.skip("brain_oasis_trt is not on this machine")
    scores = _mean_scores("affine-deformable-brain", Dataset.load(data_dir / "brain_oasis_trt"), 2)
    assert scores["dsc"] > 0.42 and scores["folded_percent"] < 0.01
