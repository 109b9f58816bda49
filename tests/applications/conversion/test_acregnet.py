"""The authors' TensorFlow 1 checkpoints as presets, against what their program computed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from acreg.applications.conversion.acregnet import convert_checkpoint
from acreg.applications.conversion.tf1_checkpoint import read_checkpoint
from acreg.cli.main import main
from acreg.errors import AcregError
from acreg.geometry import warp_array
from acreg.layers import functional
from acreg.losses import ncc, total_variation_sum
from acreg.models import ACRegNet, LabelAutoencoder, from_preset

tf = pytest.importorskip("tensorflow")


@pytest.fixture(scope="module")
def original(reference_dir: Path) -> Path:
    """Checkpoints and arrays of the original program."""
    return reference_dir / "acregnet_tf1"


@pytest.fixture(scope="module")
def io64(original: Path) -> dict[str, np.ndarray]:
    with np.load(original / "io64.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def presets(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both checkpoints, converted by the command; the network's preset includes the autoencoder."""
    folder = tmp_path_factory.mktemp("presets")
    command = ["convert", "acregnet-tf1"]
    assert main([*command, str(original / "autoencoder"), str(folder / "autoencoder")]) == 0
    assert main([*command, str(original / "registration/model.ckpt"), str(folder / "plain")]) == 0
    with_prior = ["--autoencoder", str(folder / "autoencoder")]
    files = [str(original / "registration/model.ckpt.index"), str(folder / "full")]
    assert main([*command, *files, *with_prior]) == 0
    return folder


