"""An environment for each peer, made from the package index, with nothing in it but that peer."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / ".benchmarks"

_ORIGINAL = "chuk-ai-session-manager[redis,tiktoken]"
REQUIREMENTS = {
    "project": ["--editable", f"{ROOT}[redis,tiktoken]"],
    "project-tokenizers": ["--editable", f"{ROOT}[redis,tokenizers]"],
    "project-estimates": ["--editable", f"{ROOT}[redis]"],
    "original-0.7.1": [f"{_ORIGINAL}==0.7.1"],
    "original-0.11": [f"{_ORIGINAL}>=0.11,<0.12"],
    "agents-sdk": ["openai-agents[redis]"],
    "chart": ["matplotlib"],
}


def python_of(environment: str) -> Path:
    """The Python of an environment, which is made if there is none with these requirements."""
    folder = FOLDER / environment
    python = folder / "bin" / "python"
    stamp = folder / "requirements.json"
    if not stamp.exists() or stamp.read_text("utf-8") != _wanted(environment):
        print(f"making the environment {environment} ...", file=sys.stderr, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        _run(sys.executable, "-m", "venv", str(folder))
        install = ["install", "-qq", "--disable-pip-version-check", *REQUIREMENTS[environment]]
        _run(str(python), "-m", "pip", *install)
        stamp.write_text(_wanted(environment), "utf-8")
    return python


def _wanted(environment: str) -> str:
    project = (ROOT / "pyproject.toml").read_text("utf-8") if environment.startswith("project") else ""
    return json.dumps([sys.version, REQUIREMENTS[environment], project])


def _run(*words: str) -> None:
    subprocess.run(words, check=True, env=variables())  # noqa: S603  (our own words)


def variables() -> dict[str, str]:
    """The environment variables for them: no Python path, which would lead to the project's own source."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "SESSION_"))}
