"""The page that shows what a recogniser makes of recordings, laid out with Gradio.

Nothing here decides anything: `judging` and `archives` do the work, `pictures` draws, and `recognition.html.jinja` writes the
answers, with every name from outside escaped. Whatever goes wrong with a file becomes words on the page.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import resources
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from emoviews.answers import written
from emoviews.app import address, hosts, is_local, open_socket, pictures, require
from emoviews.app.archives import Limits, unpack
from emoviews.app.judging import Advance, Judgement, hears_first, judge, judge_all, without_place
from emoviews.audio import AUDIO_SUFFIXES
from emoviews.card import anonymous
from emoviews.errors import EmoViewsError
from emoviews.progress import counted, listed, whose
from emoviews.recognition import LONG_SECONDS, TRANSDUCTIVE_ALONE, FitReport, Fitted
from emoviews.recognizer import EmotionRecognizer

CSV_NAME: Final = "emotions.csv"
SHOWN_ROWS: Final = 200
"""Of a batch, on the page; the CSV has all."""

KEPT_SECONDS: Final = 3600
"""How long what was sent stays on disk."""


def answer(recognizer: EmotionRecognizer, path: str | None, limits: Limits, advance: Advance) -> tuple[str, str]:
    """One sentence, and all that there is to say, as HTML, of one recording."""
    if not path:
        return _failed("There is no recording yet. Record one, or choose a file.")

    def made() -> tuple[str, str]:
        judgement = judge(recognizer, Path(path), limits, advance)
        if judgement.problem:
            said = judgement.problem[:1].upper() + judgement.problem[1:]
        else:
            taken = "Taken as one utterance, most probable" if judgement.seconds > LONG_SECONDS else "Most probable"
            said = f"{taken}: {judgement.best}, {percent(judgement.probabilities.max())}."
        return _html("said", text=said, warnings=judgement.warnings), _answer(recognizer, judgement, Path(path).name)

    return _guarded(made, Path(path).name, lambda why: without_place(why, Path(path), Path(path).name))


def batch(
    recognizer: EmotionRecognizer, paths: Sequence[str], limits: Limits, advance: Advance
) -> tuple[str, str, str | None]:
    """One sentence and a table as HTML, and the CSV's path, of many recordings, some of them perhaps in zips."""
    csv: list[str] = []

    def made() -> tuple[str, str]:
        with tempfile.TemporaryDirectory() as folder:
            recordings, others = _gathered([Path(path) for path in paths], Path(folder), limits)
            results, warnings = judge_all(recognizer, recordings, limits, advance)
        target = Path(tempfile.mkdtemp()) / CSV_NAME
        target.write_bytes(written(results, "csv"))
        csv.append(str(target))
        bad = int((results["problem"] != "").sum())
        said = f"{len(results) - bad} of {len(results)} recordings got an emotion."
        rows = results.head(SHOWN_ROWS).to_dict("records")
        trained = TRANSDUCTIVE_ALONE if any(row["mode"] == TRANSDUCTIVE_ALONE for row in rows) else ""
        alike = len({name for name, _ in recordings}) < len(recordings)
        shown = _html("batch", rows=rows, n=len(results), others=others, transductive=trained, alike=alike)
        return _html("said", text=said, warnings=warnings), shown

    said, table = (
        _guarded(made, "these files") if paths else _failed("There are no files yet. Choose some, or a folder.")
    )
    return said, table, csv[0] if csv else None


def _gathered(paths: Sequence[Path], folder: Path, limits: Limits) -> tuple[list[tuple[str, Path]], int]:
    """Name and file of each recording, zips unpacked; and how many other files there were."""
    recordings: list[tuple[str, Path]] = []
    others = 0
    zips = [path for path in paths if path.suffix.lower() == ".zip"]
    loose = sum(path.suffix.lower() in AUDIO_SUFFIXES for path in paths)
    unpacked = iter(unpack(zips, folder, limits, loose))
    for path in paths:
        if path.suffix.lower() == ".zip":
            found, left_out = next(unpacked)
            recordings += found
            others += left_out
        elif path.suffix.lower() in AUDIO_SUFFIXES:
            recordings.append((path.name, path))
        else:
            others += 1
    return recordings, others


