"""A dataset whose images are aligned affinely to one of its training images, for networks without an affine part.

Run as ``python -m studies.affine_deformable.aligned --data oasis-trt --out datasets/oasis-trt-aligned``. VoxelMorph and
its like are trained and tested on pairs that another program aligned; here, `acreg:affine` aligns all subjects to the
first one of the training split. Images and labels are resampled on its grid, once.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from acreg.data.manifest import Dataset, Record, dataset_folder
from acreg.errors import UsageError
from acreg.io import write_image
from acreg.io.transforms import write_transform
from acreg.registration.methods import named_method

SUFFIX = "-aligned"
METHOD = "acreg:affine"


def write_aligned(dataset: Dataset, out: Path, seed: int = 0) -> Dataset:
    """Write the aligned images and labels and a manifest of them; splits and names stay as they are.

    ``transforms/SUBJECT.tfm`` takes points of the reference to the subject's original image.

    Args:
        dataset: labelled volumes.
        out: folder to write.
        seed: of the alignment.

    Raises:
        UsageError: there is no training subject, or a subject without labels.
    """
    training = dataset.split("train")
    unlabelled = [record.subject for record in dataset.records if record.labels is None]
    if not training or unlabelled:
        raise UsageError(
            "Labelled subjects are aligned to the first one for training. Received: "
            f"{len(training)} training subjects in {dataset.name}, without labels: {unlabelled}. Complete its manifest."
        )
    reference, method = dataset.read_image(training[0]), named_method(METHOD, 1, seed)
    written: list[Record] = []
    for record in dataset.records:
        image, labels = dataset.read_labelled(record)
        images, maps = out / f"images/{record.subject}.nii.gz", out / f"labels/{record.subject}.nii.gz"
        if record.subject != training[0].subject:
            transform = method.register(fixed=reference, moving=image)
            image, labels = transform.warp_image(image), transform.warp_labels(labels)
            write_transform(transform, out / f"transforms/{record.subject}.tfm")
        write_image(image, images)
        write_image(labels, maps)
        written.append(replace(record, image=images, labels=maps))
    made = replace(
        dataset,
        folder=out,
        name=dataset.name + SUFFIX,
        records=written,
        spacing=None,
        preparation={"aligned": {"reference": training[0].subject, "method": METHOD, "seed": seed}},
    )
    made.save()
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the aligned dataset."""
    parser = argparse.ArgumentParser(prog="aligned", description="Images aligned affinely to a training image.")
    parser.add_argument("--data", default="oasis-trt", help="dataset: folder, or name under ACREG_DATA")
    parser.add_argument("--out", required=True, type=Path, help="folder to write")
    parser.add_argument("--seed", type=int, default=0, help="of the alignment")
    given = parser.parse_args(arguments)
    write_aligned(Dataset.load(dataset_folder(given.data)), given.out, given.seed)


if __name__ == "__main__":
    main()
