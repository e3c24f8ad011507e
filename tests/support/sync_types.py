"""Makes the types of the blocking API from the source of the async one: `sync/__init__.pyi`.

.venv/bin/python tests/support/sync_types.py

writes them. A test compares what is there with what this makes.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from types import FunctionType
from typing import Any

import chuk_ai_session_manager as package
from chuk_ai_session_manager import sync
from chuk_ai_session_manager.sync.blocking import NAMES, is_async_class

NAME = package.__name__
STUB = Path(sync.__file__).with_suffix(".pyi")
HEADER = '''"""The types of the blocking API, made from the async API by tests/support/sync_types.py."""

# ruff: noqa
'''
# What a parameter may also be: the blocking API's own stores stand for those of the async API.
ALSO = {"SessionStore": ["EventStore", "ChukSessionsStore", "BlockingStore"], "HomeStore": ["EventStore"]}
BLOCKING = {"AsyncIterator": "BlockingIterator", "AsyncGenerator": "BlockingIterator"}
VARIABLES = ("T", "Client")
# Those that a type checker must see, and how.
DECORATORS: dict[str, ast.expr] = {name: ast.Name(name) for name in ("overload", "property", "classmethod")}
DECORATORS["cached_property"] = ast.Name("property")
# What is written by hand, in `sync` itself.
OWN = {
    "run": (
        "def run(work: Coroutine[Any, Any, T], context: Context | None = None) -> T: ...",
        {
            "from collections.abc import Coroutine",
            "from contextvars import Context",
            "from typing import Any",
            "from typing import TypeVar",
        },
    ),
}


def async_value(name: str) -> Any:
    """The value of a name in the async API."""
    home = vars(sync)["_HOME_OF"].get(name)
    if home is not None and not home.startswith("sync."):
        return getattr(import_module(f"{NAME}.{home}"), name)
    return getattr(package, name)


def is_made_blocking(value: Any) -> bool:
    return is_async_class(value) if isinstance(value, type) else isinstance(value, FunctionType)


NAMES_HERE = sorted(set(dir(sync)) - OWN.keys())
MADE = {name: value for name in NAMES_HERE if is_made_blocking(value := async_value(name))}


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(Path(str(import_module(module).__file__)).read_text("utf-8"))


@cache
def imports_of(module: str) -> dict[str, str]:
    """The statements that import what a module's annotations name."""
    package_name = module if hasattr(import_module(module), "__path__") else module.rpartition(".")[0]
    found: dict[str, str] = {}
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.ImportFrom):
            parts = package_name.split(".")
            start = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
            home = ".".join(part for part in (start, node.module) if part)
            for alias in node.names:
                renamed = f" as {alias.asname}" if alias.asname else ""
                found[alias.asname or alias.name] = f"from {home} import {alias.name}{renamed}"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                found[alias.asname or alias.name] = f"import {alias.name}"
        elif isinstance(node, ast.ClassDef):
            found[node.name] = f"from {module} import {node.name}"
    for node in tree_of(module).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        for target in targets:
            if isinstance(target, ast.Name):
                found.setdefault(target.id, f"from {module} import {target.id}")
    return found


class Annotations(ast.NodeTransformer):
    """Turns annotations of the async API into those of the blocking one, and notes what they import."""

    def __init__(self, module: str, imported: set[str]) -> None:
        self.module = module
        self.imported = imported

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        name = getattr(node.value, "id", "")
        if name == "AsyncGenerator":  # a generator's second type is what it is sent
            assert isinstance(node.slice, ast.Tuple)
            node.slice = node.slice.elts[0]
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        name = BLOCKING.get(node.id, node.id)
        if name in ALSO:
            self.note(name)
            return ast.parse(" | ".join([name, *ALSO[name]]), mode="eval").body
        self.note(name)
        return ast.copy_location(ast.Name(name), node)

    def note(self, name: str) -> None:
        if name in MADE or name in VARIABLES or hasattr(builtins, name):
            return
        if name == "SessionStore":
            self.imported.add(f"from {NAME}.sync.blocking import BlockingStore")
        if name == "BlockingIterator":
            self.imported.add(f"from {NAME}.sync.blocking import BlockingIterator")
        elif name in NAMES_HERE:
            self.imported.add(f"from {NAME} import {name} as {name}")
        else:
            self.imported.add(imports_of(self.module)[name])


