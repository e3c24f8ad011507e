"""`python -m chuk_ai_session_manager`: the command line."""

from chuk_ai_session_manager.cli import main

raise SystemExit(main())
