"""`python -m chuk_ai_session_manager`: the command line."""

from .cli import main

raise SystemExit(main())
