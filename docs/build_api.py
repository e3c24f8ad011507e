"""Build the API reference from the docstrings: python docs/build_api.py [FOLDER]; `make docs` does it."""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from pathlib import Path

import pdoc
import pdoc.render

import chuk_ai_session_manager

# What applications import from; the first one has most of it.
MODULES = (
    "chuk_ai_session_manager",
    "chuk_ai_session_manager.providers.anthropic_messages",
    "chuk_ai_session_manager.exceptions",
    "chuk_ai_session_manager.models",
    "chuk_ai_session_manager.accounts.pricing",
    "chuk_ai_session_manager.sample_tools",
    "chuk_ai_session_manager.session_storage",
    "chuk_ai_session_manager.stores",
    "chuk_ai_session_manager.stores.durability",
    "chuk_ai_session_manager.stores.redis.store",
    "chuk_ai_session_manager.testing",
)


def prepare() -> None:
    """Have at hand what pdoc would not find: names that are imported late, and aliases that are texts."""
    for module in (chuk_ai_session_manager, chuk_ai_session_manager.stores):
        for name in module.__all__:
            setattr(module, name, getattr(module, name))
    modules = [vars(module) for name, module in sys.modules.items() if name.startswith(MODULES[0])]
    aliases: dict[str, object] = {}
    for names in modules:
        for name, kind in names.get("__annotations__", {}).items():
            if kind == "TypeAlias" and isinstance(names[name], str):
                aliases[name] = eval(names[name], names)  # noqa: S307  (our own source)
    for names in modules:
        names.update({name: alias for name, alias in aliases.items() if name in names})


def build(folder: Path) -> None:
    """Write the pages; what pdoc does not understand is an error."""
    for name in MODULES:
        import_module(name)
    prepare()
    pdoc.render.configure(docformat="google", footer_text=f"version {chuk_ai_session_manager.__version__}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pdoc.pdoc(*MODULES, output_directory=folder)


if __name__ == "__main__":
    build(Path(sys.argv[1] if len(sys.argv) > 1 else "build/api"))
