"""One process at a time writes into a folder, and a killed command loses nothing; `tests.cli.kills` kills many more."""

import subprocess
import sys
import threading

import pytest

from acreg.cli.main import main
from acreg.data.phantoms.chests import make_dataset
from acreg.io import sole_writer


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "chests"
    make_dataset(folder, subjects=10, shape=(32, 32), seed=0)
    return folder


@pytest.fixture
def busy(tmp_path):
    """A folder that is written to by another thread, which is no less another writer than another process."""
    folder = tmp_path / "busy"
    begun, over = threading.Event(), threading.Event()

    def write():
        with sole_writer(folder):
            begun.set()
            over.wait()

    thread = threading.Thread(target=write)
    thread.start()
    begun.wait()
    yield folder
    over.set()
    thread.join()


@pytest.mark.parametrize(
    "words",
    [
        ["register", "--fixed=a.png", "--moving=b.png", "--method=unregistered"],
        ["evaluate", "--data={data}", "--method=unregistered"],
        ["compare", "{data}"],
        ["train", "acregnet-phantoms"],
        ["train", "acregnet-phantoms", "--resume"],
        ["segment", "--images={data}/images", "--data={data}", "--method=unregistered"],
        ["quality", "--images={data}/manifest.csv", "--data={data}", "--method=unregistered"],
        ["surfaces", "--image=a.png", "--data={data}", "--model=svfnet-hearts"],
        ["classify", "--data={data}", "--diseased=phantom00*"],
        ["plausibility", "--data={data}", "--model=autoencoder-jsrt"],
        ["demo"],
        ["data", "prepare", "folder", "--source={data}"],
        ["data", "prepare", "folder", "--source={data}", "--spacing=2"],
        ["data", "phantoms", "heart"],
        ["data", "synthesize", "{data}"],
        ["data", "velocities", "{data}"],
    ],
    ids=" ".join,
)
def test_every_command_that_writes_a_folder_is_refused(data, busy, capsys, words):
    words = [word.format(data=data) for word in words]
    assert main([*words, f"--out={busy}"]) == 1
    assert "Error: One process at a time writes into a folder." in capsys.readouterr().err
    assert [path.name for path in busy.iterdir()] == [".acreg.lock"]


def test_a_preset_is_saved_by_one_process_at_a_time(busy):
    from acreg.errors import AcregError
    from acreg.io import Preprocessing
    from acreg.models import RegNet

    model = RegNet(network="unet", filters=(4, 8), preprocessing=Preprocessing(shape=(16, 16)))
    with pytest.raises(AcregError, match="One process at a time"):
        model.save_preset(busy)


@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGKILL")
def test_killed_commands_and_two_at_once(repository):
    done = subprocess.run(
        [sys.executable, "-m", "tests.cli.kills", "--count", "1"], cwd=repository, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("two at once") == 3