def batch(io64: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    images = {role: io64[role].astype(np.float32)[..., None] / 255 for role in ("moving", "fixed")}
    labels = {f"{role}_labels": io64[f"{role}_label"].astype(np.int32)[..., None] for role in ("moving", "fixed")}
    return images | labels


@pytest.mark.parametrize("name", ["plain", "full"])
def test_field_and_warped_image_are_the_originals(name: str, presets: Path, io64: dict[str, np.ndarray]) -> None:
    model = from_preset(presets / name)
    result = model({k: v for k, v in batch(io64).items() if "labels" not in k})
    np.testing.assert_allclose(result["displacement"], io64["field"], atol=1e-4)  # voxels
    np.testing.assert_allclose(result["warped"][..., 0], np.squeeze(io64["warped"]), atol=5e-5)


def test_codes_and_logits_are_the_originals(presets: Path, io64: dict[str, np.ndarray]) -> None:
    model = from_preset(presets / "autoencoder")
    fixed = io64["fixed_label"].astype(np.int32)[..., None]
    np.testing.assert_allclose(model.encode(fixed), io64["ae_code_fixed"], rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(model(fixed), io64["ae_logits_fixed"], rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(model.encode(io64["warped_onehot"]), io64["ae_code_warped"], rtol=1e-5, atol=1e-4)


def test_losses_are_the_originals(presets: Path, io64: dict[str, np.ndarray]) -> None:
    model = from_preset(presets / "full")
    x = batch(io64)
    terms = model.loss_terms(x, model(x))
    theirs_ncc, theirs_tv, theirs_entropy, theirs_codes, _ = np.asarray(io64["losses"], np.float64).reshape(-1)[:5]
    assert 1 - float(terms["ncc"]) == pytest.approx(theirs_ncc, abs=1e-5)
    assert float(terms["total_variation_sum"]) == pytest.approx(theirs_tv, rel=1e-5)
    assert float(terms["anatomical_prior"]) == pytest.approx(theirs_codes, rel=1e-4)
    # Theirs takes the warped one-hot labels as logits; ours takes them as the probabilities that they are.
    warped_labels = functional.warp(model.one_hot(x["moving_labels"]), model(x)["displacement"])
    np.testing.assert_allclose(warped_labels, io64["warped_onehot"], atol=1e-4)
    entropy = keras.losses.categorical_crossentropy(model.one_hot(x["fixed_labels"]), warped_labels, from_logits=True)
    assert float(np.mean(entropy)) == pytest.approx(theirs_entropy, abs=5e-5)
    # The same losses of images and fields, on the arrays of the original alone.
    field, warped = io64["field"], np.squeeze(io64["warped"])[..., None].astype(np.float32)
    assert float(np.mean(total_variation_sum(field))) == pytest.approx(theirs_tv, rel=1e-6)
    assert 1 - float(np.mean(ncc(x["fixed"], warped))) == pytest.approx(theirs_ncc, abs=1e-5)


def test_register_of_a_preset_is_the_originals_field(presets: Path, io64: dict[str, np.ndarray]) -> None:
    model = from_preset(presets / "plain")
    assert model.preprocessing.intensity == "divide_by_255"
    assert model.preprocessing.label_names[3] == "heart"
    transform = model.register(fixed=io64["fixed"][0], moving=io64["moving"][0])
    np.testing.assert_allclose(transform.displacement, io64["field"][0], atol=1e-4)
    warped = warp_array(io64["moving"][0].astype(np.float32) / 255, transform.displacement)
    np.testing.assert_allclose(warped, np.squeeze(io64["warped"])[0], atol=5e-5)


def test_every_variable_of_the_checkpoint_is_used(presets: Path, original: Path) -> None:
    listed = json.loads((original / "variables.json").read_text(encoding="utf-8"))
    for name, scope in (("plain", "VectorCNN"), ("autoencoder", "CNN_AE")):
        expected = sum(int(np.prod(entry["shape"])) for key, entry in listed.items() if key.startswith(scope))
        model = from_preset(presets / name)
        count = sum(int(np.prod(w.shape)) for w in model.weights if "seed" not in w.name)
        assert count == expected == {"plain": 489_992, "autoencoder": 41_320}[name]


def test_model_cards_say_where_the_weights_come_from(presets: Path) -> None:
    for name in ("plain", "autoencoder"):
        card = (presets / name / "model_card.md").read_text(encoding="utf-8")
        assert "weights that the authors of AC-RegNet published" in card
        for word in ("JSRT", "MIT, L. Mansilla", "64 x 64", "1 left lung"):
            assert word in card


# What is no checkpoint of theirs. Checkpoints are written here, so these need no reference.


def write_checkpoint(prefix: Path, variables: dict[str, np.ndarray]) -> Path:
    from tensorflow.raw_ops import SaveV2

    names = list(variables)
    SaveV2(prefix=str(prefix), tensor_names=names, shape_and_slices=[""] * len(names), tensors=list(variables.values()))
    return prefix


def their_variables(model: ACRegNet | LabelAutoencoder) -> dict[str, np.ndarray]:
    """Our model's weights under the authors' names."""
    from acreg.applications.conversion import acregnet as module

    rng = np.random.default_rng(0)
    if isinstance(model, ACRegNet):
        names = module._network({}, None)[1]
    else:
        shapes = {
            "CNN_AE/conv1_a/weights": np.zeros((3, 3, model.num_classes, 16)),
            "CNN_AE/fc1/kernel": np.zeros((np.prod(model.shape) // 64, model.code_size)),
        }
        names = module._autoencoder(shapes, "")[1]
    return {name: rng.uniform(0.1, 1.0, variable.shape).astype(np.float32) for name, variable in names.items()}


@pytest.fixture
def network_variables() -> dict[str, np.ndarray]:
    return their_variables(ACRegNet(4, losses={"ncc": 1}, head_batch_norm=True))


def test_own_checkpoint_of_another_size_and_label_set(tmp_path: Path) -> None:
    variables = their_variables(LabelAutoencoder((32, 32), num_classes=2, code_size=8))
    prefix = write_checkpoint(tmp_path / "model.ckpt", variables)
    made = convert_checkpoint(prefix, tmp_path / "preset")
    assert (made.model.shape, made.model.num_classes, made.model.code_size) == ((32, 32), 2, 8)
    assert made.variables == 56
    assert not made.published
    model = from_preset(tmp_path / "preset")
    np.testing.assert_array_equal(model.decoder.get_layer("logits").bias, variables["CNN_AE/conv_out/biases"])
    np.testing.assert_array_equal(
        model.encoder.get_layer("encoder2_bn").moving_variance, variables["CNN_AE/conv1_b/bn/moving_variance"]
    )
    card = (tmp_path / "preset/model_card.md").read_text(encoding="utf-8")
    assert "not the one that they published" in card
    assert "JSRT" not in card.split("Limits")[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: v.pop("VectorCNN/conv3_a/bn/gamma"), r"1 missing \(VectorCNN/conv3_a/bn/gamma\)"),
        (lambda v: v.update({"VectorCNN/conv9/weights": np.zeros(3, np.float32)}), "1 not of this network .*conv9"),
        (
            lambda v: v.update({"VectorCNN/conv_out/weights": np.zeros((3, 3, 16, 3), np.float32)}),
            r"conv_out/weights \(3, 3, 16, 3\) instead of \(3, 3, 16, 2\)",
        ),
        (lambda v: v["VectorCNN/conv1_a/bn/beta"].fill(np.nan), "1 not finite"),
    ],
    ids=["missing", "left over", "another shape", "not finite"],
)
def test_variables_that_do_not_fit_are_named(change, said: str, network_variables, tmp_path: Path) -> None:
    change(network_variables)
    prefix = write_checkpoint(tmp_path / "model.ckpt", network_variables)
    with pytest.raises(AcregError, match=said):
        convert_checkpoint(prefix, tmp_path / "preset")
    assert not (tmp_path / "preset").exists()


def test_checkpoint_of_something_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prefix = write_checkpoint(tmp_path / "model.ckpt", {"dense/kernel": np.ones((2, 2), np.float32)})
    assert main(["convert", "acregnet-tf1", str(prefix), str(tmp_path / "preset")]) == 1
    said = capsys.readouterr().err
    assert "VectorCNN/" in said and "dense/kernel" in said and said.count("\n") == 1
    assert not (tmp_path / "preset").exists()


def test_path_may_be_prefix_file_or_folder(tmp_path: Path) -> None:
    prefix = write_checkpoint(tmp_path / "model.ckpt", {"a": np.ones(2, np.float32)})
    for path in (prefix, f"{prefix}.index", f"{prefix}.data-00000-of-00001", tmp_path):
        np.testing.assert_array_equal(read_checkpoint(path)["a"], [1, 1])


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(AcregError, match="no model.ckpt.index"):
        read_checkpoint(tmp_path / "model.ckpt")
    with pytest.raises(AcregError, match="exactly one.*no file that ends in .index"):
        read_checkpoint(tmp_path)
    prefix = write_checkpoint(tmp_path / "model.ckpt", {"a": np.ones(2000, np.float32)})
    data = tmp_path / "model.ckpt.data-00000-of-00001"
    shutil.copy(f"{prefix}.index", tmp_path / "other.index")
    with pytest.raises(AcregError, match="exactly one.*model.ckpt, other"):
        read_checkpoint(tmp_path)
    with pytest.raises(AcregError, match="the first alone"):
        read_checkpoint(tmp_path / "other")
    data.write_bytes(data.read_bytes()[:100])
    with pytest.raises(AcregError, match="whole and belong together"):
        read_checkpoint(prefix)
    (tmp_path / "model.ckpt.index").write_text("not an index")
    with pytest.raises(AcregError, match="whole and belong together"):
        read_checkpoint(prefix)


def test_autoencoder_option_needs_an_autoencoder(tmp_path: Path, network_variables) -> None:
    prefix = write_checkpoint(tmp_path / "model.ckpt", network_variables)
    convert_checkpoint(prefix, tmp_path / "network")
    network = str(tmp_path / "network")
    assert main(["convert", "acregnet-tf1", str(prefix), str(tmp_path / "o"), "--autoencoder", network]) == 2
    assert not (tmp_path / "o").exists()
