"""Keras weights of VoxelMorph and DDMR as presets, against what the original programs computed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from acreg.applications.conversion.voxelmorph import convert_weights
from acreg.cli.main import main
from acreg.errors import AcregError, UsageError
from acreg.layers import functional
from acreg.models import DDMR, from_preset

PLAIN = ["vxm2d_disp", "vxm2d_rect_disp", "vxm3d_disp", "vxm3d_rect_disp"]
CASES = [
    *(f"v01_{name}" for name in [*PLAIN, "vxm2d_diffeo", "vxm3d_diffeo"]),
    *(f"v02_{name}" for name in ["vxm2d_diffeo", "vxm2d_rect_disp", "vxm3d_rect_disp"]),
]


@pytest.fixture(scope="module")
def original(reference_dir: Path) -> Path:
    """Files and arrays of the original programs."""
    return reference_dir / "voxelmorph_tf"


def pair(arrays: Any) -> dict[str, np.ndarray]:
    return {role: arrays[role][None, ..., None] for role in ("moving", "fixed")}


@pytest.mark.parametrize("case", CASES)
def test_field_and_warped_image_are_the_originals(case: str, original: Path, tmp_path: Path) -> None:
    made = convert_weights(original / f"{case}.h5", tmp_path / "preset")
    assert made.variables == 12
    model = from_preset(tmp_path / "preset")
    with np.load(original / f"v01_{case[4:]}.npz") as arrays:  # version 0.2 gave the same bits
        assert model.preprocessing.shape == arrays["fixed"].shape
        result = model(pair(arrays))
        np.testing.assert_allclose(result["warped"][0], arrays["output0"], atol=5e-5)
        flow, name = arrays["output1"], "velocity" if "diffeo" in case else "displacement"
        np.testing.assert_allclose(result[name][0], flow, atol=1e-4)  # voxels of its grid
        full = arrays["flow_full"] if "diffeo" in case else flow
        np.testing.assert_allclose(result["displacement"][0], full, atol=1e-4)
        labels = arrays["moving_label"][None, ..., None].astype(np.float32)
        warped = functional.warp(labels, result["displacement"], interpolation="nearest")
        assert np.mean(np.asarray(warped)[0, ..., 0] != arrays["warped_label_nearest"]) < 1e-4


@pytest.mark.parametrize("version", ["v01", "v02"])
def test_ddmrs_file_of_weights_alone(version: str, original: Path, tmp_path: Path) -> None:
    file, preset = original / f"{version}_liver_uw_ncc_ssim_dsc.h5", tmp_path / "preset"
    with pytest.raises(UsageError, match=r"without --shape\. Give --shape"):
        convert_weights(file, preset, "ddmr")
    assert not preset.exists()
    assert main(["convert", "ddmr-h5", str(file), str(preset), "--shape", "32,32,32"]) == 0
    model = from_preset(preset)
    assert (model.encoder, model.decoder, model.head) == ((8, 16, 16), (16, 16, 8), (8, 8))
    assert (model.preprocessing.shape, model.preprocessing.trim) == ((32, 32, 32), False)
    with np.load(original / "v01_ddmr_seg.npz") as arrays:
        result = model(pair(arrays))
        np.testing.assert_allclose(result["displacement"][0], arrays["output1"], atol=1e-4)
        one_hot = (arrays["moving_label"][..., None] == np.arange(1, 4)).astype(np.float32)[None]
        warped = functional.warp(one_hot, result["displacement"])
        np.testing.assert_allclose(warped[0], arrays["output2"], atol=1e-4)
    card = (preset / "model_card.md").read_text(encoding="utf-8")
    for words in (f"`{version}_liver_uw_ncc_ssim_dsc.h5`, all 18 variables", "Oslo-CoMet", "32 x 32 x 32", "may fold"):
        assert words in card


def test_register_uses_the_grid_and_intensities_of_training(original: Path, tmp_path: Path) -> None:
    convert_weights(original / "v01_vxm2d_diffeo.h5", tmp_path / "preset")
    model = from_preset(tmp_path / "preset")
    with np.load(original / "v01_vxm2d_diffeo.npz") as arrays:
        fixed, moving = arrays["fixed"], arrays["moving"]
    scaled = {"fixed": fixed, "moving": moving}
    scaled = {role: (image - image.min()) / np.ptp(image) for role, image in scaled.items()}
    expected = model(pair(scaled))["displacement"][0]
    np.testing.assert_allclose(model.register(fixed=100 * fixed, moving=moving - 3).displacement, expected, atol=1e-3)


# What is no file of theirs. Files are written here, so these need no reference.


def their_file(
    path: Path, prefix: str = "", config: dict[str, Any] | None = None, layers: tuple[str, ...] = ()
) -> Path:
    """A file as Keras 2 writes it, of a network with 2 levels and random weights."""
    rng = np.random.default_rng(0)
    shapes = {
        "unet_enc_conv_0_0": (2, 4),
        "unet_enc_conv_1_0": (4, 6),
        "unet_dec_conv_1_0": (6, 6),
        "unet_dec_conv_0_0": (12, 4),
        "unet_dec_final_conv_0": (8, 3),
        "flow": (3, 2),
    }
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [f"{prefix}{name}".encode() for name in ("source_input", *shapes, *layers)]
        if config is not None:
            file.attrs["model_config"] = json.dumps({"class_name": "VxmDense", "config": config})
        for name, (before, after) in shapes.items():
            group = f"{prefix}{name}/{prefix}{name}"
            file[f"{group}/kernel:0"] = rng.normal(size=(3, 3, before, after)).astype(np.float32)
            file[f"{group}/bias:0"] = rng.normal(size=after).astype(np.float32)
    return path


def test_own_file_with_nothing_but_weights(tmp_path: Path) -> None:
    file = their_file(tmp_path / "w.h5", "vxm_dense_", layers=("flow_resize", "flow_int", "diffflow"))
    with pytest.raises(UsageError, match="without --integration-steps.*mostly 7"):
        convert_weights(file, tmp_path / "preset", shape=(16, 24))
    with pytest.raises(UsageError, match="without --downsize.*mostly 2"):
        convert_weights(file, tmp_path / "preset", shape=(16, 24), integration_steps=5)
    with pytest.raises(UsageError, match=r"network of 2 axes.*\(16, 16, 16\)"):
        convert_weights(file, tmp_path / "preset", shape=(16, 16, 16))
    assert main(["convert", "voxelmorph-h5", str(file), str(tmp_path / "preset"), "--shape", "16;24"]) == 2
    assert not (tmp_path / "preset").exists()
    options = ["--shape", "16,24", "--integration-steps", "5", "--downsize", "2"]
    assert main(["convert", "voxelmorph-h5", str(file), str(tmp_path / "preset"), *options]) == 0
    model = from_preset(tmp_path / "preset")
    assert isinstance(model, DDMR)
    assert (model.get_config()["integration_steps"], model.downsize) == (5, 2)


@pytest.mark.parametrize(
    ("config", "layers", "steps", "downsize"),
    [
        ({"int_steps": 7, "int_downsize": 2}, (), 0, 1),  # not there, whatever the arguments say
        ({"int_steps": 6, "int_downsize": 1, "int_resolution": 2}, ("flow_int",), 6, 1),
        ({"int_steps": 6, "int_downsize": None, "int_resolution": 2}, ("flow_int", "flow_resize"), 6, 2),
    ],
)
def test_integration_is_read_from_layers_and_arguments(config, layers, steps, downsize, tmp_path: Path) -> None:
    file = their_file(tmp_path / "w.h5", config={"inshape": [16, 24], **config}, layers=layers)
    model = convert_weights(file, tmp_path / "preset").model
    assert (model.get_config()["integration_steps"], model.downsize) == (steps, downsize)
    with pytest.raises(UsageError, match=r"must not contradict the file. Received: --downsize 4 .* with [12]\."):
        convert_weights(file, tmp_path / "preset", downsize=4)


def _move(file: h5py.File, old: str, new: str) -> None:
    file.move(f"{old}/{old}", f"{new}/{new}")
    del file[old]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: f.pop("unet_enc_conv_0_0"), r"has 2 levels and lacks unet_enc_conv_0_0\."),
        (lambda f: f["flow/flow"].pop("bias:0"), r"1 missing \(flow/bias\)"),
        (lambda f: _move(f, "unet_dec_conv_0_0", "dense_1"), "lacks unet_dec_conv_0_0"),
        (
            lambda f: f.update({"log_sigma/log_sigma/kernel:0": np.zeros(3)}),
            r"1 not of this network \(log_sigma/kernel",
        ),
        (lambda f: f.update({"unet_enc_conv_0_1/x/kernel:0": np.zeros(3)}), r"1 not of this network \(x/kernel\)"),
        (
            lambda f: f["flow/flow"].update({"bias:0": np.zeros(3)}) if f["flow/flow"].pop("bias:0") else None,
            r"1 of another shape \(flow/bias \(3,\) instead of \(2,\)\)",
        ),
        (lambda f: f["flow/flow/bias:0"].write_direct(np.full(2, np.nan, np.float32)), r"1 not finite \(flow/bias\)"),
        (lambda f: f.pop("flow"), "ends with one convolution called flow. Received: .* with 0 among unet_dec"),
        (lambda f: f.attrs.pop("layer_names"), "Models of Keras 3 need no conversion"),
        (lambda f: f.attrs.update(model_config="{no json"), "legal JSON.*Received: the model_config of .*w.h5"),
        (
            lambda f: f.attrs.update(model_config='{"config": {"inshape": [16, 16], "unet_half_res": true}}'),
            "with unet_half_res=True",
        ),
    ],
    ids=[
        "no encoder level",
        "no bias",
        "no decoder level",
        "variance",
        "two convolutions",
        "another shape",
        "not finite",
        "no flow",
        "no layer names",
        "no JSON",
        "half resolution",
    ],
)
def test_layers_that_do_not_fit_are_named(change, said: str, tmp_path: Path) -> None:
    path = their_file(tmp_path / "w.h5")
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(AcregError, match=said):
        convert_weights(path, tmp_path / "preset", shape=(16, 16) if "half" not in said else None)
    assert not (tmp_path / "preset").exists()


def test_no_such_file_and_no_hdf5(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.h5").write_text("no weights")
    for name in ("text.h5", "absent.h5"):
        assert main(["convert", "voxelmorph-h5", str(tmp_path / name), str(tmp_path / "preset")]) == 1
        said = capsys.readouterr().err
        assert name in said and "HDF5" in said and said.count("\n") == 1
