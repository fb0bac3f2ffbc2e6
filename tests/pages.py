"""What the tests of both pages share: the command in a process of its own, Chromium, and a check by axe-core."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
GRADIOS = (("scrollable-region-focusable", 'part="scroll"'), ("nested-interactive", 'aria-label="Choose files"'))
"""Rule and place of what axe finds inside Gradio's components: the waveform, which its buttons move as well; the button for
more files, within the area to drop them on."""
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
PATIENCE_SECONDS = 60
"""How long a busy machine may take over what these tests wait for."""


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless browser; tests are skipped where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("There is no chromium (Debian: apt-get install chromium).")
    sandbox = [] if os.geteuid() else ["--no-sandbox"]  # Chromium refuses its sandbox to root
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=sandbox)
        yield browser
        browser.close()


def opened(browser: Any, **options: Any) -> Any:
    """A page in a window of its own, which waits as long as `expect` does; options as Playwright's `new_context` takes them."""
    context = browser.new_context(**options)
    context.set_default_timeout(1000 * PATIENCE_SECONDS)
    return context.new_page()


def expect(place: Any) -> Any:
    """Playwright's assertions, which wait until they hold. A look at once, such as `is_visible()`, sees a page half drawn."""
    sync_api = pytest.importorskip("playwright.sync_api")
    sync_api.expect.set_options(timeout=1000 * PATIENCE_SECONDS)
    return sync_api.expect(place)


@contextmanager
def served(*arguments: str, folder: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run `emoviews ARGUMENTS --port 0`; the page's address and the process, which is ended afterwards."""
    command = [str(Path(sys.executable).with_name("emoviews")), *arguments, "--port", "0"]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(folder)}
    log = folder / "served.log"
    with open(log, "w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, text=True, env=env, cwd=folder)
    try:
        for _ in range(10 * PATIENCE_SECONDS):
            if found := re.search(r"http://127\.0\.0\.1:\d+/", log.read_text()):
                yield found[0], process
                return
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        raise AssertionError(log.read_text())
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:  # why the test failed, if it did, is not to be hidden
            process.kill()
            process.wait()


def watched(page: Any) -> list[str]:
    """What should stay empty: requests to other machines, and errors that the page's scripts log."""
    wrong: list[str] = []

    def request(sent: Any) -> None:
        if not re.match(r"(http://127\.0\.0\.1:\d+/|data:|blob:)", sent.url):
            wrong.append(sent.url)

    page.on("request", request)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    return wrong


def barriers(page: Any) -> list[str]:
    """What axe-core finds that keeps people out."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    own: list[Any] = []
    for _ in range(5):  # what fades in has too little contrast meanwhile
        found = axe.Axe().run(page).response["violations"]
        own = [one for one in found if not any(one["id"] == rule and part in str(one) for rule, part in GRADIOS)]
        if not own:
            break
        page.wait_for_timeout(1000)
    return [f"{one['id']}: {node['html'][:200]}" for one in own for node in one["nodes"]]


def overflow(page: Any) -> int:
    """By how many pixels the page is wider than the window, once it has come to rest."""
    wide = 0
    for _ in range(20):
        wide = int(page.evaluate("document.documentElement.scrollWidth - innerWidth"))
        if wide <= 0:
            break
        page.wait_for_timeout(100)
    return wide
