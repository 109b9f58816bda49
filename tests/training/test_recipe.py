from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest
import yaml

from acreg.errors import UsageError
from acreg.models import JRSNet
from acreg.models.arguments import constructor_types
from acreg.training.build import build_optimizer, model_classes
from acreg.training.recipe import changed_keys, load_recipe, shipped_recipes

MODELS = ("regnet", "ce-regnet", "ae-regnet", "acregnet")
DATASETS = ("jsrt", "montgomery", "shenzhen", "phantoms")


def test_every_row_of_the_papers_table_ships() -> None:
    names = {f"{model}-{data}" for model in MODELS for data in DATASETS}
    names |= {f"{name}-paper" for name in names if not name.endswith("phantoms")}
    assert names | {f"acregnet-{data}-diffeomorphic" for data in DATASETS} <= set(shipped_recipes())


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_shipped_recipe_is_valid_and_its_resolved_form_is_the_same_recipe(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.description
    resolved = tmp_path / "recipe.yaml"
    resolved.write_text(recipe.to_yaml(), encoding="utf-8")
    assert load_recipe(resolved) == recipe


def test_paper_values() -> None:
    recipe = load_recipe("acregnet-jsrt-paper")
    assert recipe.data.shape == (64, 64)
    assert (recipe.optimizer.name, recipe.optimizer.learning_rate) == ("adam", 1e-3)
    assert (recipe.training.batch_size, recipe.training.steps) == (32, 18000)
    assert (recipe.autoencoder.batch_size, recipe.autoencoder.steps) == (16, 18000)
    assert (recipe.autoencoder.noise, recipe.autoencoder.noise_probability) == ("border", 0.1)
    losses = {"ncc": 1, "total_variation_sum": 5e-5, "cross_entropy": 1, "anatomical_prior": 0.1}
    assert recipe.model.arguments["losses"] == losses


def test_the_paper_of_jrsnet_has_its_own_optimiser_losses_and_discriminators() -> None:
    recipe, ours = load_recipe("jrsnet-paper-montgomery"), load_recipe("jrsnet-montgomery")
    optimizer = build_optimizer(recipe.optimizer, recipe.training.steps, recipe.training.steps_per_epoch)
    assert (float(optimizer.learning_rate), optimizer.beta_1, optimizer.clipnorm) == (pytest.approx(1e-3), 0.93, None)
    arguments = recipe.model.arguments
    assert (arguments["judged"], arguments["adversarial_loss"]) == ("outputs", "minimax")
    assert "losses" not in arguments and JRSNet.DEFAULT_LOSSES["cycle"] == 10  # the paper's are the default
    assert build_optimizer(ours.optimizer, 10, 5).beta_1 == 0.9 and "judged" not in ours.model.arguments


@pytest.mark.parametrize(
    ("model", "class_name", "label_losses"),
    [
        ("regnet", "RegNet", set()),
        ("ce-regnet", "ACRegNet", {"overlap"}),
        ("ae-regnet", "ACRegNet", {"anatomical_prior"}),
        ("acregnet", "ACRegNet", {"overlap", "anatomical_prior"}),
    ],
)
@pytest.mark.parametrize("data", [*DATASETS, *(f"{data}-paper" for data in DATASETS[:3])])
def test_ablations_differ_in_label_losses(data: str, model: str, class_name: str, label_losses: set[str]) -> None:
    recipe = load_recipe(f"{model}-{data}")
    assert recipe.data.dataset == data.removesuffix("-paper")
    assert recipe.model.class_name == class_name
    losses = set(recipe.model.arguments["losses"])
    assert "ncc" in losses
    assert ("cross_entropy" in losses) == ("overlap" in label_losses)
    assert ("anatomical_prior" in losses) == ("anatomical_prior" in label_losses)
    if data.endswith("-paper"):
        assert losses - {"cross_entropy", "anatomical_prior"} == {"ncc", "total_variation_sum"}
    assert (recipe.autoencoder is not None) == ("anatomical_prior" in label_losses)


def test_diffeomorphic_form_differs_in_the_velocity_and_the_steps() -> None:
    plain, diffeomorphic = load_recipe("acregnet-jsrt"), load_recipe("acregnet-jsrt-diffeomorphic")
    changed = changed_keys(plain.resolved(), diffeomorphic.resolved())
    wanted = ["model.arguments.integration_steps", "model.arguments.symmetric"]
    assert changed == ["description", *wanted, "name", "training.steps"]


def test_overrides_are_yaml_values() -> None:
    changes = [
        "training.steps=1500",
        "optimizer.learning_rate=5e-4",
        "model.arguments.losses.diffusion=1e-1",
        "model.arguments.losses.total_variation_sum=null",
        "data.train_splits=[train, validation]",
        "autoencoder.noise=pair_swap",
    ]
    recipe = load_recipe("acregnet-jsrt-paper", changes)
    assert recipe.training.steps == 1500
    assert recipe.optimizer.learning_rate == 5e-4
    assert recipe.model.arguments["losses"]["diffusion"] == 0.1
    assert "total_variation_sum" not in recipe.model.arguments["losses"]
    assert recipe.data.train_splits == ["train", "validation"]
    assert (recipe.autoencoder.noise, recipe.autoencoder.steps) == ("pair_swap", 18000)


def test_autoencoder_may_be_a_preset() -> None:
    assert load_recipe("acregnet-jsrt", ["autoencoder=runs/first/autoencoder"]).autoencoder == "runs/first/autoencoder"


def test_a_run_shorter_than_an_epoch_is_one_epoch() -> None:
    assert load_recipe("acregnet-jsrt", ["training.steps=30"]).training.epochs == 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.step=3", r"training\.step on the command line\. Did you mean training\.steps\? Known: batch_size"),
        ("trainin.steps=3", r"Did you mean training\? Known: autoencoder, data,"),
        ("data.augmentation.gama=1", r"Did you mean data\.augmentation\.gamma\?"),
        ("autoencoder.codesize=3", r"Did you mean autoencoder\.code_size\?"),
        ("model.arguments.filter=[2]", r"arguments of ACRegNet\. Received: filter\. Did you mean filters\?"),
        ("model.class=ACRegNett", r"Did you mean ACRegNet\? Known: ACRegNet, AffineDeformableNet, DDMR, DIRNet, "),
        ("model.arguments.num_classes=4", r"num_classes follows from the recipe's other sections"),
        ("start.freeze=[encoder]", r"start\.from: Field required"),
        ("start={from: a, freeze_steps: 500}", r"freeze_steps needs the parts to freeze"),
        ("start={from: a, freeze: [encoder], freeze_steps: 750}", r"\(750\) must be a multiple of .* \(500\)"),
        ("start={from: a, freeze: [encoder], freeze_steps: 18000}", r"fewer than training\.steps \(18000\)"),
        ("optimizer={schedule: plateau, warmup_steps: 5}", r"warmup_steps must be 0 with schedule plateau, not 5"),
        ("optimizer.gradient_accumulation_steps=1", r"gradient_accumulation_steps=1: .*greater than or equal to 2"),
        ("training.steps=750", r"steps \(750\) must be a multiple of steps_per_epoch \(500\)"),
        ("training.batch_size=many", r"training\.batch_size=many: Input should be a valid integer"),
        ("autoencoder.steps=-1", r"autoencoder\.steps=-1: Input should be greater"),
        ("data.shape=[64]", r"shape must be 2 or 3 sizes"),
        ("training.steps", r"form key=value"),
        ("training.steps=[1", r"must be legal YAML"),
    ],
)
def test_a_wrong_override_is_refused_by_name(override: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_recipe("acregnet-jsrt-paper", [override])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trainning: {steps: 3}", r"trainning in .*mine\.yaml\. Did you mean training\?"),
        ("extends: other.yaml", r"`extends` must name a file"),
        ("extends: mine.yaml", r"must not extend itself"),
        ("extends: 3", r"`extends` must be a file name or a list"),
        ("- a\n- b", r"must hold keys and values"),
        ("a: [", r"must be legal YAML"),
        ("", r"must hold keys and values"),
        ("training: {steps: 10}", r"data: Field required"),
        ("!!python/object/apply:os.getcwd []", r"must be legal YAML"),
    ],
)
def test_a_wrong_file_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=message):
        load_recipe(path)


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"Did you mean acregnet-jsrt\?"):
        load_recipe("acregnet-jsrtt")


