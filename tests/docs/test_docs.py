"""The documentation is there, whole, and names what exists."""

from __future__ import annotations

import importlib
import inspect
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest

import chuk_ai_session_manager

ROOT = Path(__file__).parents[2]
PACKAGE = Path(chuk_ai_session_manager.__file__).parent
LUA = PACKAGE / "stores" / "redis" / "lua"
PAGES = sorted(path for path in (*ROOT.glob("*.md"), *ROOT.glob("[!.]*/*.md")) if "build" not in path.parts)
ARCHITECTURE = ROOT / "ARCHITECTURE.md"
# The modules that the reference shows.
MODULES = sorted(
    {
        name
        for page in (ROOT / "docs" / "reference").glob("*.md")
        for name in re.findall(r"^::: ([\w.]+)", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
        if name.rpartition(".")[2].islower()
    }
)


def test_the_site_is_built_without_a_warning_and_has_every_public_name(tmp_path: Path) -> None:
    for name in ("docs", "src"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    program = Path(sysconfig.get_path("scripts")) / "zensical"
    run = subprocess.run(
        [program, "build", "--strict"], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    reference = "".join(
        path.read_text("utf-8") for path in (tmp_path / "build/site/reference").rglob("*.html")
    )
    described = {
        name.rpartition(".")[2] for name in re.findall(r'id="chuk_ai_session_manager\.([\w.]+)"', reference)
    }
    assert set(chuk_ai_session_manager.__all__) - {"__version__", "get_version", "is_available"} <= described
    assert (tmp_path / "build/site/search.json").is_file()


@pytest.mark.parametrize("name", MODULES)
def test_what_is_public_is_described(name: str) -> None:
    module = importlib.import_module(name)
    for each in getattr(module, "__all__", None) or [key for key in vars(module) if not key.startswith("_")]:
        value = getattr(module, each)
        if not (inspect.isclass(value) or inspect.isfunction(value)) or not is_ours(value):
            continue
        assert inspect.getdoc(value), each
        for key, member in vars(value).items() if inspect.isclass(value) else ():
            is_test = key.startswith("test_")  # whose name says what it checks
            if inspect.isfunction(member) and not key.startswith("_") and not is_test and is_ours(member):
                assert inspect.getdoc(getattr(value, key)), f"{each}.{key}"


def is_ours(value: Any) -> bool:
    return str(value.__module__).startswith("chuk_ai_session_manager")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        name, _, heading = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), target
        if heading:
            assert heading in anchors(file), target


def anchors(page: Path) -> set[str]:
    """The headings of a page, as links name them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_map_shows_every_room_once_and_no_other() -> None:
    _, section = ARCHITECTURE.read_text(encoding="utf-8").split("## Rooms")
    table = section[section.index("\n|") : section.index("```mermaid")]
    shown = [name for row in table.splitlines() for name in re.findall(r"`(\w+)/?`", row.partition(" | ")[0])]
    rooms = {
        path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert sorted(shown) == sorted(rooms - {"__init__", "anthropic_messages"})


def test_the_files_that_the_map_names_exist() -> None:
    named = re.findall(r"`([\w/]+/[\w/]+\.(?:py|lua))`", ARCHITECTURE.read_text(encoding="utf-8"))
    assert [name for name in named if not ((PACKAGE / name).is_file() or (ROOT / name).is_file())] == []
    assert {f"stores/redis/lua/{path.name}" for path in LUA.iterdir()} <= set(named)


def test_the_functions_that_the_map_names_exist() -> None:
    text = ARCHITECTURE.read_text(encoding="utf-8")
    source = "".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    named = re.findall(r"`(?:(\w+)\.)?(\w+)\(\)`", text)
    assert len(named) > 20
    for owner, name in named:
        assert re.search(rf"def {name}\b", source), name
        assert not owner or re.search(rf"class {owner}\b", source), owner


def test_the_tables_and_fields_that_the_map_shows_are_those_of_the_stores() -> None:
    text = ARCHITECTURE.read_text(encoding="utf-8")
    sqlite = (PACKAGE / "stores" / "sqlite" / "store.py").read_text(encoding="utf-8")
    for table, columns in re.findall(r"CREATE TABLE (\w+) \((.*?)\n\)", sqlite, flags=re.DOTALL):
        assert f"`{table}`" in text
        for column in re.findall(r"^    ([a-z_]+) ", columns, flags=re.MULTILINE):
            assert f"`{column}`" in text, f"{table}.{column}"
    scripts = "".join(path.read_text(encoding="utf-8") for path in LUA.iterdir())
    for field in ("schema", "segments", "alive", "last", "parent", "renewed", "in"):
        assert f"'{field}'" in scripts
        assert f"`{field}`" in text
