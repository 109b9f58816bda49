"""The balanced cohort of a classification: images with a disease, and as many of patients without."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np

from acreg.applications.atlases.quality import THRESHOLD
from acreg.data.manifest import Dataset, gather_info
from acreg.data.records import Record
from acreg.data.tables.nih_list import HEALTHY, Visit, read_nih_list
from acreg.errors import AcregError, UsageError, argument
from acreg.evaluation.predicted_quality import QUALITY, PredictedDice
from acreg.io import check_free, sole_writer
from acreg.progress import Progress


def balanced_cohort(
    quality: Path | str,
    flags: Path | str,
    finding: str,
    out: Path | str,
    threshold: float = THRESHOLD,
    seed: int = 0,
    progress: Progress | None = None,
) -> Dataset:
    """Write a dataset of segmentations with a finding, and as many of patients without any finding.

    Only segmentations whose predicted Dice is at least the threshold are used: all images with the finding, and of as
    many healthy patients, who are drawn at random, the first such image each. A patient with the finding in any image
    of the list is not healthy. The group of a subject is the patient.

    Args:
        quality: the folder or table that `acreg quality` wrote, for images named as in the list.
        flags: ``Data_Entry_2017.csv`` of ChestX-ray14.
        finding: a finding in it, such as "Cardiomegaly".
        out: folder to write: ``manifest.csv`` and ``dataset.json``. Images and label maps stay where they are.
        threshold: smallest predicted Dice.
        seed: for drawing the healthy patients.
        progress: called with (text, done, total).

    Raises:
        UsageError: a finding that the list does not have, or a threshold outside 0 to 1.
        AcregError: a file is damaged, no accepted segmentation has the finding, there are fewer healthy patients, or
            ``out`` is in use.

    Source: Mansilla et al., section 5.3: 2,019 images with cardiomegaly and 2,019 healthy patients at a threshold of
    0.92.
    """
    quality, out = Path(quality), Path(out)
    if not 0 <= threshold <= 1:
        raise UsageError(f"A predicted Dice lies between 0 and 1. Received: {argument('threshold', threshold)}.")
    listed = read_nih_list(Path(flags))
    known = sorted({name for visit in listed for name in visit.findings} - {HEALTHY})
    if finding not in known:
        raise UsageError(
            f"A finding is one of those of the list, {', '.join(known)}. Received: {argument('finding', finding)}. "
            "Choose one."
        )
    found = PredictedDice.read(quality / QUALITY if quality.is_dir() else quality, threshold)
    rows = {row["subject"]: row for row, dice in zip(found.rows, found.predicted, strict=True) if dice >= threshold}
    there = [visit for visit in listed if Path(visit.image).stem in rows]
    diseased = [visit for visit in there if finding in visit.findings]
    controls = _drawn(there, {visit.patient for visit in listed if finding in visit.findings}, len(diseased), seed)
    if not diseased or len(controls) < len(diseased):
        raise AcregError(
            "A cohort has images with the finding, and as many healthy patients. Received: "
            f"{len(rows)} accepted segmentations in {quality}, {len(diseased)} of them with {finding}, and "
            f"{len(controls)} healthy patients. Segment more images, or lower the threshold."
        )
    records = [
        Record(
            name := Path(v.image).stem,
            Path(rows[name]["image"]),
            Path(rows[name]["labels"]),
            "test",
            f"{v.patient:08d}",
        )
        for v in [*diseased, *controls]
    ]
    with sole_writer(out):
        check_free(out, ["manifest.csv"], holds="a manifest.csv", instead="name another folder")
        info = gather_info(records, finding.lower(), progress)
        info.preparation.update(
            finding=finding,
            threshold=threshold,
            seed=seed,
            accepted=len(rows),
            rejected=len(found.rows) - len(rows),
            diseased=len(diseased),
            healthy=len(controls),
        )
        dataset = Dataset.from_info(out, info, records)
        dataset.save()
    return dataset


def _drawn(there: list[Visit], diseased: set[int], count: int, seed: int) -> list[Visit]:
    """The first image of each of `count` healthy patients, or of all if there are fewer, by patient."""
    healthy: dict[int, list[Visit]] = defaultdict(list)
    for visit in there:
        if visit.findings == (HEALTHY,) and visit.patient not in diseased:
            healthy[visit.patient].append(visit)
    patients = list(healthy)
    chosen = np.random.default_rng(seed).permutation(len(patients))[:count]
    return [healthy[patients[n]][0] for n in sorted(chosen)]