def _guarded(
    make: Callable[[], tuple[str, str]], what: str, told: Callable[[str], str] = lambda why: why
) -> tuple[str, str]:
    try:
        return make()
    except EmoViewsError as error:
        return _failed(told(str(error)))
    except Exception:  # a defect of ours must not take the page from everybody else
        traceback.print_exc()
        return _failed(
            f"Something in EmoViews broke on {what}; the terminal in which it runs says what. The page goes on working."
        )


def _failed(why: str) -> tuple[str, str]:
    return _html("failed", text=why), ""


def _answer(recognizer: EmotionRecognizer, judgement: Judgement, name: str) -> str:
    order = np.argsort(-judgement.probabilities, kind="stable")
    fitted = recognizer.fitted_
    placed = "" if judgement.problem else pictures.map_of(fitted.labelled, fitted.labels, judgement.place)
    judging = _judging(fitted)
    times = [(start, end, row) for (start, end), row in zip(judgement.times_seconds, judgement.over_time, strict=True)]
    return _html(
        "answer", judgement=judgement, name=name, judging=judging, order=order, times=times, map=placed,
        timeline=pictures.timeline(judgement), long=judgement.seconds > LONG_SECONDS,
    )  # fmt: skip


def _judging(fitted: Fitted) -> str:
    """The views that judge a recording by itself."""
    return listed(request.label for request in fitted.needed("inductive"))


def expectation(report: FitReport) -> str:
    """What to expect, in words: on new speakers, unless none were tested."""
    chance = 1 / len(report.n_labels)
    found = report.modes.get("inductive")
    if found is None:
        return "How well it recognises new speakers is not known. " + (" ".join(report.notes) or "It was not tested.")
    uar, sure = found.uar, ""
    if not np.isnan(uar.low):
        sure = f" (95 % interval {percent(uar.low)} to {percent(uar.high)})"
    guessing = ", so it may be no better than that" if uar.low <= chance < uar.estimate else ""
    return (
        f"On {report.strangers}, expect an unweighted average recall (UAR) of {percent(uar.estimate)}{sure}; guessing has "
        f"{percent(chance)}{guessing}.{' On new speakers less is to be expected.' if report.overlap else ''}"
    )


def about(fitted: Fitted, local: bool) -> str:
    """What the recogniser is, as HTML. Speakers are numbered, as on a model card: whoever reaches the page reads it."""
    report = anonymous(fitted.report)
    words = {"counted": counted, "whose": whose}
    return _html(
        "about",
        report=report,
        specs=fitted.specs,
        judging=_judging(fitted),
        expected=expectation(report),
        local=local,
        **words,
    )


def percent(share: float) -> str:
    r"""A share, with a space that does not break.

    >>> percent(0.256)
    '26\xa0%'
    """
    return f"{100 * share:.0f}\u00a0%"


def breakable(name: str) -> Markup:
    """A name as HTML that may go on in the next line after each / and _.

    >>> print(breakable("<a>/b_c"))
    &lt;a&gt;/<wbr>b_<wbr>c
    """
    return escape(name).replace("/", Markup("/<wbr>")).replace("_", Markup("_<wbr>"))


def _html(block: str, **values: Any) -> str:
    source = resources.files("emoviews.app").joinpath("recognition.html.jinja").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"percent": percent, "breakable": breakable}
    template = environment.from_string(source)
    return "".join(template.blocks[block](template.new_context(values)))


