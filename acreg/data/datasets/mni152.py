"""The brain template MNI152 of the package nilearn: an image with tissue labels, enough to train DDMR for a demo."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np

from acreg.data.manifest import Dataset, Record
from acreg.errors import AcregError
from acreg.io import atomic_path

LABEL_NAMES = {0: "background", 1: "cerebrospinal fluid", 2: "grey matter", 3: "white matter"}
RESOLUTION_MM = 2


def make_dataset(folder: Path | str) -> Dataset:
    """Write the template at 2 mm as a dataset of three subjects with the same image.

    One subject is for training, one for validation, one for testing: DDMR makes different pairs from each. A network
    trained on them does not generalise to other heads. A voxel of the brain has the label of the most probable tissue;
    if the probabilities do not add up to 1, the rest is cerebrospinal fluid. No internet connection is needed: the
    template is part of nilearn.

    Raises:
        AcregError: nilearn is not installed.
    """
    try:
        from nilearn import datasets
    except ImportError as error:
        raise AcregError(
            "The dataset mni152 is the template in the package nilearn. Received: an environment without it. Install "
            "it with `pip install 'acreg[sample]'`, or name a dataset of your own."
        ) from error
    folder = Path(folder)
    template = datasets.load_mni152_template(resolution=RESOLUTION_MM)
    grey, white = (
        np.asarray(load(resolution=RESOLUTION_MM).dataobj)
        for load in (datasets.load_mni152_gm_template, datasets.load_mni152_wm_template)
    )
    brain = np.asarray(template.dataobj, np.float32)
    labels = (1 + np.argmax([1 - grey - white, grey, white], axis=0)) * (brain > 0)
    image, label_file = folder / "images" / "mni152.nii.gz", folder / "labels" / "mni152.nii.gz"
    for path, array in ((image, brain), (label_file, labels.astype(np.uint8))):
        with atomic_path(path) as temporary:
            nibabel.Nifti1Image(array, template.affine).to_filename(temporary)
    subjects = {"mni152": "train", "mni152-validation": "validation", "mni152-test": "test"}
    dataset = Dataset(
        folder=folder,
        name="mni152",
        records=[Record(subject, image, label_file, split) for subject, split in subjects.items()],
        label_names=LABEL_NAMES,
        spacing=(float(RESOLUTION_MM),) * 3,
        licence="Free to use, copy, change and pass on with the notice: Copyright (C) 1993-2009 Louis Collins, "
        "McConnell Brain Imaging Centre, Montreal Neurological Institute, McGill University",
        source="ICBM 152 nonlinear 2009a symmetric, as in the package nilearn",
        preparation={"tissue": "the most probable of three"},
    )
    dataset.save()
    return dataset
