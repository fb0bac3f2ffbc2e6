"""Recognisers on the Hugging Face hub: pushed with their card, loaded at a commit that is named.

A name is `OWNER/NAME`, `hf://OWNER/NAME` where a folder might be meant, and `@REVISION` pins it. A branch may be another
recogniser tomorrow; so what a branch came to is said, and that the commit is what to write down.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from emoviews.bundles import load_fitted, load_recognizer, save_recognizer
from emoviews.card import CARD, anonymous, model_card
from emoviews.checkpoints import NOTES, described
from emoviews.errors import CheckpointError, HubError, UsageError
from emoviews.inference import GRAPH, Graph, made_from
from emoviews.semisupervised import Mode

if TYPE_CHECKING:
    from emoviews.recognizer import EmotionRecognizer

SCHEME: Final = "hf://"
FILES: Final = (NOTES, "model-*.safetensors", GRAPH, CARD)
"""What a recogniser is made of; nothing else is downloaded."""

_NAME: Final = re.compile(r"(?:hf://)?(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")


def from_pretrained(name: str | Path, revision: str | None = None, mode: Mode = "inductive") -> EmotionRecognizer:
    """A recogniser from a folder or from the hub, ready to predict.

    Args:
        name: a folder, or a name on the hub, with or without `@REVISION`. A folder goes before a hub name.
        revision: commit (40 hexadecimal digits), tag or branch on the hub; its main branch when None. Anything but a commit
            gives a warning that says which commit it is.
        mode: of `predict`.

    Raises:
        UsageError: no such name or revision, or a revision for a folder.
        HubError: the hub can't be reached and holds what is not in its cache here.
        CheckpointError: what is there is no recogniser, or one that this installation would compute otherwise.
    """
    text = str(name)
    if not text.startswith(SCHEME) and (Path(text).is_dir() or not _NAME.fullmatch(text)):
        if revision is not None:
            raise UsageError(f"{text} is a folder and has no revision {revision}. Leave it out.")
        return load_recognizer(Path(text), mode)
    return load_recognizer(fetched(text, revision), mode)


def push_to_hub(
    model: EmotionRecognizer | str | Path,
    repository: str,
    *,
    branch: str | None = None,
    private: bool | None = None,
    token: str | None = None,
) -> str:
    """Push a recogniser with its card, and its graph where there is one; the commit.

    A card that was changed by hand is pushed as it is. Speakers' names and files' names in `emoviews.json` are replaced by
    numbers. One commit replaces what the repository held of a recogniser, or nothing is.

    Args:
        model: a fitted recogniser, or its folder.
        repository: `OWNER/NAME`; made if it is not there.
        branch: main when None; made if it is not there.
        private: for a new repository; the owner's default when None.
        token: a token that may write; that of `hf auth login` or the environment variable HF_TOKEN when None.

    Raises:
        UsageError: a name that the hub does not take.
        HubError: the hub can't be reached, or refuses.
        CheckpointError: the folder holds no recogniser.
    """
    if (named := _NAME.fullmatch(repository)) is None or named["revision"]:
        raise UsageError(f"Expected the name of a repository, OWNER/NAME, got {repository!r}.")
    repository = named["repository"]
    from huggingface_hub import HfApi

    with tempfile.TemporaryDirectory() as folder:
        staged = Path(folder) / "staged"
        if not isinstance(model, str | Path):
            save_recognizer(Path(folder) / "saved", model)
            model = Path(folder) / "saved"
        _stage(Path(model), staged, repository)
        with _clear_words(repository, branch, pushing=True):
            api = HfApi(token=token, library_name="emoviews")
            api.create_repo(repository, private=private, exist_ok=True)
            if branch is not None:
                api.create_branch(repository, branch=branch, exist_ok=True)
            done = api.upload_folder(
                repo_id=repository,
                folder_path=staged,
                revision=branch,
                commit_message="A recogniser of emotion in speech, with EmoViews",
                delete_patterns=[name for name in FILES if name != CARD],
            )
    return str(done.oid)


def located(name: str, warn: Callable[[str], None] = warnings.warn) -> Path:
    """The folder of a recogniser that a command names: a folder, or a hub name that begins with `hf://`."""
    return fetched(name, warn=warn) if name.startswith(SCHEME) else Path(name)


def fetched(name: str, revision: str | None = None, warn: Callable[[str], None] = warnings.warn) -> Path:
    """Download a recogniser, unless the hub's cache has it; its folder, which is named after the commit.

    Args:
        name: on the hub.
        revision: see `from_pretrained`.
        warn: takes the words about a revision that is no commit.

    Raises:
        UsageError, HubError, CheckpointError: see `from_pretrained`.
    """
    if (named := _NAME.fullmatch(name)) is None:
        raise UsageError(f"{name!r} is no name on the hub; expected {SCHEME}OWNER/NAME or {SCHEME}OWNER/NAME@REVISION.")
    if revision is not None and named["revision"] not in (None, revision):
        raise UsageError(f"{name} names another revision than {revision}. Give one of the two.")
    repository, revision = named["repository"], revision or named["revision"]
    import huggingface_hub

    with _clear_words(repository, revision):
        folder = Path(
            huggingface_hub.snapshot_download(
                repository, revision=revision, allow_patterns=list(FILES), library_name="emoviews"
            )
        )
    if not (folder / NOTES).is_file():
        raise CheckpointError(f"{SCHEME}{repository}@{folder.name} is no recogniser of EmoViews: it has no {NOTES}.")
    if revision is None or not _COMMIT.fullmatch(revision):
        warn(
            f"{SCHEME}{repository} is not pinned; {revision or 'main'} is commit {folder.name} now and may be another "
            f"recogniser tomorrow. Pin it: {SCHEME}{repository}@{folder.name}"
        )
    return folder


def _stage(folder: Path, staged: Path, repository: str) -> None:
    """Lay out what is pushed."""
    fitted = load_fitted(folder)
    notes = json.loads((folder / NOTES).read_text(encoding="utf-8"))
    notes["report"] = dataclasses.asdict(anonymous(fitted.report))
    staged.mkdir()
    (staged / NOTES).write_bytes(described(notes))  # with the digest of what is pushed
    shutil.copy(folder / notes["weights"]["file"], staged)
    if (folder / GRAPH).is_file():
        Graph.of(folder)  # refused if it is another recogniser's
        shutil.copy(folder / GRAPH, staged)
        assert made_from(staged) == made_from(folder)
    own = (folder / CARD).read_text(encoding="utf-8") if (folder / CARD).is_file() else None
    by_hand = own is not None and own != model_card(fitted)
    (staged / CARD).write_text(own if own and by_hand else model_card(fitted, repository), encoding="utf-8")


@contextlib.contextmanager
def _clear_words(repository: str, revision: str | None, *, pushing: bool = False) -> Iterator[None]:
    """What the hub and the network answer, in words that say what to do."""
    import huggingface_hub.errors as hub

    try:
        yield
    except hub.HFValidationError as error:
        raise UsageError(f"{repository!r} is no name that the hub takes: {_line(error)}") from error
    except hub.GatedRepoError as error:
        raise HubError(
            f"{repository} is given to those only whom its owner lets in. Ask on its page on the hub, then: hf auth login"
        ) from error
    except hub.RevisionNotFoundError as error:
        raise UsageError(
            f"{repository} on the hub has no revision {revision!r}. Name a commit, tag or branch of it."
        ) from error
    except hub.RepositoryNotFoundError as error:
        raise UsageError(
            f"There is no model {repository} on the hub, or it is private. Look for a slip in the name; for a private one, "
            "log in (hf auth login, or the environment variable HF_TOKEN)."
        ) from error
    except hub.HfHubHTTPError as error:
        refused = error.response.status_code in (401, 403)
        remedy = "Log in with a token that may do it (hf auth login, or HF_TOKEN)." if refused else "Try again later."
        raise HubError(
            f"The hub refused {repository}: {_line(error)} Nothing was changed here. {remedy}{_left(pushing)}"
        ) from error
    except Exception as error:  # whatever the network, a proxy or the cache does
        raise HubError(
            f"The hub can't be reached for {repository} or failed ({_line(_cause(error))}). Nothing was changed here; try "
            f"again with a network. What was downloaded before is used without one where its commit is named "
            f"({SCHEME}{repository}@COMMIT).{_left(pushing)}"
        ) from error


def _left(pushing: bool) -> str:
    return " On the hub an empty repository may have been made; the same command goes on with it." if pushing else ""


def _cause(error: BaseException) -> BaseException:
    """What was wrong first: the hub's client wraps the network's error in several of its own."""
    while (earlier := error.__cause__ or error.__context__) is not None:
        error = earlier
    return error


def _line(error: BaseException) -> str:
    """The client's words, which have several paragraphs, as one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
