"""What a recipe trains on, where the dataset is small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from acreg.data import chest_phantom
from acreg.data.datasets.folder import prepare_folder
from acreg.errors import AcregError
from acreg.io import Image, write_image
from acreg.training import load_recipe
from acreg.training.data import load_data


def test_four_images_train_without_validation_and_else_the_remedy_is_named(tmp_path: Path) -> None:
    for seed in range(4):
        write_image(Image.from_array(chest_phantom(seed, (32, 32)).image), tmp_path / f"{seed}.png")
    prepare_folder(tmp_path)
    changes = [f"data.dataset={tmp_path}", "data.shape=[32,32]"]
    with pytest.raises(AcregError, match="Received: 1 in the split validation of .*data.validation_split=none"):
        load_data(load_recipe("regnet-phantoms", changes))
    splits = "data.train_splits=[train,validation,test]"
    data = load_data(load_recipe("regnet-phantoms", [*changes, splits, "data.validation_split=none"]))
    assert data.train.images.shape == (4, 32, 32, 1) and np.ptp(data.train.images) == 1
    assert data.validation is None and data.num_classes is None
