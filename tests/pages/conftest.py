"""A browser for pages, where there is one."""

import pytest

from tests.pages.browser import Browser, found


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    if found() is None:
        pytest.skip("no Chromium is installed (or named by NTKIT_CHROMIUM)")
    running = Browser(tmp_path_factory.mktemp("profile"))
    yield running
    running.close()
