import errno
import os

import pytest

from acreg.errors import AcregError
from acreg.io import atomic_path, check_folder, require_space


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


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_device_or_a_pipe_is_not_replaced(tmp_path):
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    with pytest.raises(AcregError, match="which is a device or a pipe"), atomic_path(pipe):
        pass
    assert pipe.is_fifo()


def test_a_disk_that_is_too_small_is_noticed_before_writing(tmp_path):
    require_space(tmp_path / "new" / "weights.h5", 1)
    with pytest.raises(OSError) as error:
        require_space(tmp_path / "new" / "weights.h5", 2**62)
    assert error.value.errno == errno.ENOSPC
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name, reason",
    [
        ("file", "no folder has that name"),
        ("file/deeper/folder", "no folder has that name"),
        ("dangling", "no folder has that name"),
        ("dangling/deeper", "no folder has that name"),
        ("loop", "no folder has that name|[Tt]oo many levels"),
        ("x" * 300, "File name too long"),
        ("/".join(["y" * 200] * 40), "File name too long"),
        ("/proc/results", "No such file"),
        ("/dev/null/results", "stands on the way there"),
        ("s3://bucket/results", "an address, not a folder"),
    ],
)
def test_a_place_where_nothing_can_be_written_is_named(tmp_path, monkeypatch, name, reason):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere" / "there")
    (tmp_path / "loop").symlink_to("loop")
    before = everything_in(tmp_path)
    for write in (check_folder, lambda folder: atomic_path(f"{folder}/a.csv").__enter__()):
        with pytest.raises(AcregError, match=f"(?s)folder that is there and.*Received: .*({reason}).*another place"):
            write(name)
    assert everything_in(tmp_path) == before and not (tmp_path / "nowhere").exists()


def test_a_folder_without_permission_is_named(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    if os.access(tmp_path / "closed", os.W_OK):
        pytest.skip("this user may write everywhere")
    with pytest.raises(AcregError, match="Received: .*closed. The system says: Permission denied"):
        check_folder(tmp_path / "closed")


def test_a_check_leaves_nothing_behind(tmp_path):
    check_folder(tmp_path / "new" / "deeper")
    check_folder(tmp_path)
    assert everything_in(tmp_path) == []


def test_a_full_disk_is_no_wrong_place(tmp_path, monkeypatch):
    def full(self):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(type(tmp_path), "touch", full)
    with pytest.raises(OSError, match="No space") as error:
        check_folder(tmp_path)
    assert error.value.errno == errno.ENOSPC


def test_a_tilde_is_a_name_like_others(tmp_path, monkeypatch):
    """Libraries that write take it for the home folder, where it begins a path."""
    monkeypatch.chdir(tmp_path)
    with atomic_path("~/a.csv") as temporary:
        assert temporary.is_absolute()
        temporary.write_text("x")
    assert (tmp_path / "~" / "a.csv").is_file()
