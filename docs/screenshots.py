"""Makes the pictures of docs/pages.md: both pages, with a recogniser of synthetic voices, in headless Chromium."""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent))

from tests.pages import chromium, served  # noqa: E402

from emoviews import cli  # noqa: E402
from emoviews.table import read_table, write_table  # noqa: E402


def save(png: bytes, name: str) -> None:
    """Few colours make a small file."""
    Image.open(io.BytesIO(png)).convert("RGB").quantize(96).save(DOCS / name, optimize=True)


def main() -> None:
    """Write `app.png` and `label.png` beside this file."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table, store, model = folder / "table.csv", folder / "store", folder / "model"
        cli.main(["corpus", "synthetic", str(folder / "audio"), "--out", str(table)])
        cli.main(["fit", str(table), "--views", "egemaps,mfcc", "--store", str(store), "--out", str(model)])
        frame = read_table(table)
        parts = [soundfile.read(path)[0] for path in frame.drop_duplicates("emotion")["path"]]
        soundfile.write(folder / "conversation.wav", np.concatenate([*parts, *parts]), 16000)
        write_table(frame.assign(emotion=""), table)
        with chromium() as browser:
            size = {"width": 900, "height": 700}
            with served("app", str(model), folder=folder) as (url, _):
                page = browser.new_page(viewport=size)
                page.goto(url)
                page.locator("input[type=file]").first.set_input_files(folder / "conversation.wav")
                page.get_by_role("button", name="Play", exact=True).wait_for()
                page.get_by_role("button", name="Recognise the emotion").click()
                page.get_by_role("img", name="Map of").wait_for()
                save(page.screenshot(full_page=True), "app.png")
            with served("label", str(table), "--labels", "anger,happiness,neutral,sadness", folder=folder) as (url, _):
                page = browser.new_page(viewport={"width": 720, "height": 480})
                page.goto(url)
                page.get_by_label("Who is labelling?").fill("Ann")
                page.keyboard.press("Enter")
                page.get_by_role("heading", name="0 of").wait_for()
                page.locator("body[data-ready][data-sound]").wait_for(state="attached")
                page.keyboard.press("1")
                page.get_by_text("Saved: ").wait_for()
                save(page.screenshot(), "label.png")


if __name__ == "__main__":
    main()
