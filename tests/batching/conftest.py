import threading

import pytest


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch):
    """Another test may have left a thread, beside which draws of Python are not looked for."""
    monkeypatch.setattr(threading, "active_count", lambda: 1)
