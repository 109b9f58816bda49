"""Pictures of a pair of volumes: planes through a bump that the registration left where it was."""

import io
from html import unescape

import numpy as np
import PIL.Image
from scipy import ndimage

from acreg.report.pictures import PictureSource
from acreg.report.worst_pairs import worst_pairs


def test_planes_pass_through_the_largest_error(bump):
    found = PictureSource().draw(bump, bump.pairs[0])
    assert found.error.voxel[2] == 16 and found.error.voxel[0] in (8, 9) and found.error.voxel[1] in (10, 11)
    # 10 mm from the cuboid; 54 to 57 mm superior, 0 to 2 mm posterior, 22 mm left
    assert found.place.startswith("Planes through the largest surface distance, 10.0 mm, of left lung, at L 22.0, P ")
    assert found.place.endswith(("S 54.0 mm.", "S 57.0 mm."))
    assert [caption.partition(":")[0] for caption, _ in found.panels[:5]] == [
        *("Fixed", "Moving", "Warped", "Labels", "Checkerboard")
    ]
    assert len(found.panels) == 7


def test_a_panel_has_three_planes_on_one_scale_with_the_bump_on_the_left_of_the_patient(bump):
    panels = dict(PictureSource().draw(bump, bump.pairs[0]).panels)
    picture = np.asarray(PIL.Image.open(io.BytesIO(panels["Warped"])).convert("L"))
    found, _ = ndimage.label(picture > 128)
    seen = [picture[part] > 128 for part in ndimage.find_objects(found) if picture[part].size > 500]  # no letters
    heights = np.array([len(each) for each in seen])
    # Axial and coronal the cuboid of 20 x 30 mm, sagittal the bump of 6 mm alone.
    np.testing.assert_allclose(heights / heights[1], [20 / 30, 1, 6 / 30], atol=0.05)
    axial = seen[0]
    ends = np.array([np.flatnonzero(row)[[0, -1]] for row in axial])
    left, right = np.median(ends, axis=0)
    assert ends[:, 0].min() >= left - 1, "nothing sticks out on the left of the picture"
    assert 0 < np.mean(ends[:, 1] > right + 10) < 0.5, "the bump sticks out on the right"


def test_the_section_says_what_is_shown(bump):
    text = unescape(worst_pairs([bump], 2, None))
    failed, registered = text.split('<div class="pair">')[1:]
    assert failed.count("<figure>") == 2 and "Planes through" not in failed
    assert registered.count("<figure>") == 7 and 'class="panels planes"' in registered
    assert "Planes through the largest surface distance, 10.0 mm, of left lung" in registered
    assert "radiological view" in text
