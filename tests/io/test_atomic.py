import errno

import pytest

from acreg.errors import AcregError
from acreg.io import atomic_path, require_space


def everything_in(folder):
    return sorted(p.name for p in folder.iterdir())


def test_the_file_appears_only_at_the_end(tmp_path):
    path = tmp_path / "new" / "deep" / "a.csv"
    with atomic_path(path) as temporary:
        temporary.write_text("x")
        assert temporary.parent == path.parent
        assert not path.exists()
    assert path.read_text(encoding="utf-8") == "x"
    assert everything_in(path.parent) == ["a.csv"]


@pytest.mark.parametrize("name", ["a.nii.gz", "model.weights.h5", "plain", "a.png"])
def test_suffixes_are_kept(tmp_path, name):
    with atomic_path(tmp_path / name) as temporary:
        assert temporary.name.endswith(name.removeprefix("a").removeprefix("model").removeprefix("plain"))
        temporary.write_text("x")
    assert everything_in(tmp_path) == [name]


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), ValueError("x")]
)
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "a.csv"
    path.write_text("old")
    with pytest.raises(type(error)), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text(encoding="utf-8") == "old"
    assert everything_in(tmp_path) == ["a.csv"]


def test_a_failure_removes_the_folders_that_it_made(tmp_path):
    with pytest.raises(OSError, match="full"), atomic_path(tmp_path / "b" / "c" / "a.csv"):
        raise OSError("full")
    assert everything_in(tmp_path) == []


def test_refusals(tmp_path):
    with pytest.raises(AcregError, match="where a folder is"), atomic_path(tmp_path):
        pass
    with pytest.raises(AcregError, match="Nothing was written"), atomic_path(tmp_path / "a.csv"):
        pass
    assert everything_in(tmp_path) == []


def test_a_disk_that_is_too_small_is_noticed_before_writing(tmp_path):
    require_space(tmp_path / "new" / "weights.h5", 1)
    with pytest.raises(OSError) as error:
        require_space(tmp_path / "new" / "weights.h5", 2**62)
    assert error.value.errno == errno.ENOSPC
    assert not list(tmp_path.iterdir())
