"""Imports run one way: a module imports only from lower levels, and inside a function only what is slow."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import chuk_ai_session_manager

ROOT = Path(chuk_ai_session_manager.__file__).parent

# From the ground up, room by room; in each, the modules in the order in which they build on each other.
LEVELS = (
    ("exceptions", "exceptions.validation"),
    (
        "accounts",
        "accounts.estimator",
        "accounts.model_names",
        "accounts.vocabularies",
        "accounts.counters",
        "accounts.tokens",
        "accounts.media",
        "accounts.money",
        "accounts.price_list",
        "accounts.pricing",
    ),
    (
        "models.absent_text",
        "models.guard",
        "models.turns",
        "models.event_source",
        "models.event_type",
        "models.record",
        "models.session_metadata",
        "models.token_usage",
        "models.amounts",
        "models.session_event",
        "models.session_run",
        "models.event_page",
        "models.correction",
        "models.choice",
        "models.session_totals",
        "models.home",
        "models.collisions",
        "models.family",
        "models.storing",
        "models.session",
        "models",
    ),
    (
        "providers.common",
        "providers.failures",
        "providers.sendable",
        "providers.parts",
        "providers.pairing",
        "providers.messages",
        "providers.earlier",
        "providers.fingerprints",
        "providers.usage_counts",
        "providers.usage_shapes",
        "providers.usage",
        "providers.answers",
        "providers.endings",
        "providers.calls_in_pieces",
        "providers.anthropic",
        "providers.langchain",
        "providers.context_rows",
        "providers.call_ids",
        "providers.bedrock",
        "providers.bedrock_rows",
        "providers.cohere",
        "providers.google_live",
        "providers.google",
        "providers.google_interactions",
        "providers.ollama",
        "providers.openai_chat",
        "providers.openai_responses",
        "providers.openai_agents",
        "providers.plain",
        "providers.pydantic_ai",
        "providers.xai",
        "providers.openai_messages",
        "providers.responses_messages",
        "providers.responses_state",
        "providers.anthropic_messages",
        "providers.bedrock_messages",
        "providers.google_messages",
        "providers.cache_marks",
        "providers.formats",
        "providers.requests",
        "providers.registry",
        "providers.details",
        "providers.streamed_answers",
        "providers",
    ),
    (
        "stores.durability",
        "stores.recency",
        "stores.receipts",
        "stores.redaction",
        "stores.erasing",
        "stores.walking",
        "stores.base",
        "stores.whole_sessions",
        "stores.placement",
        "stores.memory_accounts",
        "stores.memory_lifetimes",
        "stores.bodies",
        "stores.shared_texts",
        "stores.memory",
        "stores.lifecycle",
        "stores.folding",
        "stores.stored_data",
        "stores.counting",
        "stores.event_json",
        "stores.codec",
        "stores.merging",
        "stores.changes",
        "stores.objects",
        "stores.record_store",
        "stores.durable",
        "stores.sqlite.known_logs",
        "stores.sqlite.worker",
        "stores.sqlite.file",
        "stores.sqlite.bodies",
        "stores.sqlite.transactions",
        "stores.sqlite.accounts",
        "stores.sqlite.erasing",
        "stores.sqlite.store",
        "stores.sqlite",
        "stores.redis.chores",
        "stores.redis.errors",
        "stores.redis.clients",
        "stores.redis.limit",
        "stores.redis.scripts",
        "stores.redis.exchange",
        "stores.redis.together",
        "stores.redis.link",
        "stores.redis.records",
        "stores.redis.replies",
        "stores.redis.keys",
        "stores.redis.accounts",
        "stores.redis.places",
        "stores.redis.listing",
        "stores.redis.lifetimes",
        "stores.redis.bodies",
        "stores.redis.reading",
        "stores.redis.known_counters",
        "stores.redis.appending",
        "stores.redis.writing",
        "stores.redis.deleting",
        "stores.redis.erasing",
        "stores.redis.store",
        "stores.redis",
        "stores",
    ),
    ("anthropic_messages", "session_storage"),
    (
        "conversation",
        "conversation.callbacks",
        "conversation.notes",
        "conversation.drafts",
        "conversation.billing",
        "conversation.path",
        "conversation.absent",
        "conversation.log_end",
        "conversation.order",
        "conversation.open_calls",
        "conversation.segments",
        "conversation.count_corrections",
        "conversation.looking_back",
        "conversation.own_ids",
        "conversation.late",
        "conversation.replays",
        "conversation.tool_calls",
        "conversation.tool_declarations",
        "conversation.tool_results",
        "conversation.tool_journal",
        "conversation.summaries",
        "conversation.sums",
        "conversation.background",
        "conversation.closing",
        "conversation.following",
        "conversation.opening",
        "conversation.pins",
        "conversation.pinned_turns",
        "conversation.originals",
        "conversation.recall",
        "conversation.recall.english",
        "conversation.recall.languages",
        "conversation.recall.words",
        "conversation.recall.calendar_words",
        "conversation.recall.dates",
        "conversation.recall.turns",
        "conversation.recall.related",
        "conversation.recall.speakers",
        "conversation.recall.index",
        "conversation.recall.ranking",
        "conversation.recall.hooks",
        "conversation.recall.keeping",
        "conversation.recall.logs",
        "conversation.recall.excerpts",
        "conversation.recall.finding",
        "conversation.recall.shown",
        "conversation.recall.tools",
        "conversation.forking",
        "conversation.origins",
        "conversation.context",
        "conversation.context.beginning",
        "conversation.context.steps",
        "conversation.context.lengths",
        "conversation.context.room",
        "conversation.context.wanted",
        "conversation.context.clearing",
        "conversation.context.windows",
        "conversation.context.fitting",
        "conversation.context.chain",
        "conversation.context.loops",
        "conversation.context.recalled",
        "conversation.context.seen",
        "conversation.context.asking",
        "conversation.usage_report",
        "conversation.budgets",
        "conversation.limits",
        "conversation.unanswered",
        "conversation.state",
        "conversation.corrected_bills",
        "conversation.appending",
        "conversation.writing",
        "conversation.reading",
        "conversation.unsendable",
        "conversation.second_thoughts",
        "conversation.redacting",
    ),
    (
        "session_prompt_builder",
        "infinite_conversation",
        "session_manager.writing",
        "session_manager.rethinking",
        "session_manager.reading",
        "session_manager.recalling",
        "session_manager",
        "session_aware_tool_processor",
        "sample_tools",
    ),
    (
        "api.installed",
        "api.recall",
        "api.tracking",
        "api.streams",
        "api.clients",
        "api.transfer",
        "api.chat_exports",
        "api.importing",
        "api.simple_api",
        "api",
    ),
    ("api.earlier_paths.simple_api",),
    ("sync.background", "sync.blocking", "sync.clients", "sync"),
    ("",),  # the package itself
    # For authors of stores: nothing here imports it.
    (
        "testing.readings",
        "testing.checks",
        "testing.samples",
        "testing.hostile",
        "testing.base",
        "testing.reopening",
        "testing.creating",
        "testing.appending",
        "testing.threads",
        "testing.reading",
        "testing.saving",
        "testing.deleting",
        "testing.listing",
        "testing.contents",
        "testing.sandboxes",
        "testing.lifetimes",
        "testing.managers",
        "testing.rethinking",
        "testing.windows",
        "testing.pinning",
        "testing.erasing",
        "testing.recall",
        "testing.redacting",
        "testing.bodies",
        "testing",
    ),
    # The command line: nothing else imports it either.
    (
        "cli.safe_text",
        "cli.options",
        "cli.files",
        "cli.figures",
        "cli.contents",
        "cli.charts",
        "cli.screen",
        "cli.transcript",
        "cli.listing",
        "cli.checkup",
        "cli.findings",
        "cli.report",
        "cli.newest",
        "cli.running",
        "cli.usage",
        "cli.token_counts",
        "cli.program",
        "cli.searching",
        "cli.erasing",
        "cli.repairing",
        "cli.moving",
        "cli.commands",
        "cli",
        "cli.as_module.__main__",
    ),
)
ORDER = [module for level in LEVELS for module in level]


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in ROOT.rglob("*.py")}


def is_for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imports_of(module: str, path: Path) -> Iterator[str]:
    """The modules of this package that one imports as it is loaded."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or is_for_types_only(node):
            continue
        if isinstance(node, ast.ImportFrom) and node.level:
            parts = package.split(".") if package else []
            base = ".".join(parts[: len(parts) - node.level + 1] + ([node.module] if node.module else []))
            for alias in node.names:
                inner = f"{base}.{alias.name}".strip(".")
                yield inner if inner in FILES else base
        waiting.extend(ast.iter_child_nodes(node))


