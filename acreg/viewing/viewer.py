"""The code of NiiVue, the WebGL viewer of the page, from the package ipyniivue.

ipyniivue is not imported: that would start the machinery of notebooks. Its widget contains NiiVue as a whole ES module,
percent-encoded in a string.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import re
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote

from acreg.errors import AcregError

PACKAGE = "ipyniivue"
ENCODED = re.compile(r"[A-Za-z0-9\-_.!~*'()%]{100000,}")  # what encodeURIComponent leaves
EXPORTS = re.compile(r"export\s*\{([^{}]*)\};?\s*$")
NEEDED = ("Niivue", "NVImage")


@lru_cache(maxsize=1)
def niivue() -> tuple[str, str]:
    """The code of NiiVue for a `<script type="module">` element, and the text of its licence.

    The code sets `globalThis.niivue` to an object with the exports in `NEEDED`.

    Raises:
        AcregError: ipyniivue is not installed, or does not contain NiiVue as expected.
    """
    spec = importlib.util.find_spec(PACKAGE)
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    if not places:
        raise _missing(f"an installation without {PACKAGE}")
    widget = Path(places[0]) / "static" / "widget.js"
    try:
        found = max(ENCODED.findall(widget.read_text(encoding="utf-8")), key=len, default="")
    except OSError:
        found = ""
    code = unquote(found)
    exports = EXPORTS.search(code)
    names = dict(_exported(part) for part in exports[1].split(",")) if exports else {}
    if exports is None or not names.keys() >= set(NEEDED):
        raise _missing(f"{widget}, in which NiiVue was not found")
    given = ", ".join(f"{name}: {names[name]}" for name in NEEDED)
    code = f"{code[: exports.start()]}globalThis.niivue = {{{given}}};"
    return code.replace("</script", r"<\/script"), _licence()


def _exported(part: str) -> tuple[str, str]:
    """The name outside and inside of the module, of `inside` or `inside as outside`."""
    inside, _, outside = part.strip().partition(" as ")
    return outside.strip() or inside, inside


def _licence() -> str:
    """NiiVue's licence, which has to go with every copy of its code."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError, OSError):
        for path in importlib.metadata.files(PACKAGE) or ():
            if path.name.upper().startswith("LICENSE"):
                return path.read_text(encoding="utf-8")
    raise _missing(f"{PACKAGE} without its licence")


def _missing(received: str) -> AcregError:
    return AcregError(
        f"The page of a pair contains NiiVue, which the package {PACKAGE} brings. Received: {received}. Install it "
        f"again with `pip install --force-reinstall '{PACKAGE}>=2.4'`."
    )