def recognition_page(gradio: ModuleType, recognizer: EmotionRecognizer, limits: Limits, local: bool) -> Any:
    """Lay the page out.

    Args:
        gradio: the package, which is imported when the page's temporary folder is known.
        recognizer: a fitted one.
        limits: what it takes.
        local: whether it is reached from this computer alone.
    """
    gr, fitted = gradio, recognizer.fitted_

    def reported(progress: Any, doing: str) -> Advance:
        return lambda share: progress(share, desc=doing)

    def one(path: str | None, progress: Any = gr.Progress()) -> tuple[str, str]:  # noqa: B008 (Gradio finds it by its default)
        return answer(recognizer, path, limits, reported(progress, "Listening"))

    def many(files: list[str] | None, folder: list[str] | None, progress: Any = gr.Progress()) -> tuple[str, str, Any]:  # noqa: B008
        given = [*(files or []), *(folder or [])]
        said, table, csv = batch(recognizer, given, limits, reported(progress, "Listening"))
        return said, table, gr.DownloadButton(value=csv, visible=csv is not None)

    with gr.Blocks(title="EmoViews", analytics_enabled=False, delete_cache=(KEPT_SECONDS // 12, KEPT_SECONDS)) as page:
        intro = _html("intro", labels=fitted.labels, expected=expectation(fitted.report), local=local)
        gr.HTML(intro, apply_default_css=False)
        with gr.Tabs():
            with gr.Tab("One recording"):
                sound = gr.Audio(
                    sources=["upload", "microphone"], type="filepath", label="Record, or drop a file", editable=False,
                    buttons=[], elem_id="ev-sound",
                )  # fmt: skip
                go = gr.Button("Recognise the emotion", variant="primary", elem_id="ev-go")
                waiting = gr.HTML(elem_classes="ev-waiting", elem_id="ev-waiting", apply_default_css=False)
                said = gr.HTML(elem_classes="ev-live", elem_id="ev-said", apply_default_css=False)
                shown = gr.HTML(elem_id="ev-answer", apply_default_css=False)
            with gr.Tab("Batch"):
                gr.HTML(_html("many", limits=limits, hears=hears_first(fitted)), apply_default_css=False)
                with gr.Row():
                    kinds = [".zip", *sorted(AUDIO_SUFFIXES)]
                    with gr.Column(min_width=280):
                        files = gr.File(file_count="multiple", file_types=kinds, label="Files, or a zip", height=170)
                    with gr.Column(min_width=280):
                        folder = gr.File(file_count="directory", label="Or a folder", height=170)
                start = gr.Button("Recognise all", variant="primary", elem_id="ev-start")
                waiting_all = gr.HTML(elem_classes="ev-waiting", elem_id="ev-waiting-all", apply_default_css=False)
                summary = gr.HTML(elem_classes="ev-live", elem_id="ev-summary", apply_default_css=False)
                csv = gr.DownloadButton("Download all as CSV", visible=False)
                rows = gr.HTML(elem_id="ev-rows", apply_default_css=False)
            with gr.Tab("About"):
                gr.HTML(about(fitted, local), apply_default_css=False)
        no_csv = gr.update(visible=False)
        for button, do, given, told, nothing, wait, taken_away in (
            (go, one, [sound], [said, shown], ("", ""), waiting, [sound.clear]),
            (
                start, many, [files, folder], [summary, rows, csv], ("", "", no_csv), waiting_all,
                [files.clear, files.delete, folder.clear, folder.delete],
            ),
        ):  # fmt: skip
            judging = button.click(do, given, told, api_visibility="private", show_progress_on=wait)
            judging.then(None, js=f"() => evShow('{told[0].elem_id}')")
            # What is, or will be, said of recordings that are taken away would stand there as if it were of the next.
            for event in taken_away:
                event(partial(tuple, nothing), None, told, cancels=judging, api_visibility="private", queue=False)
        page.load(None, js=_READY)
    return page


_READY: Final = """() => {
  document.documentElement.lang = "en";
  const told = () => document.querySelectorAll(".ev-live .ev-live:not([aria-live])")
    .forEach((place) => place.setAttribute("aria-live", "polite"));
  told();
  new MutationObserver(told).observe(document.body, {childList: true, subtree: true});  // a tab is drawn when it is opened
  window.evShow = (id, tries = 10) => {  // for a second: until something stands there, there is nothing to show
    const place = document.getElementById(id), top = place.getBoundingClientRect().top;
    if (place.innerText.trim()) {
      if (top >= 0 && top <= 0.7 * innerHeight) return;
      place.scrollIntoView({block: "start"});
    }
    if (tries > 1) setTimeout(evShow, 100, id, tries - 1);
  };
  document.addEventListener("click", ({target}) => {
    const waiting = {"ev-go": "ev-waiting", "ev-start": "ev-waiting-all"}[target.closest("button")?.id];
    if (waiting) evShow(waiting);
  });
}"""
"""Screen readers are told of what appears in live places: in what Gradio puts inside its block of the same class, not in the
block, in which it may count seconds. What is waited for, and the answer, come into sight: on a phone they are further down."""


class InEnglish:
    """ASGI middleware: tells the page that its browser speaks English.

    Gradio writes what is on its own parts ("Drop Audio Here") in the browser's language. All else is in English, and screen
    readers are told that the page is.
    """

    SCRIPT: Final = b"<script>for (const name of ['language', 'languages']) Object.defineProperty(navigator, name, " \
        b"{get: () => name === 'language' ? 'en' : ['en']})</script>"  # fmt: skip

    def __init__(self, app: Any) -> None:
        """`app` answers."""
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Let `app` answer, and put the script first in the head of the page itself."""
        if scope["type"] != "http" or scope["path"] != "/":
            await self.app(scope, receive, send)
            return
        began: dict[str, Any] = {}
        body = bytearray()

        async def sent(message: Any) -> None:
            if message["type"] == "http.response.start":
                began.update(message)
                return
            body.extend(message.get("body", b""))
            if message.get("more_body"):
                return
            whole = bytes(body).replace(b"<head>", b"<head>" + self.SCRIPT, 1)
            headers = [(name, value) for name, value in began["headers"] if name.lower() != b"content-length"]
            await send({**began, "headers": [*headers, (b"content-length", str(len(whole)).encode())]})
            await send({**message, "body": whole})

        await self.app(scope, receive, sent)


@contextmanager
def _own_folder() -> Iterator[None]:
    """A folder for what people send and what is made of it, removed afterwards. Gradio reads its name when it is imported."""
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="emoviews-app-") as folder:
        os.environ |= {"GRADIO_TEMP_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False"}
        tempfile.tempdir = folder
        try:
            yield
        finally:
            tempfile.tempdir = before


def serve_recognition(
    recognizer: EmotionRecognizer, limits: Limits, host: str, port: int, say: Callable[[str], None]
) -> None:
    """Serve the page until the program is stopped.

    Args:
        recognizer: a fitted one.
        limits: what the page takes.
        host: the address to listen at.
        port: 0 for any that is free.
        say: is told where the page is.

    Raises:
        UsageError: the port is taken.
        MissingExtraError: Gradio is not installed.
    """
    listening = open_socket(host, port)
    port = listening.getsockname()[1]
    listening.close()  # Gradio opens it again
    with _own_folder():
        require("gradio")
        import gradio as gr
        from starlette.middleware import Middleware
        from starlette.middleware.trustedhost import TrustedHostMiddleware

        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that the folder is removed then, too
        theme = gr.themes.Default(
            primary_hue="teal", neutral_hue="slate", font=["system-ui", "sans-serif"],
            font_mono=["ui-monospace", "monospace"],
        ).set(
            button_primary_background_fill="*primary_700", button_primary_background_fill_hover="*primary_800",
            button_primary_background_fill_dark="*primary_700", button_primary_background_fill_hover_dark="*primary_800",
        )  # fmt: skip
        css = resources.files("emoviews.app").joinpath("recognition.css").read_text(encoding="utf-8")
        page = recognition_page(gr, recognizer, limits, is_local(host))
        page.launch(
            server_name=host, server_port=port, prevent_thread_lock=True, quiet=True, share=False, footer_links=[],
            max_file_size=limits.megabytes * 10**6, ssr_mode=False, pwa=False, mcp_server=False, theme=theme, css=css,
            i18n=gr.I18n(en={"common.upload": "Choose files"}), app_kwargs={
                "middleware": [Middleware(TrustedHostMiddleware, allowed_hosts=hosts(host)), Middleware(InEnglish)],
            },
        )  # fmt: skip
        say(f"The page is at {address(host, port)}")
        say("Stop with Ctrl+C.")
        page.block_thread()
