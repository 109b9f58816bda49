"""Build the Dockerfile without a Docker engine: its own steps, in a clean root for each stage.

    sudo python3 docker/build_in_chroot.py --target cpu /var/tmp/acreg [-- demo --out /workspace/runs/demo]

At the end the image's health check and its command (or the one given behind --) run as the image's user.

It needs debootstrap and the right to chroot. The base image `python:X-slim-SUITE` is replaced by Debian's SUITE with
Debian's own Python, which must be X as well; names are resolved and certificates checked as on this machine. Everything
is made below the folder named; only the base and pip's cache are kept for the next call. Instructions that the
Dockerfile does not use are unknown here, and refused.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import shutil
import string
import subprocess
import sys
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

CONTEXT = Path(__file__).resolve().parent.parent
PACKAGES = "python3,python3-venv,python3-pip,ca-certificates"

# Mounts end with the process that made them: $1 the root, $2 user, $3 cache or "", $4 where it is seen, $5 folder.
ENTER = """
root=$1 user=$2 cache=$3 target=$4 folder=$5; shift 5
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
for file in /etc/resolv.conf /etc/ssl/certs/ca-certificates.crt; do mount --bind $file "$root$file"; done
if [ -n "$cache" ]; then mkdir -p "$root$target"; mount --bind "$cache" "$root$target"; fi
exec chroot --userspec="$user" "$root" /usr/bin/env -i --chdir="$folder" "$@"
"""


@dataclass
class Image:
    """A root folder, and what the Dockerfile says of how commands run in it."""

    root: Path
    env: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    user: str = "0:0"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)

    def run(self, words: list[str], cache: Path | None = None, target: str = "") -> None:
        """Run a command in the root; a failure ends the program."""
        print("+", *words, flush=True)
        settings = [f"{name}={value}" for name, value in self.env.items()]
        enter = ["sh", "-ec", ENTER, "sh", str(self.root), self.user, str(cache or ""), target, self.workdir]
        if subprocess.run(["unshare", "--mount", *enter, *settings, *words]).returncode:
            sys.exit("The last command failed in the new root.")

    def path(self, name: str) -> Path:
        """Where a path of the image lies on this machine."""
        return self.root / str(Path(self.workdir, name)).lstrip("/")


def read_dockerfile(path: Path) -> tuple[dict[str, str], dict[str, list[tuple[str, str]]]]:
    """The arguments before the first stage, and the instructions of each stage by its name, in their order."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    arguments: dict[str, str] = {}
    stages: dict[str, list[tuple[str, str]]] = {}
    for line in filter(str.strip, "\n".join(lines).replace("\\\n", " ").splitlines()):
        word, rest = line.split(maxsplit=1)
        if word == "FROM":
            rest, name = rest.split(" AS ")
            stages[name] = []
        if stages:
            stages[name].append((word, rest))
        else:
            arguments |= dict([rest.split("=", 1)])
    return arguments, stages


class Builder:
    """Builds stages below a folder, each once."""

    def __init__(self, folder: Path, arguments: dict[str, str], stages: dict[str, list[tuple[str, str]]]) -> None:
        self.folder = folder
        self.arguments = arguments
        self.stages = stages
        self.built: dict[str, Image] = {}
        (folder / "cache").mkdir(parents=True, exist_ok=True)

    def build(self, name: str) -> Image:
        """The image of a stage, or of the base."""
        if name not in self.built:
            self.built[name] = self._stage(name) if name in self.stages else self._base(name)
        return self.built[name]

    def _base(self, name: str) -> Image:
        found = re.match(r"python:(\d+\.\d+)-slim-(\w+)", name)
        if found is None:
            sys.exit(f"The base must be python:VERSION-slim-SUITE of Debian. Received: {name}.")
        version, suite = found.groups()
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        image = Image(self.folder / f"base-{suite}", {"PATH": path})
        if not (image.root / "complete").exists():
            shutil.rmtree(image.root, ignore_errors=True)
            subprocess.run(
                ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", suite, str(image.root)], check=True
            )
            (image.root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
            (image.root / "complete").touch()
        image.run(["python", "-c", f"import sys; sys.exit('%d.%d' % sys.version_info[:2] != '{version}')"])
        return image

    def _stage(self, name: str) -> Image:
        (_, base), *steps = self.stages[name]
        parent = self.build(string.Template(base).substitute(self.arguments))
        image = deepcopy(parent)
        image.root = self.folder / f"stage-{name}"
        shutil.rmtree(image.root, ignore_errors=True)
        subprocess.run(["cp", "-a", "--reflink=auto", str(parent.root), str(image.root)], check=True)
        print(f"== {name}", flush=True)
        for word, rest in steps:
            match word:
                case "RUN":
                    cache = re.match(r"--mount=type=cache,target=(\S+)\s+", rest)
                    command = rest[cache.end() :] if cache else rest
                    mounted = (self.folder / "cache", cache[1]) if cache else ()
                    image.run(["sh", "-ec", " ".join(command.split())], *mounted)
                case "COPY":
                    self._copy(image, shlex.split(rest))
                case "ENV":
                    for setting in shlex.split(string.Template(rest).substitute(image.env)):
                        image.env |= dict([setting.split("=", 1)])
                case "WORKDIR":
                    image.workdir = rest
                    image.path(rest).mkdir(parents=True, exist_ok=True)
                case "USER":
                    image.user = rest
                case "ENTRYPOINT":
                    image.entrypoint = json.loads(rest)
                case "CMD":
                    image.command = json.loads(rest)
                case "HEALTHCHECK":
                    image.health = json.loads(rest.split(" CMD ")[1])
                case _:
                    sys.exit(f"The Dockerfile has an instruction that this script does not know: {word} {rest}")
        return image

    def _copy(self, image: Image, words: list[str]) -> None:
        source = None
        if words[0].startswith("--from="):
            source = self.build(words.pop(0).removeprefix("--from="))
        *names, last = words
        target = image.path(last)
        for name in names:
            path = CONTEXT / name if source is None else source.path(name)
            if path.is_dir():
                target.mkdir(parents=True, exist_ok=True)
                # From the checkout without what .dockerignore leaves out of these folders.
                left_out = [] if source else ["--exclude=__pycache__", "--exclude=*.egg-info"]
                packed = subprocess.Popen(["tar", "-C", str(path), *left_out, "-cf", "-", "."], stdout=subprocess.PIPE)
                subprocess.run(
                    ["tar", "-C", str(target), "--no-same-owner", "-xf", "-"], stdin=packed.stdout, check=True
                )
                if packed.wait():
                    sys.exit(f"{path} could not be read.")
            elif last.endswith("/"):
                target.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target)
            else:
                shutil.copy(path, target)


def main() -> None:
    """Build one target, check its health, and run a command in it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="where roots are made; 3 GB for cpu")
    parser.add_argument("--target", help="a stage of the Dockerfile; by default the last")
    parser.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("command", nargs="*", help="instead of the image's CMD")
    options = parser.parse_args()
    arguments, stages = read_dockerfile(CONTEXT / "Dockerfile")
    arguments |= dict(setting.split("=", 1) for setting in options.build_arg)
    builder = Builder(options.folder.resolve(), arguments, stages)
    image = builder.build(options.target or list(stages)[-1])
    subprocess.run(["du", "-sh", *(str(made.root) for made in builder.built.values())], check=True)
    image.run(image.health)
    image.run([*image.entrypoint, *(options.command or image.command)])


if __name__ == "__main__":
    main()