def test_extends_merges_deeply_and_null_takes_out(tmp_path: Path) -> None:
    one = {"data": {"dataset": "a", "augmentation": {"gamma": 0.1, "noise": 0.2}}, "training": {"steps": 10}}
    two = {"extends": "one.yaml", "data": {"augmentation": {"gamma": None, "noise": 0.3}}, "optimizer": {"clipnorm": 1}}
    for name, values in (("one", one), ("two", two)):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    recipe = load_recipe(tmp_path / "two.yaml")
    assert recipe.name == "two"
    assert (recipe.data.augmentation.gamma, recipe.data.augmentation.noise) == (0.0, 0.3)
    assert (recipe.data.dataset, recipe.training.steps, recipe.optimizer.clipnorm) == ("a", 10, 1.0)


def test_refuses_to_be_imported_under_another_name(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(repository / "acreg"))  # as through the link at the root
    monkeypatch.delitem(sys.modules, "experiments", raising=False)
    with pytest.raises(ImportError, match=r"acreg\.experiments"):
        importlib.import_module("experiments")


def test_options_that_all_models_share_may_be_set(tmp_path: Path) -> None:
    known = set(constructor_types(model_classes()["AffineDeformableNet"]))
    assert {"filters", "losses", "weighting", "labels_per_step", "integration_steps"} <= known
    assert not {"network", "multiple", "kwargs"} & known
    assert "network" in constructor_types(model_classes()["RegNet"])


