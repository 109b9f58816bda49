"""Writes the reference: a page for each package with the docstrings of its public names, and a page of the commands.

Both are made before each build, from the `__all__` of the modules and from the command line itself. The build warns,
and with `-W` fails, if a public name is on no page or has no docstring.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import json
import pkgutil
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path
from typing import Any, get_args

import keras
import yaml
from pydantic import BaseModel
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.pycode import ModuleAnalyzer
from sphinx.util import logging
from sphinx.util.inspect import stringify_signature

import acreg
from acreg.cli.main import app as program
from acreg.training import schema

FOLDER = "reference/generated"
HELP_WIDTH = 100
MODULES = ("acreg.errors", "acreg.layers.functional")
"""Public modules that are no packages."""
logger = logging.getLogger(__name__)


def public_modules() -> list[str]:
    """The packages of acreg that have an `__all__`, and the modules beside them that are public, by name."""
    packages = [module.name for module in pkgutil.walk_packages(acreg.__path__, "acreg.") if module.ispkg]
    found = [name for name in packages if getattr(importlib.import_module(name), "__all__", None)]
    return sorted(["acreg", *found, *MODULES])


def public_names(module: str) -> dict[str, Any]:
    """The public names of a module with their objects; modules have pages of their own."""
    imported = importlib.import_module(module)
    found = {name: getattr(imported, name) for name in sorted(imported.__all__, key=str.lower)}
    return {name: value for name, value in found.items() if not inspect.ismodule(value)}


def homes() -> dict[str, dict[str, str]]:
    """For each public module, where each of its names is documented, as `module.name`.

    What several modules offer is documented once: in the outermost package around the file that defines it, or else in
    the first of them, but never in acreg itself.
    """
    contents = {module: public_names(module) for module in public_modules()}

    def home(module: str, name: str, value: Any) -> str:
        offering = [m for m, names in contents.items() if m != "acreg" and names.get(name) is value] or [module]
        source = f"{getattr(value, '__module__', '')}."
        return min((m for m in offering if source.startswith(f"{m}.")), key=len, default=offering[0])

    return {
        module: {name: f"{home(module, name, value)}.{name}" for name, value in names.items()}
        for module, names in contents.items()
    }


def module_page(module: str, places: dict[str, str]) -> str:
    """The page of a module, in reStructuredText."""
    here = [name for name in places if places[name] == f"{module}.{name}"]
    elsewhere = [name for name in places if name not in here]
    lines = [module, "=" * len(module), "", f".. automodule:: {module}", "   :no-members:", ""]
    if here:
        lines += [f".. currentmodule:: {module}", "", ".. autosummary::", "   :nosignatures:", ""]
        lines += [f"   {name}" for name in here] + [""]
    if elsewhere:
        lines += ["Documented in another module:", ""]
        lines += [f"- `{module}.{name} <{places[name]}>`" for name in elsewhere] + [""]
    values = public_names(module)
    for name in here:
        kind = "class" if inspect.isclass(values[name]) else "function" if inspect.isroutine(values[name]) else "data"
        lines += [f".. auto{kind}:: {module}.{name}"] + ["   :no-value:"] * (kind == "data") + [""]
    return "\n".join(lines)


def commands(command: Any, name: str) -> Iterator[tuple[str, str]]:
    """A command and its sub-commands: each with its name and its help."""
    context = command.context_class(command, info_name=name, terminal_width=HELP_WIDTH, max_content_width=HELP_WIDTH)
    yield name, command.get_help(context)
    for part in command.list_commands(context) if hasattr(command, "list_commands") else ():
        yield from commands(command.get_command(context, part), f"{name} {part}")


def command_page() -> str:
    """The page of all commands, in reStructuredText."""
    import typer

    lines = ["Commands", "========", "", "What `acreg COMMAND --help` prints.", ""]
    for name, text in commands(typer.main.get_command(program), "acreg"):
        lines += [name, ("-" if name.count(" ") < 2 else "~") * len(name), "", ".. code-block:: text", ""]
        lines += [f"   {line}".rstrip() for line in text.splitlines()] + [""]
    return "\n".join(lines)


def recipe_page() -> str:
    """The page of the keys of a recipe, section by section, in reStructuredText."""
    text = "What each key of a recipe means, and its value where a recipe leaves it out."
    lines = ["Recipe keys", "===========", "", f"{text} How recipes are written: :doc:`/how-to/train`.", ""]
    for name, section in {"recipe": schema.Recipe, **sections(schema.Recipe)}.items():
        lines += [name, "-" * len(name), "", f".. autoclass:: acreg.training.schema.{section.__name__}"]
        lines += ["   :no-index:", "   :no-members:", "", ".. code-block:: yaml", ""]
        lines += [f"   {line}" for line in defaults(section).splitlines()] + [""]
    return "\n".join(lines)


def sections(model: type[BaseModel], before: str = "") -> dict[str, type[BaseModel]]:
    """The sections of a recipe below `model`, by the key that they have in the file."""
    found: dict[str, type[BaseModel]] = {}
    for key, field in model.model_fields.items():
        for part in (field.annotation, *get_args(field.annotation)):
            if inspect.isclass(part) and issubclass(part, BaseModel) and part.__module__ == schema.__name__:
                found |= {f"{before}{key}": part, **sections(part, f"{before}{key}.")}
    return found


def defaults(section: type[BaseModel]) -> str:
    """The keys of a section with their defaults, as YAML."""
    values = {}
    for key, field in section.model_fields.items():
        default = field.get_default(call_default_factory=True, validated_data={})
        if isinstance(default, BaseModel) or dataclasses.is_dataclass(default):
            default = "(a section)"
        values[field.alias or key] = "(required)" if field.is_required() else default
    return yaml.safe_dump(json.loads(json.dumps(values)), sort_keys=False, default_flow_style=None)


def write_pages(app: Sphinx) -> None:
    """Write the pages anew where they have changed, and remove those of modules that are no more."""
    folder = Path(app.srcdir) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    places = homes()
    pages = {f"{module}.rst": module_page(module, places[module]) for module in places}
    pages |= {"commands.rst": command_page(), "recipes.rst": recipe_page()}
    for old in folder.glob("*.rst"):
        if old.name not in pages:
            old.unlink()
    for name, text in pages.items():
        page = folder / name
        if not page.is_file() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")


def constant_docs(module: str, name: str) -> list[str]:
    """The docstring below a constant, in the module that defines it."""
    analyzer = ModuleAnalyzer.for_module(module)
    found = analyzer.find_attr_docs().get(("", name))
    if found:
        return found
    stub = Path(analyzer.srcname).with_suffix(".pyi")  # of a package that loads its names when they are first used
    source = stub.read_text(encoding="utf-8") if stub.is_file() else analyzer.code
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and name in [part.name for part in node.names]:
            return constant_docs(resolve_name("." * node.level + node.module, module), name)
    return []


def describe(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Give each constant its own docstring, not that of its type; warn of public names without one."""
    if what == "data":
        lines[:] = constant_docs(*name.rsplit(".", 1))
    if what in ("class", "function", "data") and not any(lines):
        logger.warning("The public name %s has no docstring.", name)