def test_every_module_has_its_place() -> None:
    assert sorted(ORDER) == sorted(FILES)


def test_imports_go_down_only() -> None:
    upward = [
        f"{module or 'the package'} imports {imported}"
        for module, path in FILES.items()
        for imported in imports_of(module, path)
        if ORDER.index(imported) >= ORDER.index(module)
    ]
    assert not upward
    assert sum(1 for module, path in FILES.items() for _ in imports_of(module, path)) > 50


def test_nothing_is_imported_inside_a_function_to_avoid_a_cycle() -> None:
    late = [
        f"{module}:{node.lineno}"
        for module, path in FILES.items()
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    # What is slow to import, or an extra: the tool processor's library, the SQLite store,
    # the Redis client, the command line.
    assert sorted(name.partition(":")[0] for name in late) == [
        "cli",
        "stores",
        "stores",
    ]


def test_no_file_is_longer_than_500_lines() -> None:
    project = Path(__file__).parents[2]
    lengths = {
        path.relative_to(project).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for folder in ("src", "tests")
        for path in (project / folder).rglob("*.py")
    }
    assert len(lengths) > 200
    assert not {name for name, length in lengths.items() if length > 500}


def room_of(module: str) -> str:
    """The room that a module lies in: a folder, or a file beside the folders."""
    return module.partition(".")[0]


def rooms_below() -> dict[str, set[str]]:
    """The rooms that each room imports from."""
    below: dict[str, set[str]] = {room_of(module): set() for module in FILES if module}
    for module, path in FILES.items():
        if module:  # the package itself only hands out names
            below[room_of(module)] |= {room_of(name) for name in imports_of(module, path) if name}
    return {room: others - {room} for room, others in below.items()}


def test_the_package_has_at_most_18_entries() -> None:
    entries = {path.name for path in ROOT.iterdir()} - {"py.typed", "__pycache__"}
    assert len(entries) <= 18, sorted(entries)


def test_the_rooms_have_at_most_10_floors_and_no_circle() -> None:
    below = rooms_below()
    floors: dict[str, int] = {}
    while len(floors) < len(below):
        ready = [room for room, others in below.items() if room not in floors and others <= set(floors)]
        assert ready, f"a circle among {sorted(set(below) - set(floors))}"
        floors |= {room: 1 + max((floors[other] for other in below[room]), default=0) for room in ready}
    assert max(floors.values()) <= 10, floors
