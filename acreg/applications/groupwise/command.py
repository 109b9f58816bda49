"""The template of a group of images: `acreg.template`."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import acreg
from acreg.applications.batch.items import Item, find_items
from acreg.applications.groupwise.pictures import template_figure
from acreg.applications.groupwise.rounds import LINEAR_ROUNDS, Group
from acreg.applications.groupwise.states import FOLDER, States
from acreg.errors import AcregError, UsageError, argument
from acreg.geometry import Image, Transform
from acreg.geometry.display import picture, png_or_none, table_html
from acreg.io import all_or_none, atomic_path, read_image, sole_writer, write_image, write_inverse, write_transform
from acreg.io.channels import fits_pixels
from acreg.io.claims import claim
from acreg.io.documents import read_json, write_json
from acreg.io.formats import is_picture
from acreg.io.image_files import contents_digest
from acreg.names import some
from acreg.optimisation import Engine, Settings
from acreg.plotting.figures import to_png
from acreg.progress import Progress, counted, notebook_bars
from acreg.registration.saving import result_name

RUN, RECORD = "run.json", "template.json"
SUBJECTS = "subjects"
"""Folder of the results of each image."""
ROUNDS = 4
CHANGE = 0.05
"""Change of the template in a round, relative to the standard deviation of its grey values, at which the rounds end."""
LINEAR = ("translation", "rigid", "similarity", "affine", "none")


@dataclass(eq=False, repr=False)
class Template:
    """A finished template.

    Attributes:
        folder: folder of the results.
        record: the content of template.json.
    """

    folder: Path
    record: dict[str, Any]

    @property
    def image(self) -> Image:
        """The mean image."""
        return read_image(self.folder / str(self.record["template"]))

    @property
    def failures(self) -> dict[str, str]:
        """For each image that failed, the reason."""
        return {each["subject"]: each["reason"] for each in self.record["failures"]}

    @property
    def subjects(self) -> dict[str, Path]:
        """For each other image, the folder of its warped image and its transforms."""
        return {each["subject"]: self.folder / each["folder"] for each in self.record["subjects"]}

    def __repr__(self) -> str:
        done, failed = len(self.record["subjects"]), len(self.record["failures"])
        return f"Template({done} of {done + failed} images, {len(self.record['rounds'])} rounds: {self.folder})"

    def _repr_html_(self) -> str:
        """Display in a notebook: preview.png, and a table of the rounds and the failed images."""
        record = self.record
        rows = [("images", f"{len(record['subjects'])} registered, {len(record['failures'])} failed")]
        rows += [
            (
                each["round"],
                f"{each['images']} images" + (f", changed by {each['change']:.3f} SD" if "change" in each else ""),
            )
            for each in record["rounds"]
        ]
        rows += [(f"failed: {subject}", why) for subject, why in self.failures.items()]
        preview = self.folder / "preview.png"
        return picture(preview.read_bytes, "template") + table_html([*rows, ("folder", str(self.folder))])

    def _repr_png_(self) -> bytes | None:
        """preview.png alone."""
        return png_or_none((self.folder / "preview.png").read_bytes)


def template(
    images: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    reference: str | None = None,
    linear: str = "affine",
    similarity: str | Mapping[str, Any] = "auto",
    rounds: int = ROUNDS,
    change: float = CHANGE,
    sharpen: float = 0.0,
    spacing: float | None = None,
    settings: Settings = Settings(),  # noqa: B008
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> Template:
    """Make an unbiased mean image of a group, and register each image to it, as `acreg template` does.

    First, all images are registered linearly to one of them and then to their mean; the mean of the affine maps is
    removed. Then, in each round, all are registered to the current mean with a velocity, the mean of the velocities is
    removed, and a new mean is made.

    Args:
        images: a folder of images, or a CSV with a column image (and optionally subject).
        out: folder of the results; to continue a killed run, repeat the call.
        reference: name of the image to which the others are registered first; by default the first one.
        linear: "translation", "rigid", "similarity", "affine", or "none" for images that their headers align.
        similarity: a loss on images by name, or names with their weights as in a recipe; "auto" for local NCC, or
            MIND-SSC for two contrasts.
        rounds: at most; 0 for the mean of the linear alignment.
        change: the rounds end when the template changes by less, relative to the standard deviation of its grey values.
        sharpen: share of its difference from its smoothed version that is added to each mean.
        spacing: voxel size of the template in mm; that of the images if left out.
        settings: of the registration with a velocity.
        progress: called with (text, done, total).
        say: called with messages.

    Returns:
        The template. An image that failed is left out: see `Template.failures`.

    Raises:
        UsageError: an argument is out of range, there is no image or no such reference, or `out` holds a run with other
            settings or images.
        AcregError: fewer than two images can be registered, or the reference cannot be read.

    Source: the removal of the mean deformation is that of Guimond et al., Average brain models, CVIU 2000, with the
    velocities averaged as by Arsigny et al., A log-Euclidean framework for statistics on diffeomorphisms, MICCAI 2006.
    """
    _check(linear, rounds, sharpen, spacing, settings)
    say, progress = say or (lambda _: None), progress or notebook_bars()
    folder = Path(out).absolute()
    items = find_items(Path(images).absolute(), leave_out=folder)
    names = [item.name for item in items]
    if len(items) < 2:
        raise UsageError(f"A template is the mean of at least two images. Received: {images} with one. Name more.")
    if reference is not None and reference not in names:
        raise UsageError(
            f"The reference is one of the images. Received: {argument('reference', reference)}, images {some(names)}."
        )
    run = {
        "reference": reference,
        "linear": linear,
        "similarity": similarity,
        "rounds": rounds,
        "change": change,
        "sharpen": sharpen,
        "spacing": spacing,
        "settings": asdict(settings),
        "images": [[item.name, contents_digest([item.image])] for item in items],
    }
    kind = None if linear == "none" else linear
    try:
        deformable = Engine(linear=None, discrete=False, continuous=settings, similarity=similarity)
    except ValueError as error:
        raise UsageError(f"{error}. Give another {argument('similarity')}.") from error
    with sole_writer(folder):
        claim(folder, RUN, json.loads(json.dumps(run)))
        if (folder / RECORD).is_file():
            return Template(Path(out), read_json(folder / RECORD, "record of a template"))
        group = Group(
            items,
            States(folder),
            Engine(linear=kind, discrete=False, continuous=None),
            deformable,
            reference=None if reference is None else names.index(reference),
            linear_rounds=1 if kind is None else LINEAR_ROUNDS,
            spacing=spacing,
            sharpen=sharpen,
            progress=progress,
            say=say,
        )
        start = time.perf_counter()
        group.align()
        first = group.template
        for number in range(1, rounds + 1):
            changed = group.deform(number)
            say(f"round {number}: the template changed by {changed:.3f} of its standard deviation")
            if changed < change:
                break
        record = {"seconds": time.perf_counter() - start, **_record(group, change)}
        _save(folder, group, first, record, progress)
        shutil.rmtree(folder / FOLDER, ignore_errors=True)
    return Template(Path(out), record)


def _check(linear: str, rounds: int, sharpen: float, spacing: float | None, settings: Settings) -> None:
    if linear not in LINEAR:
        raise UsageError(f"{argument('linear')} is one of {', '.join(LINEAR)}. Received: {linear!r}.")
    if rounds < 0 or sharpen < 0:
        raise UsageError(
            "Rounds and sharpening are not negative. Received: "
            f"{argument('rounds', rounds)}, {argument('sharpen', float(sharpen))}. Give 0 for none."
        )
    if spacing is not None and not 0 < spacing < float("inf"):
        raise UsageError(f"A spacing is a positive number of mm. Received: {argument('spacing', float(spacing))}.")
    if settings.kind != "velocity":
        raise UsageError(
            f"A template needs velocities, whose mean is removed. Received: settings of kind {settings.kind!r}. "
            "Give kind='velocity'."
        )


def _record(group: Group, change: float) -> dict[str, Any]:
    """The content of template.json, apart from times."""
    last = group.records[-1].get("change")
    pictures = _pictures(group)
    return {
        "acreg": acreg.__version__,
        "template": result_name("template", "a.png" if pictures else "", _template(group).grid.rank),
        "converged": last is not None and last < change,
        "rounds": group.records,
        "subjects": [
            {"subject": group.items[n].name, "folder": f"{SUBJECTS}/{group.items[n].name}", "inverse": ""}
            for n in group.maps
        ],
        "failures": [
            {"subject": group.items[n].name, "round": name, "reason": reason}
            for n, (name, reason) in sorted(group.failures.items())
        ],
    }


def _save(folder: Path, group: Group, first: Image | None, record: dict[str, Any], progress: Progress | None) -> None:
    """Write all files, template.json last."""
    mean = _template(group)
    write_image(mean, folder / record["template"])
    done = counted(zip(group.maps.items(), record["subjects"], strict=True), "Writing", len(group.maps), progress)
    for (n, maps), row in done:
        row["inverse"] = _save_subject(folder / row["folder"], group.items[n], mean, maps)
    with atomic_path(folder / "preview.png") as temporary:
        temporary.write_bytes(to_png(template_figure(mean, group.mean().deviation, first or mean)))
    write_json(folder / RECORD, record)


def _save_subject(folder: Path, item: Item, mean: Image, maps: Sequence[Any]) -> str:
    """Write warped.*, transform.h5 and its inverse; why there is no inverse or an approximate one, empty if exact."""
    note = "note.txt"
    with sole_writer(folder):
        if not (folder / note).is_file():
            with all_or_none(folder) as staged:
                moving = read_image(item.image)
                transform = Transform(mean.grid, moving.grid, tuple(maps))
                name = result_name("warped", moving.name, mean.grid.rank, [moving])
                write_image(transform.sampled().warp_image(moving), staged / name)
                write_transform(transform, staged / "transform.h5", moving)
                try:
                    said = write_inverse(transform, staged / "inverse_transform.h5", mean)
                except AcregError as error:
                    said = str(error)
                (staged / note).write_text(said, encoding="utf-8")
        return (folder / note).read_text(encoding="utf-8")


def _template(group: Group) -> Image:
    if group.template is None:
        raise ValueError("There is no template before the rounds.")
    return group.template


def _pictures(group: Group) -> bool:
    """Whether the template is a picture, as all images are: by the first one, their values are those of a PNG."""
    paths = [group.items[n].image for n in group.maps]
    return all(map(is_picture, paths)) and (not paths or fits_pixels(read_image(paths[0]).array))