def header_of(node: ast.FunctionDef | ast.AsyncFunctionDef, module: str, imported: set[str]) -> str:
    """A function's line in the stub."""
    new = ast.FunctionDef(NAMES.get(node.name, node.name), node.args, [], [], node.returns)
    returns = node.returns
    if isinstance(returns, ast.Subscript) and getattr(returns.value, "id", "") == "Awaitable":
        returns = returns.slice
    arguments = new.args
    is_default = (ast.Constant, ast.UnaryOp)
    arguments.defaults = [d if isinstance(d, is_default) else ast.Constant(...) for d in arguments.defaults]
    arguments.kw_defaults = [
        d if d is None or isinstance(d, is_default) else ast.Constant(...) for d in arguments.kw_defaults
    ]
    change = Annotations(module, imported)
    every = [
        *arguments.posonlyargs,
        *arguments.args,
        *arguments.kwonlyargs,
        arguments.vararg,
        arguments.kwarg,
    ]
    for argument in every:
        if argument is not None and argument.annotation is not None:
            argument.annotation = change.visit(argument.annotation)
    new.returns = None if returns is None else change.visit(returns)
    new.body = [ast.Expr(ast.Constant(...))]
    new.decorator_list = [
        change.visit(DECORATORS[name])
        for each in node.decorator_list
        if (name := ast.unparse(each)) in DECORATORS
    ]
    ast.fix_missing_locations(new)
    return ast.unparse(new)


def attributes_of(init: ast.FunctionDef, module: str, imported: set[str]) -> Iterator[str]:
    """The public attributes that a constructor sets."""
    change = Annotations(module, imported)
    given = {each.arg: each.annotation for each in [*init.args.args, *init.args.kwonlyargs]}
    for node in ast.walk(init):
        if isinstance(node, ast.AnnAssign):
            target: ast.expr = node.target
            annotation: ast.expr | None = node.annotation
        elif isinstance(node, ast.Assign):
            target = node.targets[0]
            annotation = given.get(getattr(node.value, "id", ""))
        else:
            continue
        if not isinstance(target, ast.Attribute) or target.attr.startswith("_"):
            continue
        imported.add("from typing import Any")
        is_known = annotation is not None and is_plain(annotation)
        yield f"{target.attr}: {ast.unparse(change.visit(copy(annotation))) if is_known else 'Any'}"


def copy(annotation: Any) -> Any:
    """The same again: what is changed may stand elsewhere, too."""
    return ast.parse(ast.unparse(annotation), mode="eval").body


def is_plain(annotation: ast.expr) -> bool:
    """Whether an attribute's type is of builtins and names that everybody knows."""
    names = [node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)]
    return all(hasattr(builtins, name) or name in {"Any", *NAMES_HERE} - MADE.keys() for name in names)


# What the classes have for other modules of the package.
INTERNAL = {"writer", "names_of", "record_provider", "lifecycle"}


def members_of(kind: type, imported: set[str]) -> dict[str, list[str]]:
    """The lines of a class's own members, by their names."""
    module = kind.__module__
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(tree, ast.ClassDef)
    lines: dict[str, list[str]] = {}
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if node.name == "__init__" and isinstance(node, ast.FunctionDef):
            for line in attributes_of(node, module, imported):
                lines[line.partition(":")[0]] = [line]
        elif node.name.startswith("_") and node.name not in NAMES:
            continue
        is_overloaded = any(ast.unparse(each) == "overload" for each in node.decorator_list)
        if node.name in lines and not is_overloaded:
            continue  # what the overloads are of
        lines.setdefault(node.name, []).append(header_of(node, module, imported))
    return lines


def class_text(name: str, kind: type, imported: set[str]) -> str:
    bases = [each for each in kind.__mro__[1:] if each in MADE.values()]
    inherited = {each for base in bases for each in base.__mro__}
    lines: dict[str, list[str]] = {}
    for each in reversed([each for each in kind.__mro__ if is_async_class(each) and each not in inherited]):
        lines |= members_of(each, imported)
    for known in {member for base in inherited for member in vars(base)} | INTERNAL:
        if known != "__init__":
            lines.pop(known, None)
    body = [textwrap.indent(line, "    ") for each in lines.values() for line in each]
    base = f"({bases[0].__name__})" if bases else ""
    return f"class {name}{base}:\n" + ("\n".join(body) or "    ...")


def function_text(name: str, function: FunctionType, imported: set[str]) -> str:
    tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    assert isinstance(tree, ast.FunctionDef | ast.AsyncFunctionDef)
    if tree.name != name:  # another name for it
        return f"{name} = {tree.name}"
    return header_of(tree, function.__module__, imported)


def stub() -> str:
    """The text of the stub."""
    imported: set[str] = set()
    texts: list[str] = []
    for name, value in MADE.items():
        make = class_text if isinstance(value, type) else function_text
        texts.append(make(name, value, imported))
    for text, needed in OWN.values():
        texts.append(text)
        imported |= needed
    imported.add("from typing import TypeVar")
    imported |= {f"from {NAME} import {name} as {name}" for name in NAMES_HERE if name not in MADE}
    everything = f"__all__ = {sorted([*NAMES_HERE, *OWN])!r}"
    variables = [f'{name} = TypeVar("{name}")' for name in VARIABLES]
    lines = [HEADER, *sorted(imported), "", everything, *variables, *texts]
    ruff = Path(sys.executable).with_name("ruff")
    return subprocess.run(
        [ruff, "format", "--stdin-filename", "sync.pyi", "-"],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        check=True,
    ).stdout


if __name__ == "__main__":
    STUB.write_text(stub(), "utf-8")
