"""The promises of a store as tests, which the author of a store runs on it.

In a test module::

    from functools import partial

    import pytest
    from chuk_ai_session_manager.testing import StoreContract
    from my_package import MyStore

    class TestMyStore(StoreContract):
        @pytest.fixture
        def opener(self, tmp_path):
            return partial(MyStore, tmp_path / "sessions")

and in `conftest.py`, so that failures show the difference::

    pytest.register_assert_rewrite("chuk_ai_session_manager.testing")

The tests are plain functions that start their own event loops, so they neither need a plugin of pytest nor
conflict with one. Each topic of the contract is a module with a class; `StoreContract` has all of them. The
rest of the package does not import this folder, because it needs pytest.
"""

from .appending import Appending
from .base import Opener, Stores
from .bodies import Bodies
from .contents import Contents
from .creating import Creating
from .deleting import Deleting
from .erasing import Erasing
from .hostile import HOSTILE_IDS, INVALID_IDS, ODD_TEXTS
from .lifetimes import Lifetimes
from .listing import Listing
from .managers import Managers
from .pinning import Pinning
from .reading import Reading
from .recall import Recall
from .redacting import Redacting
from .reopening import Reopening
from .rethinking import Rethinking
from .sandboxes import Sandboxes
from .saving import Saving
from .threads import Threads
from .windows import Windows

__all__ = ["HOSTILE_IDS", "INVALID_IDS", "ODD_TEXTS", "Opener", "StoreContract", "Stores"]


class StoreContract(
    Reopening,
    Creating,
    Appending,
    Threads,
    Reading,
    Saving,
    Deleting,
    Listing,
    Contents,
    Sandboxes,
    Lifetimes,
    Managers,
    Rethinking,
    Windows,
    Pinning,
    Erasing,
    Recall,
    Redacting,
    Bodies,
):
    """The tests. Subclass it in a test module, with a fixture `opener` that gives an `Opener`.

    The opener has to be picklable and importable by another process: `functools.partial(MyStore, path)`, not
    a lambda. Where the store has sandboxes, each test uses a new sandbox, and leaves there what it wrote.
    Where the store has none, the fixture has to name a new place for each test.
    """
