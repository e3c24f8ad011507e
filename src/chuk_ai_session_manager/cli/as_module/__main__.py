"""Runs the command line for `python -m chuk_ai_session_manager`.

Python looks for `__main__` in the folders of the package's `__path__`; `chuk_ai_session_manager/__init__.py`
adds this one.
"""

from chuk_ai_session_manager.cli import main

raise SystemExit(main())
