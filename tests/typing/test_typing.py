"""Applications that are type-checked see the types that the documentation promises."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_public_api_has_the_types_that_it_should() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "tests/typing/api.py", "tests/typing/sync_api.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
