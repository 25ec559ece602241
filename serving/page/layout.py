"""The page's parts and what they do.

Each visitor has a state of his own in Gradio; what is shared is the backend. A photo stays the bytes
that were given: Gradio's own decoding is left out, so that the server sees what any client would send.
"""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import ImageData

from model.golden import Golden
from serving.page import show
from serving.page.backend import Answer, Backend, Failure, State

ALONE = "none"  # no second version
_POLL_S = 2.0  # how soon the page notices a change of versions, or a server that is gone or back
_CLIENTS = 8  # photos of several that are asked about at a time, so that batches form
_CLEAN_EVERY_S, _KEEP_S = 600, 3600  # uploads
_PRIVATE: dict[str, Any] = {"api_visibility": "private", "concurrency_limit": None}
_GONE = "the page has forgotten this photo by now; give it again"


class Page:
    """The page of a backend; `build` lays it out."""

    def __init__(self, backend: Backend, folder: Path) -> None:
        """Keep the examples' files in `folder`."""
        self._backend = backend
        self._folder = folder

    def build(self) -> gr.Blocks:
        """Lay the page out."""
        with gr.Blocks(
            title="What is in this photo?",
            analytics_enabled=False,
            delete_cache=(_CLEAN_EVERY_S, _KEEP_S),
        ) as page:
            gr.HTML("<h1>What is in this photo?</h1>", elem_id="title")
            notice = gr.HTML(elem_id="notice", js_on_load=_announced("assertive"))
            state = gr.State(State(problem=""))
            with gr.Row(elem_id="versions"):
                version = gr.Radio([], label="Version", elem_id="version")
                beside = gr.Radio([ALONE], value=ALONE, label="Compare with", elem_id="beside")
            asked = [version, beside]
            with gr.Tab("One photo"):
                again, examples = self._one(state, asked)
            with gr.Tab("Several photos"):
                self._several(asked)
            look = {"fn": self._look, "inputs": [state, *asked], "show_progress": "hidden", **_PRIVATE}
            outputs = [state, notice, *asked, examples]
            page.load(outputs=outputs, **look)
            gr.Timer(_POLL_S).tick(outputs=outputs, **look)
            state.change(**again)
        return page

    def _one(self, state: gr.State, asked: Sequence[gr.Radio]) -> tuple[dict[str, Any], gr.Gallery]:
        """Lay out a photo and its answer; returns how to ask again after a failure, and the examples."""
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                photo, examples = _photo(), _examples()
            with gr.Column(scale=3, min_width=300):
                verdict = gr.HTML(show.HINT, elem_id="verdict", js_on_load=_announced("polite"))
                pictures = gr.HTML(elem_id="pictures")
                cards = gr.HTML(elem_id="cards")
        failed = gr.State(value=False)
        ask: dict[str, Any] = {"outputs": [verdict, pictures, cards, failed], "show_progress": "hidden"}
        ask |= {"trigger_mode": "always_last", **_PRIVATE}
        photo.change(self._ask, [photo, *asked], **ask)
        for choice in asked:
            choice.input(self._ask, [photo, *asked], **ask)
        examples.select(self._example, state, [photo, examples], show_progress="hidden", **_PRIVATE)
        return {"fn": self._ask_again, "inputs": [photo, *asked, failed], **ask}, examples

    def _several(self, asked: Sequence[gr.Radio]) -> None:
        photos = gr.File(
            label="Photos", file_count="multiple", height=180, elem_id="photos", interactive=True
        )
        answers = gr.HTML(elem_id="answers", js_on_load=_announced("polite"))
        ask: dict[str, Any] = {"outputs": answers, "trigger_mode": "always_last", **_PRIVATE}
        photos.change(self._ask_several, [photos, *asked], **ask)
        for choice in asked:
            choice.input(self._ask_several, [photos, *asked], **ask)

    def _look(self, before: State, version: str | None, beside: str) -> Any:
        """Bring notice, versions and examples up to date; what hasn't changed is left alone."""
        now = self._backend.state()
        if now == before:
            return gr.skip()
        notice = show.state(now)
        if not now.versions:
            return now, notice, gr.skip(), gr.skip(), gr.skip()
        if version not in now.versions:
            version = now.first
        if beside not in now.versions:
            beside = ALONE
        names = [(f"{v} (default)" if v == now.default else v, v) for v in now.versions]
        return (
            now,
            notice,
            gr.Radio(names, value=version),
            gr.Radio([ALONE, *now.versions], value=beside),
            self._gallery(now),
        )

    def _gallery(self, state: State) -> gr.Gallery:
        golden = self._backend.examples(state.first)
        items = [(str(self._file(example)), example.label) for example in golden]
        return gr.Gallery(items, visible=bool(items), selected_index=None)

    def _example(self, state: State, chosen: gr.SelectData) -> tuple[Any, gr.Gallery]:
        """Take a chosen example as the photo, and leave none chosen, so that it can be chosen again.

        The number alone is the browser's: a path of its choice would be a way to read any file.
        """
        golden = self._backend.examples(state.first)
        index = chosen.index
        known = isinstance(index, int) and 0 <= index < len(golden)
        photo = str(self._file(golden[index])) if known else gr.skip()
        return photo, gr.Gallery(selected_index=None)

    def _file(self, example: Golden) -> Path:
        """Write an example to where Gradio may show it from."""
        path = self._folder / hashlib.sha256(example.photo).hexdigest()[:16] / example.name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(example.photo)
        return path

    def _ask_again(
        self, photo: str | None, version: str | None, beside: str, failed: bool
    ) -> Iterator[tuple[Any, ...]]:
        """Ask about a photo that the server failed to answer, now that its state has changed."""
        if failed:
            yield from self._ask(photo, version, beside)
        else:
            yield tuple(gr.skip() for _ in range(4))

    def _ask(self, photo: str | None, version: str | None, beside: str) -> Iterator[tuple[Any, ...]]:
        """Show the answers as soon as they are there, and then where the versions looked."""
        if photo is None:
            yield show.HINT, "", "", False
            return
        content = _read(photo)
        replies = self._replies(content, version, beside)
        answered = [r.version for r in replies if isinstance(r, Answer)]
        failed = any(isinstance(r, Failure) and not r.of_photo for r in replies)
        heat: dict[str, Any] = {}
        shown = show.pictures(content, answered, heat) if answered else ""
        yield show.verdict(replies), shown, show.cards(replies), failed
        if answered:
            heat = {v: self._backend.heatmap(content, v) for v in answered}
            yield gr.skip(), show.pictures(content, answered, heat), gr.skip(), gr.skip()

    def _ask_several(
        self,
        photos: Sequence[str] | None,
        version: str | None,
        beside: str,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  # how Gradio is asked for one
    ) -> str:
        """Show a table of the answers."""

        def answer(path: str) -> show.Row:
            content = _read(path)
            return show.row(Path(path).name, content, self._replies(content, version, beside))

        with ThreadPoolExecutor(_CLIENTS) as pool:
            found = pool.map(answer, photos or ())
            return show.table(list(progress.tqdm(found, total=len(photos or ()), unit="photos")))

    def _replies(self, content: bytes, version: str | None, beside: str) -> list[show.Reply]:
        if not content:
            return [Failure(version, _GONE, of_photo=True)]
        wanted = [version, *([beside] if beside not in (ALONE, version) else [])]
        return [self._backend.ask(content, name) for name in wanted]


def _photo() -> gr.Image:
    photo = gr.Image(
        label="Photo",
        sources=["upload", "webcam", "clipboard"],
        webcam_options=gr.WebcamOptions(mirror=False),
        buttons=[],
        height=300,
        placeholder="Drop a photo here, paste one, or click to choose",
        alt_text="Your photo",
        elem_id="photo",
    )
    photo.preprocess = _as_it_came  # no subclass: for one Gradio would write a file beside this one
    return photo


def _examples() -> gr.Gallery:
    return gr.Gallery(
        label="Examples",
        show_label=False,
        columns=4,
        height="auto",
        object_fit="cover",
        allow_preview=False,
        interactive=False,
        buttons=[],
        visible=False,
        elem_id="examples",
    )


def _as_it_came(payload: ImageData | None) -> str | None:
    """Hand on the path of the file, whatever is in it."""
    return payload.path if payload else None


def _read(path: str) -> bytes:
    """Read an upload; empty if it was cleaned up meanwhile."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        return b""


def _announced(how: str) -> str:
    """Let screen readers say what changes in a part."""
    return f"element.setAttribute('aria-live', '{how}')"
