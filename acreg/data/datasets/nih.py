"""NIH ChestX-ray14: a manifest of the public archive, which has no labels, with the visits of each patient as a group.

The archive has the folders ``images_001/images`` to ``images_012/images``, ``Data_Entry_2017.csv``, and the lists
``train_val_list.txt`` and ``test_list.txt``. It was not at hand: the reader was tested on made files of this layout.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from acreg.data.manifest import Dataset
from acreg.data.records import DatasetInfo, Record
from acreg.data.splits import cut_validation, read_list, split_subjects
from acreg.data.tables.nih_list import NAME, Visit, read_nih_list
from acreg.errors import AcregError, UsageError
from acreg.io import check_free, sole_writer
from acreg.names import some

LISTS = ("train_val_list.txt", "test_list.txt")


def prepare_nih(
    source: Path | str, out: Path | str, visits: tuple[int, int | None] = (1, None), view: str = "", seed: int = 0
) -> Dataset:
    """Write ``manifest.csv`` and ``dataset.json`` for the images of the archive, which stay where they are.

    A subject is an image, its group the patient. The lines are ordered by patient and visit, so that the first line of
    a group is the patient's first visit among the images that are there. Splits are of patients: by the published
    lists, with a quarter of the patients for training as validation split, or 60/20/20 % by the seed.

    Args:
        source: folder of the archive; parts of it are enough.
        out: folder to write.
        visits: the smallest and the largest number of images of a patient; others are left out. None for no limit.
        view: ``"PA"`` or ``"AP"`` for the images of one view.
        seed: of the split.

    Raises:
        UsageError: impossible numbers of visits, or an unknown view.
        AcregError: there is no list or no image, a patient is in both published lists, no patient has so many images,
            or ``out`` is in use.
    """
    source, out = Path(source), Path(out)
    least, most = visits
    if least < 1 or (most is not None and most < least) or view not in ("", "PA", "AP"):
        raise UsageError(
            "Visits are a smallest and a largest number of at least 1, and a view is PA or AP. Received: "
            f"visits={least},{'' if most is None else most}, view={view!r}. Correct them."
        )
    files = {path.name: path for folder in _folders(source) for path in sorted(folder.glob("*.png"))}
    listed = [visit for visit in _list(source) if not view or visit.view == view]
    patients: dict[int, list[Visit]] = defaultdict(list)
    for visit in listed:
        if visit.image in files:
            patients[visit.patient].append(visit)
    patients = {p: v for p, v in patients.items() if least <= len(v) and (most is None or len(v) <= most)}
    if not patients:
        raise AcregError(
            "The source has images of its list, and patients with as many visits as are asked for. Received: "
            f"{len(files)} images in the folders images_*/images of {source}, {len(listed)} lines in its list"
            f"{' for the view ' + view if view else ''}, and no such patient. Name the folder of the archive."
        )
    splits, rule = _splits(source, patients, seed)
    with sole_writer(out):
        check_free(out, ["manifest.csv"], holds="a manifest.csv", instead="name another folder")
        info = DatasetInfo(
            name="nih",
            labels={0: "background"},
            unit="px",
            licence="National Institutes of Health Clinical Center, free to use with citation and a link to the source",
            source="Wang et al., ChestX-ray8, CVPR 2017",
            preparation={
                "split": rule,
                "visits": [least, most],
                "view": view,
                "patients": len(patients),
                "absent": sum(visit.image not in files for visit in listed),
            },
        )
        records = [
            Record(Path(visit.image).stem, files[visit.image], None, splits[patient], f"{patient:08d}")
            for patient, found in patients.items()
            for visit in found
        ]
        dataset = Dataset.from_info(out, info, records)
        dataset.save()
    return dataset


def _folders(source: Path) -> list[Path]:
    return [path for path in [*sorted(source.glob("images_*/images")), source / "images"] if path.is_dir()]


def _list(source: Path) -> list[Visit]:
    found = [path for path in [source / NAME, *sorted(source.glob("Data_Entry_2017*.csv"))] if path.is_file()]
    if not found:
        raise AcregError(
            f"The archive of ChestX-ray14 has a list {NAME} and the folders images_*/images. Received: {source} "
            "without the list. Name the folder of the archive."
        )
    return read_nih_list(found[0])


def _splits(source: Path, patients: dict[int, list[Visit]], seed: int) -> tuple[dict[int, str], str]:
    """The split of each patient, and a description."""
    if not all((source / name).is_file() for name in LISTS):
        splits = split_subjects([f"{patient:08d}" for patient in patients], seed)
        return {int(name): split for name, split in splits.items()}, f"seeded 60/20/20 by patient (seed {seed})"
    training, test = (set(read_list(source / name)) for name in LISTS)
    names = {patient: {Path(visit.image).stem for visit in found} for patient, found in patients.items()}
    wrong = [f"{p:08d}" for p, images in names.items() if not (images <= training - test or images <= test - training)]
    if wrong:
        raise AcregError(
            f"A patient is in one of the lists {' and '.join(LISTS)}. Received: {some(wrong)} in both or none, in "
            f"{source}. Get the lists again, or delete them to have patients split by a seed."
        )
    cut = cut_validation([f"{p:08d}" for p, images in names.items() if images <= training], seed=seed)
    rule = f"published lists, a quarter of the patients for training as validation (seed {seed})"
    return {patient: cut.get(f"{patient:08d}", "test") for patient in patients}, rule