SMALL = "data: {dataset: mine}\ntraining: {steps: 10}\n"


@pytest.mark.parametrize("name", ["../../x", "/abs", "a/b", "..", ".", "", ".hidden", "con", "a\\b", "x" * 300, "a\nb"])
def test_a_name_stays_in_the_folder_of_runs(name: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(SMALL + yaml.safe_dump({"name": name}), encoding="utf-8")
    with pytest.raises(UsageError, match="name=.*becomes a folder's"):
        load_recipe(path)
    path.write_text(SMALL, encoding="utf-8")
    with pytest.raises(UsageError, match="name=.*becomes a folder's"):
        load_recipe(path, [f"name={json.dumps(name)}"])


@pytest.mark.parametrize(
    "override",
    [
        "training.steps=99999999999999999999",
        "training.batch_size=1000000000000",
        "optimizer.learning_rate=.inf",
        "optimizer.learning_rate=.nan",
        "optimizer.learning_rate=1e999",
        "data.shape=[1000000, 1000000]",
        "data.shape=[64, nan]",
        "data.augmentation.gamma=.inf",
        "data.dataset=[a, b]",
        "description=" + "x" * 20_000,
        "model.arguments.filters=[1000000000, 4]",
        "model.arguments.filters=many",
        "model.arguments.filters=[-4, 8]",
        "model.arguments.integration_steps=1000000",
        "model.arguments.losses=ncc",
        "model.arguments.losses={ncc: .inf}",
        "model.arguments.dropout=half",
        "model.arguments.network=[unet]",
        "model.arguments=[1]",
        "model.class=[RegNet]",
        "model.class=os.system",
        "model." + ".".join("a" * 5000) + "=1",
        "data.shape=" + "[" * 5000,
        "data.shape=&a [*a]",
        "data.shape=!!python/object/apply:os.system [ls]",
        "data={dataset: a, dataset: b}",
        "seed=2020-02-30",
        "[1]=2",
    ],
)
def test_values_that_cannot_be(override: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(SMALL, encoding="utf-8")
    with pytest.raises(UsageError, match="Received: ") as caught:
        load_recipe(path, [override])
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1500


def test_files_that_extend_each_other_many_times(tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"{number}.yaml").write_text(f"extends: [{number + 1}.yaml, {number + 1}.yaml]\n", encoding="utf-8")
    (tmp_path / "40.yaml").write_text(SMALL, encoding="utf-8")
    with pytest.raises(UsageError, match="at most 32 files"):
        load_recipe(tmp_path / "0.yaml")
    (tmp_path / "a.yaml").write_text("extends: b.yaml\n", encoding="utf-8")
    (tmp_path / "b.yaml").write_text("extends: a.yaml\n", encoding="utf-8")
    with pytest.raises(UsageError, match="must not extend itself"):
        load_recipe(tmp_path / "a.yaml")
    for name in ("/etc/passwd", "../../etc/passwd", "."):
        (tmp_path / "a.yaml").write_text(f"extends: {name}\n", encoding="utf-8")
        with pytest.raises(UsageError, match="`extends` must name a file"):
            load_recipe(tmp_path / "a.yaml")


def test_a_description_is_of_the_data_that_it_was_written_for(tmp_path: Path) -> None:
    about = load_recipe("acregnet-phantoms").description
    assert "phantoms" in about
    assert load_recipe("acregnet-phantoms", ["training.steps=1000", "data.dataset=phantoms"]).description == about
    assert load_recipe("acregnet-phantoms", ["data.dataset=mine"]).description == ""
    assert load_recipe("acregnet-phantoms", ["data.dataset=mine", "description=My chests."]).description == "My chests."
    path = tmp_path / "mine.yaml"
    path.write_text(f"extends: {shipped_recipes()['acregnet-phantoms']}\ndata: {{dataset: mine}}\n", encoding="utf-8")
    assert load_recipe(path).description == ""


def test_extends_takes_shipped_recipes_and_prefers_files_beside(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("extends: [acregnet-jsrt, acregnet-phantoms.yaml]\n", encoding="utf-8")
    (tmp_path / "acregnet-phantoms.yaml").write_text("name: theirs\ndata: {dataset: beside}\n", encoding="utf-8")
    found = load_recipe(path)
    assert (found.name, found.description, found.data.dataset) == ("mine", "", "beside")
    assert found.model == load_recipe("acregnet-jsrt").model
    path.write_text("extends: acregnet-jsrtt\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"or a shipped recipe\. Received: acregnet-jsrtt .* Did you mean acregnet-j"):
        load_recipe(path)
