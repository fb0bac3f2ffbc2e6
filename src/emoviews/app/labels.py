"""The page for labelling by ear: recordings in a given order, a key for each emotion, every answer on disk at once.

A page of its own instead of Gradio's, since all of it is keys, focus and one sound. The server holds no state: what an
annotator sees is read off the journal. It shows neither file names, which often tell the emotion, nor guesses of a recogniser,
which would be believed.
"""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Callable
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

import pandas as pd
import soundfile

from emoviews import audio
from emoviews.app import address, hosts, open_socket
from emoviews.errors import EmoViewsError, UsageError
from emoviews.extraction import refuse_sessions
from emoviews.labelling import Journal, TurnError, agreement, answers, require_name, waiting

if TYPE_CHECKING:
    from starlette.applications import Starlette

POLICY: Final = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; media-src blob:; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Nothing from elsewhere, and no other site may show the page in a frame."""


def token(journal: Journal, name: str) -> str:
    """What the page calls a recording: always the same for one of a table, whatever the order, and it does not show the id."""
    return hashlib.blake2b(f"{journal.path.resolve()}\0{name}".encode(), digest_size=12).hexdigest()


def state(journal: Journal, annotator: str) -> dict[str, Any]:
    """What the page of an annotator shows: the labels there are, what is done, and the `token` of the next recording.

    Raises:
        UsageError: what was given is no name.
    """
    require_name(annotator)
    stack = journal.stack(annotator)
    left = waiting(journal.order, stack)
    return {
        "labels": journal.labels,
        "total": len(journal.order),
        "done": len(journal.order) - len(left),
        "current": token(journal, left[0]) if left else None,
        "again": bool(left) and any(entry.id == left[0] for entry in stack),
        "expected": len(stack),
        "last": {"recording": token(journal, stack[-1].id), "action": stack[-1].action} if stack else None,
    }


def act(journal: Journal, sent: Any) -> dict[str, Any]:
    """Do what the page sent (`annotator`, `expected`, `recording`, `action`, `emotion`); the annotator's new `state`.

    The recording is the `token` of the one answered, or whose answer is undone. A page that was open before the program started
    again may show another one than comes now, and nobody has heard that.

    Raises:
        UsageError: it sent something that is none of these, or a label outside the list; nothing is saved then.
        TurnError: the recording is not the one whose turn it is.
        TurnError, StoreError: see `Journal.add`.
    """
    kinds = {"annotator": str, "expected": int, "recording": str, "action": str, "emotion": str}
    if not isinstance(sent, dict) or not all(isinstance(sent.get(name), kind) for name, kind in kinds.items()):
        raise UsageError(
            f"Expected {', '.join(kinds)}; got {str(sent)[:200]!r}. Nothing was saved; load the page again."
        )
    person, undo = sent["annotator"], sent["action"] == "undo"
    stack = journal.stack(person)
    if undo and not stack:
        raise UsageError("There is nothing to undo.")
    names = [stack[-1].id] if undo else waiting(journal.order, stack)[:1]
    if [sent["recording"]] != [token(journal, name) for name in names]:
        raise TurnError(
            f"{person} has gone on in another window, or the program was started again: another recording comes now. Nothing "
            "was saved for it, nor for the one before."
        )
    journal.add(person, sent["expected"], names[0], sent["action"], sent["emotion"])
    return state(journal, person)


def agreed(journal: Journal) -> dict[str, Any]:
    """How well the annotators agree, and where they do not: by place in the order, as ids may tell the emotion."""
    given = answers(journal.entries)
    found = agreement(given)
    counts = {person: sum(bool(emotion) for emotion in own.values()) for person, own in given.items()}
    places = {name: place for place, name in enumerate(journal.order, 1)}
    apart = [{"place": places.get(name), "said": dict(said)} for name, said in found.disagreements.items()]
    return {"text": str(found), "counts": counts, "disagreements": apart}


def as_wav(path: str, start_seconds: float, end_seconds: float, channel: float) -> bytes:
    """A recording, or its part, as every browser plays it; ends may be NaN.

    Raises:
        AudioError: it can't be read, or lasts too long to be one utterance.
        MissingExtraError: it needs PyAV.
    """
    refuse_sessions(path, start_seconds, end_seconds)
    decoded = audio.decode(path, start_seconds, end_seconds, channel)
    buffer = io.BytesIO()
    soundfile.write(buffer, decoded.samples, decoded.sampling_rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def label_page(table: pd.DataFrame, journal: Journal, host: str) -> Starlette:
    """The page, as an ASGI application.

    Args:
        table: the utterance table.
        journal: of its labels.
        host: where it is served. Requests under the name of another host are refused, so that no web site can pass for it.
    """
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.requests import Request
    from starlette.responses import HTMLResponse, JSONResponse, Response
    from starlette.routing import Route

    rows = table.set_index("id").loc[list(journal.order)]
    parts = rows[["path", "start_seconds", "end_seconds", "channel"]].itertuples(index=False, name=None)
    places = dict(zip((token(journal, name) for name in journal.order), parts, strict=True))
    html = resources.files("emoviews.app").joinpath("labels.html").read_text(encoding="utf-8")
    private = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}

    def answered(make: Callable[[], dict[str, Any]]) -> Response:
        try:
            return JSONResponse(make(), headers=private)
        except TurnError as error:
            return JSONResponse({"error": str(error)}, 409, headers=private)
        except UsageError as error:
            return JSONResponse({"error": str(error)}, 400, headers=private)
        except EmoViewsError as error:
            return JSONResponse({"error": str(error)}, 500, headers=private)

    def page(request: Request) -> Response:
        return HTMLResponse(html, headers={**private, "Content-Security-Policy": POLICY})

    def see(request: Request) -> Response:
        return answered(lambda: state(journal, request.query_params.get("annotator", "")))

    def agree(request: Request) -> Response:
        return answered(lambda: agreed(journal))

    def sound(request: Request) -> Response:
        place = places.get(request.path_params["recording"])
        if place is None:
            why = "the program was started again with other recordings. Load the page again."
            return JSONResponse({"error": why}, 404, headers=private)
        try:
            return Response(as_wav(*place), media_type="audio/wav", headers=private)
        except EmoViewsError as error:  # names the file, which whoever labels should not see
            logging.getLogger(__name__).warning("A recording can't be played: %s", error)
            return JSONResponse({"error": "the terminal of emoviews label says why."}, 404, headers=private)

    async def answer(request: Request) -> Response:
        # A form of another web site can't send this type without asking first, which is never allowed.
        if request.headers.get("content-type") != "application/json":
            return JSONResponse({"error": "Expected application/json. Nothing was saved."}, 415, headers=private)
        try:
            sent = await request.json()
        except ValueError:
            sent = None
        return await run_in_threadpool(answered, lambda: act(journal, sent))

    return Starlette(
        routes=[
            Route("/", page),
            Route("/state", see),
            Route("/agreement", agree),
            Route("/audio/{recording}", sound),
            Route("/answer", answer, methods=["POST"]),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts(host))],
    )


def serve_labels(table: pd.DataFrame, journal: Journal, host: str, port: int, say: Callable[[str], None]) -> None:
    """Serve the page until the program is stopped.

    Args:
        table: the utterance table.
        journal: of its labels.
        host: the address to listen at.
        port: 0 for any that is free.
        say: is told where the page is.

    Raises:
        UsageError: the port is taken.
    """
    import uvicorn

    page = label_page(table, journal, host)
    listening = open_socket(host, port)
    say(
        f"Label at {address(host, listening.getsockname()[1])} ({len(journal.order)} recordings; labels in {journal.path})"
    )
    say("Stop with Ctrl+C; every label is saved as soon as it is given.")
    uvicorn.Server(uvicorn.Config(page, log_level="warning", lifespan="off")).run(sockets=[listening])
