"""Your own images: a manifest for a folder of PNG, NIfTI, DICOM or other files that `acreg.io` reads."""

from __future__ import annotations

from pathlib import Path

from acreg.data.manifest import Dataset, gather_info
from acreg.data.records import Record
from acreg.data.splits import split_subjects
from acreg.errors import AcregError
from acreg.io import check_free, sole_writer
from acreg.io.formats import READ, by_suffix, stem
from acreg.names import is_file_name, some
from acreg.progress import Progress

LABEL_ENDINGS = ("", "_labels", "_label", "_mask", "_seg")


def prepare_folder(
    source: Path | str, out: Path | str | None = None, seed: int = 0, progress: Progress | None = None
) -> Dataset:
    """Write ``manifest.csv`` and ``dataset.json`` for ``source/images`` and, if it exists, ``source/labels``.

    Nothing is copied or resized. A label file has the name of its image (the suffix may differ), or this name followed
    by ``_labels``, ``_label``, ``_mask`` or ``_seg``. Without a folder ``images``, the files in ``source`` itself are
    the images. The split is 60/20/20 %, by a seed; edit the manifest for another split. The label set is collected from
    all files.

    Args:
        source: the folder.
        out: the folder for the manifest; ``source`` if None. Paths into another folder are written as absolute paths.
        seed: seed of the split.
        progress: called with (text, done, total).

    Raises:
        AcregError: there are no images, fewer than 3 subjects, two files of one subject, labels for only some images,
            an existing manifest, or unreadable files.
    """
    source = Path(source)
    out = source if out is None else Path(out)
    check_source(source)
    with sole_writer(out):
        check_free(
            out,
            ["manifest.csv"],
            holds="a manifest.csv and is a dataset already",
            instead=f"check it with `acreg data check {out}`, or delete its manifest.csv to have it written anew",
        )
        records = find_records(source, seed)
        info = gather_info(records, source.resolve().name, progress)
        info.spacing = None  # that of the label files describes them; stated, it would replace that of the images
        info.preparation["split"] = split_rule(seed)
        if rest := left_out(source):
            info.preparation["left_out"] = rest
        dataset = Dataset.from_info(out, info, records)
        dataset.save()
        return dataset


def split_rule(seed: int) -> str:
    """A description of the split of `find_records`."""
    return f"seeded 60/20/20 by subject (seed {seed})"


def check_source(source: Path) -> None:
    """Raise `AcregError` unless the source is a folder."""
    if not source.is_dir():
        raise AcregError(f"The source must be a folder of images. Received: {source}. Name an existing folder.")


def find_records(source: Path, seed: int) -> list[Record]:
    """The subjects of a folder without a manifest, split by `seed`; nothing is decoded. Errors: `prepare_folder`."""
    images_folder = source / "images" if (source / "images").is_dir() else source
    images = _files(images_folder)
    if not images:
        raise AcregError(
            "The source is a folder with images, or with the folders images and labels, in which the two files of a "
            f"subject have the same name ({' '.join(READ)}). Received: {images_folder} without any image. Name such a "
            "folder, or write a manifest.csv for another layout."
        )
    odd = [name for name in images if not is_file_name(name)]
    if odd:
        raise AcregError(
            f"A subject's name has no leading dot or control sign. Received: {some(odd)}. Rename the files."
        )
    beside = [s + ending for s in images for ending in LABEL_ENDINGS if ending and s + ending in images]
    if beside:
        raise AcregError(
            f"Label maps lie in a folder of their own, beside the folder of the images. Received: {some(beside)} in "
            f"{images_folder}, with images of the same names. Move the images to a folder images and the label maps to "
            "a folder labels, or rename them."
        )
    label_files = _files(source / "labels") if (source / "labels").is_dir() else {}
    labels = {s: next((label_files[s + e] for e in LABEL_ENDINGS if s + e in label_files), None) for s in images}
    missing = [subject for subject, path in labels.items() if path is None]
    if label_files and missing:
        raise AcregError(
            f"All images have a label file of the same name, or none. Received: {source / 'labels'} without "
            f"{some(missing)}. Add the files, or write the manifest by hand."
        )
    splits = split_subjects(images, seed)
    return [Record(subject, path, labels[subject], splits[subject]) for subject, path in images.items()]


def left_out(source: Path) -> list[str]:
    """What `find_records` does not take from the folders of images and labels: folders, and files of other suffixes."""
    folders = [source / "images" if (source / "images").is_dir() else source, source / "labels"]
    kept = {"labels", "manifest.csv", "dataset.json"}
    return [
        str(path.relative_to(source))
        for folder in folders
        if folder.is_dir()
        for path in sorted(folder.iterdir())
        if not (path.name.startswith(".") or _is_taken(path) or (folder == source and path.name in kept))
    ]


def _is_taken(path: Path) -> bool:
    return path.is_file() and (by_suffix(path) is not None or not path.suffix)


def _files(folder: Path) -> dict[str, Path]:
    """Subject -> file, sorted by subject; a file without suffix may be DICOM."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not _is_taken(path):
            continue
        subject = stem(path.name)
        if subject in found:
            raise AcregError(
                f"Each subject has one file. Received: {found[subject]} and {path}. Move one of them elsewhere."
            )
        found[subject] = path
    return found
