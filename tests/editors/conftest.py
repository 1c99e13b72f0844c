from __future__ import annotations

import pytest
from editor_setup import Setup, find_setup


@pytest.fixture(scope="session")
def setup() -> Setup:
    found = find_setup()
    found.out.mkdir(exist_ok=True)
    return found
