"""The Dockerfile, its locks and the examples of jobs, against the package that they are for."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from typer.testing import CliRunner

from acreg.cli.main import app
from acreg.errors import AcregError, Requeue, UsageError
from acreg.training.recipe import load_recipe


def locked(path: Path) -> dict[str, str]:
    """Version by name; every line of the lock is a package with its hashes."""
    packages = {}
    for entry in path.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        name, version = re.fullmatch(r"([a-z0-9-]+)==(\S+)(?:\s+--hash=sha256:[0-9a-f]{64})+\s*", entry).groups()
        packages[name] = version
    return packages


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_locks_fit_what_the_package_needs(target: str, repository: Path) -> None:
    setup = configparser.ConfigParser()
    setup.read(repository / "setup.cfg", encoding="utf-8")
    versions = locked(repository / "docker" / f"{target}.lock")
    if target == "cpu":
        versions["tensorflow"] = versions["tensorflow-cpu"]
    else:
        assert {"nvidia-cudnn-cu12", "nvidia-cuda-runtime-cu12", "nvidia-nccl-cu12"} <= versions.keys()
    for line in setup["options"]["install_requires"].split("\n"):
        if line and not line.startswith("#"):
            needed = Requirement(line)
            assert versions[canonicalize_name(needed.name)] in needed.specifier, f"{needed}: run `make locks`"
    build = locked(repository / "docker" / "build.lock")
    assert build.items() <= versions.items()  # else the second installation would replace the first


def test_the_dockerfile_copies_what_is_there_and_the_whole_package(repository: Path) -> None:
    text = (repository / "Dockerfile").read_text(encoding="utf-8")
    copied = [name for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.M) for name in line.split()[:-1]]
    assert [name for name in copied if not (repository / name).exists()] == []
    links = {path.name for path in (repository / "acreg").iterdir() if path.is_symlink()}
    assert links <= set(copied)
    assert text.split("\nFROM ")[-1].startswith("runtime AS cpu"), "the last stage is what is built by default"


def check_training(words: list[str]) -> None:
    """A `train` with options and a recipe that are there, and that may be given again."""
    assert words[0] == "train"
    said = CliRunner().invoke(app, ["train", "--help"]).output
    assert {word for word in words if word.startswith("-")} <= set(re.findall(r"--[a-z]+", said))
    assert "--resume" in words
    assert load_recipe(words[1]).name == words[1]


def test_the_slurm_script_calls_the_program_and_knows_its_exit_code(repository: Path) -> None:
    script = repository / "docs" / "how-to" / "jobs" / "train.slurm"
    text = script.read_text(encoding="utf-8")
    (line,) = re.findall(r"^srun acreg (.+)$", text, re.M)
    check_training(shlex.split(line))
    assert f"-eq {Requeue.exit_code} " in text
    if (bash := shutil.which("bash")) is not None:
        done = subprocess.run([bash, "-n", str(script)], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")


def test_the_kubernetes_job_calls_the_program_and_knows_its_exit_codes(repository: Path) -> None:
    job = yaml.safe_load((repository / "docs" / "how-to" / "jobs" / "train.yaml").read_text(encoding="utf-8"))
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    check_training(container["args"])
    rules = job["spec"]["podFailurePolicy"]["rules"]
    codes = {rule["action"]: rule["onExitCodes"] for rule in rules if "onExitCodes" in rule}
    assert codes["Ignore"]["values"] == [Requeue.exit_code]
    assert codes["FailJob"]["values"] == [AcregError.exit_code, UsageError.exit_code]
    assert {code["containerName"] for code in codes.values()} == {container["name"]}
    assert pod["restartPolicy"] == "Never"  # podFailurePolicy needs it
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    text = (repository / "Dockerfile").read_text(encoding="utf-8")
    assert f"--uid {pod['securityContext']['fsGroup']} " in text
    assert all(mount["mountPath"] in text for mount in container["volumeMounts"])
