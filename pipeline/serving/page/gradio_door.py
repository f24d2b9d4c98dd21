"""The only file that knows Gradio: the parts of the page, and which event each of them sends."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import FastAPI

from pipeline.serving.bodies import NOISES
from pipeline.serving.page.copies import as_command, as_python
from pipeline.serving.page.events import Change, Changes, Events
from pipeline.serving.page.fields import FIELDS
from pipeline.serving.page.front import App
from pipeline.serving.page.kept import Kept, Picture
from pipeline.serving.page.look import FIELD_LOOKS, HELP, NOISE_NAMES, STYLE, THEME
from pipeline.serving.page.model_client import ModelClient

WAITING, AT_ONCE = 32, 4
# The fields of each tab; those before them are of all tabs.
TAB_FIELDS = {
    "draw": ("number",),
    "sweep": ("psis",),
    "mix": ("mix_second", "mix_seed", "layers"),
    "walk": ("walk_second", "walk_seed", "frames"),
}
# Gradio encrypts what a browser stores. It is nobody's secret, and must outlive this process.
SECRET = "ganline"
_QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
_COPY = """async (text) => {
  try { await navigator.clipboard.writeText(text); return "Copied."; }
  catch { return "Mark it below to copy it."; }
}"""
_DICE = "() => Math.floor(Math.random() * 1e6)"


def page(client: ModelClient, files: Path) -> tuple[App, Callable[[], None]]:
    """Return the page as an ASGI application, and what to call when it is to end.

    Args:
        client: the models.
        files: an empty folder for what is drawn, deleted by the caller in the end; Gradio's own
            folder, which it reads from GRADIO_TEMP_DIR when it is imported.
    """
    kept = Kept(files)
    blocks = _Page(Events(client, kept), kept.dropped).blocks
    outside = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    # Of all that Gradio offers beside the page, nothing: no links, no history, no sharing.
    nothing: dict[str, Any] = {"footer_links": [], "run_history": False, "allowed_paths": []}
    nothing |= {"ssr_mode": False, "mcp_server": False, "enable_monitoring": False, "pwa": False}
    theme = gr.themes.Default(**THEME["hues"]).set(**THEME["colours"])
    gr.mount_gradio_app(outside, blocks, path="/", theme=theme, css=STYLE, **nothing)
    # A browser holds a stream open, which ends by this event and by nothing else.
    return outside, blocks.app.stop_event.set


def _as_it_is(payload: Any) -> Any:
    """Take a choice unchecked: Gradio knows only those of the first model; the server checks."""
    return payload


class _Page:
    """Lays out the page and connects its parts, which have names, with the events."""

    def __init__(self, events: Events, dropped: Callable[[list[Picture]], None]) -> None:
        self._events = events
        self._parts: dict[str, Any] = {}
        with gr.Blocks(title="ganline: draw", analytics_enabled=False, fill_width=True) as blocks:
            self._parts["pictures"] = gr.State([], delete_callback=dropped)
            self._parts["chosen"] = gr.State(0)
            for name, key in (("form_store", "form"), ("store", "gallery")):
                stored = gr.BrowserState(None, storage_key=f"ganline-{key}", secret=SECRET)
                self._parts[name] = stored
            gr.HTML("<h1>ganline</h1>", elem_id="name")
            with gr.Row():
                with gr.Column(scale=2, min_width=300):
                    self._form()
                with gr.Column(scale=3, min_width=300):
                    self._gallery()
            self._listen()
            self._listen_to_pictures()
            whole = [name for name in self._parts if name.startswith("tab")]
            whole += ["model", *FIELDS, "status", "error"]
            blocks.load(
                self._answer(events.start),
                self._named("form_store", "store"),
                self._named(*whole, "pictures", "gallery"),
                **_QUIET,
            )
            for event, given in (
                (self._parts["model"].input, ("model", "tab")),
                (self._parts["use"].click, ("pictures", "chosen")),
            ):
                answer = events.choose if given[0] == "model" else events.use
                event(self._answer(answer), self._named(*given), self._named(*whole), **_QUIET)
        self.blocks = blocks.queue(max_size=WAITING, default_concurrency_limit=AT_ONCE)

    # -- what is on the page ------------------------------------------------------

    def _add(self, name: str, kind: Any, *words: Any, **look: Any) -> None:
        part = kind(*words, elem_id=name.replace("_", "-"), **look)
        if kind is gr.Dropdown:
            part.preprocess = _as_it_is
        self._parts[name] = part

    def _button(self, name: str, text: str, **look: Any) -> None:
        self._add(name, gr.Button, text, **({"size": "sm"} | look))

    def _fields(self, *names: str) -> None:
        for name in names:
            look, value = FIELD_LOOKS[name], FIELDS[name]
            if name == "label":
                self._add(name, gr.Dropdown, choices=[], interactive=True, **look)
            elif name == "noise":
                choices = [(NOISE_NAMES[noise], noise) for noise in NOISES]
                self._add(name, gr.Dropdown, choices, value=value, filterable=False, **look)
            else:
                kind = gr.Textbox if isinstance(value, str) else gr.Number
                self._add(name, kind, value=value, **look)

    def _form(self) -> None:
        with gr.Group():
            self._add("model", gr.Dropdown, choices=[], label="Model", interactive=True)
            self._fields("prompt", "label")
            with gr.Row():
                self._fields("seed", "psi", "noise")
        self._button("dice", "A new seed")
        self._add("tab", gr.Textbox, "draw", visible="hidden", label="Tab")
        self._add("tabs", gr.Tabs, selected="draw")
        with self._parts["tabs"]:
            for name, fields in TAB_FIELDS.items():
                self._add(f"tab_{name}", gr.Tab, name.title(), id=name)
                with self._parts[f"tab_{name}"]:
                    gr.HTML(f"<p>{HELP[name]}</p>", elem_classes="help")
                    with gr.Group(), gr.Row():
                        self._fields(*fields)
        self._add("error", gr.HTML, html_template='<p role="alert">${value}</p>')
        self._button("go", "Draw", variant="primary", size="lg")
        with gr.Row():
            self._button("as_command", "Copy as command")
            self._button("as_python", "Copy as Python")
        status = '<p role="status" aria-live="polite">${value}</p>'
        self._add("status", gr.HTML, html_template=status)
        box: dict[str, Any] = {"lines": 3, "max_lines": 16, "buttons": ["copy"]}
        self._add("copied", gr.Textbox, label="To copy", interactive=False, visible=False, **box)

    def _gallery(self) -> None:
        gr.HTML("<h2>Gallery</h2><p>What you draw appears here.</p>", elem_id="gallery-head")
        self._add("of_one", gr.Row, visible=False)
        with self._parts["of_one"]:
            self._button("use", "Use its settings")
            self._button("vary", "Variations")
            self._button("one_command", "Its command")
            self._button("one_python", "Its Python")
        look: dict[str, Any] = {"label": "Gallery", "show_label": False, "columns": 5}
        look |= {"height": "auto", "object_fit": "contain", "interactive": False}
        self._add("gallery", gr.Gallery, buttons=["download", "fullscreen"], **look)
        self._button("clear", "Clear the gallery")

    # -- which event does what ----------------------------------------------------

    def _named(self, *names: str) -> list[Any]:
        return [self._parts[name] for name in names]

    def _answer(self, event: Callable[..., Changes]) -> Callable[..., dict[Any, Any]]:
        """Return what Gradio calls: the changes of an event with parts in place of names."""

        def answer(*values: Any) -> dict[Any, Any]:
            return {
                self._parts[name]: gr.update(**value) if isinstance(value, Change) else value
                for name, value in event(*values).items()
            }

        return answer

    def _wrong(self, *values: Any) -> list[Any]:
        """Return for each input whether it is right, and the sentence beside it if not."""
        before = len(values) - len(FIELDS)
        errors = self._events.wrong(*values[before - 2 :])
        right = [gr.validate(True, "")] * before
        return [*right, *(gr.validate(name not in errors, errors.get(name, "")) for name in FIELDS)]

    def _listen(self) -> None:
        """Connect the form."""
        form = ("tab", "model", *FIELDS)
        typed = [one for one in self._named(*FIELDS) if isinstance(one, (gr.Textbox, gr.Number))]
        drawn = gr.on(
            [self._parts["go"].click, *(one.submit for one in typed)],
            self._answer(self._events.draw),
            self._named("pictures", *form),
            self._named("pictures", "gallery", "of_one", "status", "error", "form_store"),
            validator=self._wrong,
            **(_QUIET | {"show_progress": "minimal", "show_progress_on": self._named("status")}),
        )
        self._then_store(drawn)
        for name, text in (("as_command", as_command), ("as_python", as_python)):
            self._copies(name, partial(self._events.copy, text), form, self._wrong)
        self._parts["dice"].click(None, None, self._parts["seed"], js=_DICE, **_QUIET)
        for name in TAB_FIELDS:
            chosen = self._parts[f"tab_{name}"].select
            chosen(None, None, self._parts["tab"], js=f"() => '{name}'", **_QUIET)

    def _listen_to_pictures(self) -> None:
        """Connect the gallery."""
        shown = self._named("pictures", "gallery", "of_one", "status", "error")
        given = ("pictures", "chosen")
        for name, event in (("vary", self._events.vary), ("clear", self._events.clear)):
            inputs = self._named(*(given if name == "vary" else given[:1]))
            click = self._parts[name].click
            self._then_store(click(self._answer(event), inputs, shown, **_QUIET))
        for name, text in (("one_command", as_command), ("one_python", as_python)):
            self._copies(name, partial(self._events.copy_one, text), given, None)

        def choose(pictures: list[Picture], model: str, event: gr.SelectData) -> dict[Any, Any]:
            return self._answer(self._events.chosen)(pictures, model, event.index)

        # Gradio reads what the event is from the annotation itself.
        choose.__annotations__["event"] = gr.SelectData
        outputs = self._named("chosen", "of_one", "vary")
        self._parts["gallery"].select(choose, self._named("pictures", "model"), outputs, **_QUIET)

    def _then_store(self, event: Any) -> None:
        """Give the browser what was drawn, after it is seen."""
        store = self._answer(self._events.store)
        event.then(store, self._parts["pictures"], self._named("store"), **_QUIET)

    def _copies(self, name: str, event: Any, given: tuple[str, ...], validator: Any) -> None:
        outputs = self._named("copied", "error", "status")
        click = self._parts[name].click
        shown = click(
            self._answer(event), self._named(*given), outputs, validator=validator, **_QUIET
        )
        shown.then(None, self._parts["copied"], self._parts["status"], js=_COPY, **_QUIET)
