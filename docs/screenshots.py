"""Makes the pictures of docs/pages.md: what its own blocks serve, run in their order, in headless Chromium."""

from __future__ import annotations

import io
import shlex
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent))

from tests.pages import chromium, served  # noqa: E402
from tests.test_readme import SERVES, run_block, shown  # noqa: E402


def recognise(page: Any, folder: Path) -> None:
    """The longer recording of the page, recognised."""
    page.locator("input[type=file]").first.set_input_files(folder / "conversation.wav")
    page.get_by_role("button", name="Play", exact=True).wait_for()
    page.get_by_role("button", name="Recognise the emotion").click()
    page.get_by_role("img", name="Map of").wait_for()


def label(page: Any, folder: Path) -> None:
    """The first recording labelled, the second playing."""
    page.get_by_label("Who is labelling?").fill("Ann")
    page.keyboard.press("Enter")
    page.locator("body[data-ready][data-sound]").wait_for(state="attached")
    page.keyboard.press("1")
    page.get_by_text("Saved: ").wait_for()


SHOTS: dict[str, tuple[int, Callable[[Any, Path], None]]] = {"app": (900, recognise), "label": (720, label)}
"""Command → the window's width in pixels, and what is done at its page before the picture is taken."""


def main() -> None:
    """Write `app.png` and `label.png` beside this file."""
    with tempfile.TemporaryDirectory() as name, chromium() as browser:
        folder = Path(name)
        for language, text in shown(DOCS / "pages.md"):
            if not SERVES.fullmatch(text):
                run_block(language, text, folder)
                continue
            command = shlex.split(text)[1:]
            width, act = SHOTS[command[0]]
            with served(*command, folder=folder) as (url, _):
                page = browser.new_page(viewport={"width": width, "height": 480})
                page.goto(url)
                act(page, folder)
                # 256 colours make a small file; k-means keeps apart those of the map, which are few pixels.
                picture = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB").quantize(256, kmeans=4)
                picture.save(DOCS / f"{command[0]}.png", optimize=True)


if __name__ == "__main__":
    main()
