import inspect
import threading
import warnings
from pathlib import Path

import pytest

from acreg.baselines import Baseline
from acreg.data.prepare.rigid_alignment import rigid_map
from acreg.errors import DoubtfulResult, UsageError, argument, images_by_name, options_named, quiet
from acreg.evaluation.scoring import score_pair
from acreg.geometry import unregistered
from acreg.plotting.warped_pair import view_pair
from acreg.registration.methods import PresetMethod, Unregistered
from acreg.registration.pair import register_pair
from acreg.registration.registering import register
from acreg.registration.saving import save_registration


def test_images_by_position_are_refused_with_the_names_to_write():
    @images_by_name
    def register(method, *, fixed, moving=None):
        """What it does."""
        return method, fixed, moving

    assert register(1, fixed=2, moving=3) == register(method=1, fixed=2, moving=3) == (1, 2, 3)
    assert register.__doc__ == "What it does."
    with pytest.raises(UsageError, match=r"by name.*Received: 2 more.*Write register\(fixed=..., moving=...\)"):
        register(1, 2, 3)
    with pytest.raises(TypeError, match="fixed"):
        register(1)


def test_whatever_takes_two_images_takes_them_by_name():
    methods = [(Unregistered, "register"), (PresetMethod, "register"), (PresetMethod, "register_many")]
    functions = [getattr(*found) for found in [*methods, (PresetMethod, "segment"), (Baseline, "register")]]
    functions += [register, register_pair, save_registration, score_pair, rigid_map, unregistered, view_pair]
    for function in (
        *functions,
        register,
        register_pair,
        save_registration,
        score_pair,
        rigid_map,
        unregistered,
        view_pair,
    ):
        parameters = inspect.signature(function).parameters
        assert {parameters[name].kind for name in ("fixed", "moving")} == {inspect.Parameter.KEYWORD_ONLY}
        with pytest.raises(UsageError, match=f"by name.*{function.__name__}"):
            function(*range(9))


def test_a_message_names_an_argument_as_the_caller_wrote_it() -> None:
    cases = [
        (("fixed_labels",), "fixed_labels", "--fixed-labels"),
        (("model", "a"), "model='a'", "--model a"),
        (("fill", 5.0), "fill=5.0", "--fill 5"),
        (("overwrite", True), "overwrite=True", "--overwrite"),
        (("pairs", Path("a.csv")), "pairs=a.csv", "--pairs a.csv"),
    ]
    for arguments, python, option in cases:
        assert argument(*arguments) == python
        with options_named():
            assert argument(*arguments) == option
        assert argument(*arguments) == python


def test_warnings_are_quiet_in_their_own_thread_and_only_there_and_then():
    entered, left = (threading.Event(), threading.Event()), (threading.Event(), threading.Event())

    def read(number: int) -> None:
        with quiet(Warning):
            entered[number].set()
            left[number].wait(10)
            warnings.warn(f"thread {number}", stacklevel=2)

    threads = [threading.Thread(target=read, args=(number,)) for number in (0, 1)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for number, thread in enumerate(threads):  # they leave in the order in which they entered
            thread.start()
            assert entered[number].wait(10)
        warnings.warn("while both are quiet", DoubtfulResult, stacklevel=1)
        for number, thread in enumerate(threads):
            left[number].set()
            thread.join(10)
        warnings.warn("afterwards", DoubtfulResult, stacklevel=1)
        with quiet(DoubtfulResult):
            warnings.warn("doubtful", DoubtfulResult, stacklevel=1)
            with quiet(DeprecationWarning):
                warnings.warn("old and doubtful", DoubtfulResult, stacklevel=1)
                warnings.warn("old", DeprecationWarning, stacklevel=1)
            warnings.warn("another", UserWarning, stacklevel=1)
    assert [str(one.message) for one in caught] == ["while both are quiet", "afterwards", "another"]