def sign(app: Sphinx, what: str, name: str, value: Any, options: Any, *_: Any) -> tuple[str, None] | None:
    """Signatures of Keras classes come from `__init__`, not `__new__`; those of pydantic models have no types."""
    if what != "class" or not issubclass(value, keras.layers.Layer | BaseModel):
        return None
    if value.__module__ == schema.__name__:
        return "", None  # the page of recipes has the keys as they stand in the file
    signature = inspect.signature(value.__init__ if issubclass(value, keras.layers.Layer) else value)
    shown = [parameter for parameter in signature.parameters.values() if parameter.name != "self"]
    if issubclass(value, BaseModel):
        shown = [parameter.replace(annotation=parameter.empty, default=parameter.empty) for parameter in shown]
    return stringify_signature(signature.replace(parameters=shown, return_annotation=signature.empty)), None


def check_complete(app: Sphinx, env: BuildEnvironment) -> None:
    """Warn of public names that are on no page."""
    documented = env.domains.python_domain.objects
    for module, places in homes().items():
        for name, place in places.items():
            if place not in documented:
                logger.warning("The public name %s.%s is on no page of the reference.", module, name)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", write_pages)
    app.connect("autodoc-process-docstring", describe)
    app.connect("autodoc-process-signature", sign)
    app.connect("env-check-consistency", check_complete)
    return {"parallel_read_safe": True}
