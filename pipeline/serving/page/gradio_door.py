"""The only file that knows Gradio: the page's fields, gallery and buttons, and what each does."""

from __future__ import annotations

import html
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import FastAPI

from pipeline.serving.bodies import NOISES
from pipeline.serving.page.asked import TABS, Asked
from pipeline.serving.page.copies import as_command, as_python
from pipeline.serving.page.fields import FIELDS, filled, read_fields
from pipeline.serving.page.front import App
from pipeline.serving.page.kept import Kept, Picture
from pipeline.serving.page.look import FIELD_LOOKS, HELP, NOISE_NAMES, STYLE, THEME
from pipeline.serving.page.model_client import ModelClient, Refused

WAITING, AT_ONCE, VARIATIONS = 32, 4, 4
# The browser's list is encrypted by Gradio; it is nobody's secret, and must outlive this process.
_STORE = {"secret": "ganline"}
_COPY = """async (text) => {
  try { await navigator.clipboard.writeText(text); return "Copied."; }
  catch { return "Mark it below to copy it."; }
}"""
_DICE = "() => Math.floor(Math.random() * 1e6)"


def page(client: ModelClient, files: Path) -> tuple[App, Callable[[], None]]:
    """Return the page as an ASGI application, and what to call when it is to end.

    Args:
        client: the models.
        files: an empty folder for what is drawn, deleted by the caller in the end.
    """
    os.environ["GRADIO_TEMP_DIR"] = str(files)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    blocks = _Page(client, Kept(files)).blocks
    outside = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    # Of all that Gradio offers beside the page, nothing: no links, no history, no sharing.
    quiet: dict[str, Any] = {"footer_links": [], "run_history": False, "allowed_paths": []}
    quiet |= {"ssr_mode": False, "mcp_server": False, "enable_monitoring": False, "pwa": False}
    theme = gr.themes.Default(**THEME["hues"]).set(**THEME["colours"])
    gr.mount_gradio_app(outside, blocks, path="/", theme=theme, css=STYLE, **quiet)
    # A browser holds a stream open, which ends by this event and by nothing else.
    return outside, blocks.app.stop_event.set


def _as_it_is(payload: Any) -> Any:
    """Take a choice unchecked: Gradio knows only those of the first model; the server checks."""
    return payload


class _Page:
    """Builds the page and answers its events; what a visitor has drawn is in `pictures`."""

    def __init__(self, client: ModelClient, kept: Kept) -> None:
        self._client, self._kept = client, kept
        self.fields: dict[str, Any] = {}
        self.tabs: dict[str, Any] = {}
        with gr.Blocks(title="ganline: draw", analytics_enabled=False, fill_width=True) as blocks:
            self.pictures = gr.State([], delete_callback=kept.dropped)
            self.chosen = gr.State(None)
            self.form_store = gr.BrowserState({}, storage_key="ganline-form", **_STORE)
            self.store = gr.BrowserState([], storage_key="ganline-gallery", **_STORE)
            with gr.Row(elem_id="head"):
                gr.HTML("<h1>ganline</h1>", elem_id="name", scale=2)
                self.model = gr.Dropdown(
                    [],
                    label="Model",
                    filterable=False,
                    interactive=True,
                    elem_id="model",
                    min_width=220,
                )
                self.model.preprocess = _as_it_is
            with gr.Row():
                with gr.Column(scale=2, min_width=300):
                    self._form()
                with gr.Column(scale=3, min_width=300):
                    self._gallery()
            self._listen(blocks)
        self.blocks = blocks.queue(max_size=WAITING, default_concurrency_limit=AT_ONCE)

    # -- what is on the page ------------------------------------------------------

    def _form(self) -> None:
        with gr.Group():
            self._fields("prompt", "label")
            with gr.Row():
                self._fields("seed", "psi", "noise")
        self.dice = gr.Button("A new seed", size="sm", elem_id="dice")
        self.tab = gr.Textbox("draw", visible="hidden", label="Tab", elem_id="tab")
        with gr.Tabs(elem_id="tabs", selected="draw") as self.bar:
            for name, fields in {
                "draw": ("number",),
                "sweep": ("psis",),
                "mix": ("mix_second", "mix_seed", "layers"),
                "walk": ("walk_second", "walk_seed", "frames"),
            }.items():
                with gr.Tab(name.title(), id=name, elem_id=f"tab-{name}") as self.tabs[name]:
                    gr.Markdown(HELP[name], elem_classes="help")
                    with gr.Group(), gr.Row():
                        self._fields(*fields)
        self.error = gr.HTML(elem_id="error", html_template='<p role="alert">${value}</p>')
        self.go = gr.Button("Draw", variant="primary", elem_id="go")
        with gr.Row():
            self.command = gr.Button("Copy as command", size="sm", elem_id="as-command")
            self.python = gr.Button("Copy as Python", size="sm", elem_id="as-python")
        self.status = gr.HTML(
            elem_id="status", html_template='<p role="status" aria-live="polite">${value}</p>'
        )
        self.copied = gr.Textbox(
            label="To copy", lines=3, max_lines=16, buttons=["copy"], interactive=False,
            visible=False, elem_id="copied",
        )  # fmt: skip

    def _fields(self, *names: str) -> None:
        for name in names:
            look = {"label": None, "elem_id": name.replace("_", "-")} | FIELD_LOOKS[name]
            value = FIELDS[name]
            if name == "label":
                field = gr.Dropdown([], interactive=True, **look)
            elif name == "noise":
                choices = [(NOISE_NAMES[noise], noise) for noise in NOISES]
                field = gr.Dropdown(choices, value=value, filterable=False, **look)
            else:
                kind = gr.Textbox if isinstance(value, str) else gr.Number
                field = kind(value=value, **look)
            self.fields[name] = field
        for name in {"label", "noise"} & {*names}:
            self.fields[name].preprocess = _as_it_is

    def _gallery(self) -> None:
        gr.HTML("<h2>Gallery</h2><p>What you draw appears here.</p>", elem_id="gallery-head")
        with gr.Row(visible=False, elem_id="of-one") as self.of_one:
            self.use = gr.Button("Use its settings", size="sm", elem_id="use")
            self.vary = gr.Button("Variations", size="sm", elem_id="vary")
            self.one_command = gr.Button("Its command", size="sm", elem_id="one-command")
            self.one_python = gr.Button("Its Python", size="sm", elem_id="one-python")
        self.gallery = gr.Gallery(
            label="Gallery",
            show_label=False, elem_id="gallery", columns=5,
            height="auto", object_fit="contain", interactive=False, format="png",
            buttons=["download", "fullscreen"],
        )  # fmt: skip
        self.clear = gr.Button("Clear the gallery", size="sm", elem_id="clear")

    # -- who calls what -----------------------------------------------------------

    def _listen(self, blocks: gr.Blocks) -> None:
        plain: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        form = [self.tab, self.model, *self.fields.values()]
        shown = [self.pictures, self.gallery, self.of_one, self.status, self.error]
        whole = [*form, *self.tabs.values(), self.bar, self.status, self.error]
        keeping: dict[str, Any] = {
            "fn": self._kept.for_browser,
            "inputs": self.pictures,
            "outputs": self.store,
        }
        typed = [one for one in self.fields.values() if isinstance(one, (gr.Textbox, gr.Number))]
        drawn = gr.on(
            [self.go.click, *(one.submit for one in typed)], self._draw, [self.pictures, *form],
            [*shown, self.form_store], validator=self._wrong, api_visibility="private",
            show_progress="minimal", show_progress_on=[self.status],
        )  # fmt: skip
        varied = self.vary.click(self._vary, [self.pictures, self.chosen], shown, **plain)
        cleared = self.clear.click(self._clear, self.pictures, shown, **plain)
        for event in (drawn, varied, cleared):
            event.then(**keeping, **plain)
        for button, text in ((self.command, as_command), (self.python, as_python)):
            self._copies(button, self._copy(text), form, self._wrong)
        for button, text in ((self.one_command, as_command), (self.one_python, as_python)):
            self._copies(button, self._copy_chosen(text), [self.pictures, self.chosen], None)
        self.dice.click(None, None, self.fields["seed"], js=_DICE, **plain)
        for name, tab in self.tabs.items():
            tab.select(None, None, self.tab, js=f"() => '{name}'", **plain)
        self.model.input(self._choose, [self.model, self.tab], whole, **plain)
        one = [self.chosen, self.of_one, self.vary]
        self.gallery.select(self._chosen, [self.pictures, self.model], one, **plain)
        self.use.click(self._use, [self.pictures, self.chosen], whole, **plain)
        stored = [self.form_store, self.store]
        blocks.load(self._start, stored, [*whole, self.pictures, self.gallery], **plain)

    def _copies(self, button: Any, fn: Any, inputs: list[Any], validator: Any) -> None:
        plain: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        text = button.click(fn, inputs, self.copied, validator=validator, **plain)
        text.then(None, self.copied, self.status, js=_COPY, **plain)

    # -- the events ----------------------------------------------------------------

    def _read(self, form: tuple[Any, ...]) -> tuple[Asked | None, dict[str, str]]:
        tab, model, *values = form
        facts = self._client.facts(model)
        return read_fields(tab, model, dict(zip(FIELDS, values, strict=True)), facts)

    def _wrong(self, *values: Any) -> list[Any]:
        """Return for each input whether it is right, and the sentence beside it where not."""
        form = values[-len(FIELDS) - 2 :]
        try:
            _, errors = self._read(form)
        except Refused:
            errors = {}  # the event itself says so
        right = [gr.validate(True, "")] * (len(values) - len(FIELDS))
        return [*right, *(gr.validate(name not in errors, errors.get(name, "")) for name in FIELDS)]

    def _draw(self, pictures: list[Picture], *form: Any) -> dict[Any, Any]:
        try:
            asked, _ = self._read(form)
            assert asked is not None  # the validator came before
            stored = dict(zip(("tab", "model", *FIELDS), form, strict=True))
            return self._drawn(pictures, asked) | {self.form_store: stored}
        except Refused as error:
            return self._refused(error)

    def _vary(self, pictures: list[Picture], chosen: int | None) -> dict[Any, Any]:
        if chosen is None or chosen >= len(pictures):
            return {}
        seeds = tuple(random.sample(range(1_000_000), VARIATIONS))
        try:
            return self._drawn(pictures, pictures[chosen].asked.variation(), seeds)
        except Refused as error:
            return self._refused(error)

    def _drawn(
        self, pictures: list[Picture], asked: Asked, seeds: tuple[int, ...] = ()
    ) -> dict[Any, Any]:
        drawn = self._client.draw(asked, seeds)
        what = {"mix": "mix", "walk": "walk"}.get(asked.tab, "picture")
        several = "es" if what == "mix" else "s"
        count = len(drawn.pictures)
        said = f"{count} {what}{several if count > 1 else ''}."
        if drawn.words_not_known:
            said += f" The model never learned: {', '.join(drawn.words_not_known)}."
        elif drawn.number_not_known:
            said += f" The model never learned {drawn.number_not_known} of the words."
        return self._shown(self._kept.added(pictures, drawn.pictures), said)

    def _shown(self, pictures: list[Picture], said: str) -> dict[Any, Any]:
        rows = [(str(one.path), one.asked.said()) for one in pictures]
        return {
            self.pictures: pictures,
            self.gallery: gr.Gallery(value=rows, selected_index=None),
            self.of_one: gr.Row(visible=False),
            self.status: html.escape(said),
            self.error: "",
        }

    def _refused(self, error: Refused) -> dict[Any, Any]:
        return {self.error: html.escape(str(error)), self.status: ""}

    def _clear(self, pictures: list[Picture]) -> dict[Any, Any]:
        self._kept.dropped(pictures)
        return self._shown([], "The gallery is empty.")

    def _copy(self, text: Any) -> Any:
        def copied(*form: Any) -> Any:
            asked, _ = self._read(form)
            return gr.Textbox(value=text(asked), visible=True)

        return copied

    def _copy_chosen(self, text: Any) -> Any:
        def copied(pictures: list[Picture], chosen: int) -> Any:
            return gr.Textbox(value=text(pictures[chosen].asked), visible=True)

        return copied

    def _chosen(self, pictures: list[Picture], model: str, event: gr.SelectData) -> list[Any]:
        one = pictures[event.index]
        varied = one.asked.tab == "draw" and one.asked.depth > 1 and one.asked.model == model
        return [event.index, gr.Row(visible=True), gr.Button(visible=varied)]

    def _choose(self, model: str, tab: str) -> dict[Any, Any]:
        """Fit the page to a model: what it cannot do is not there."""
        try:
            facts = self._client.facts(model)
        except Refused as error:
            return self._refused(error)
        takes, two = facts["takes"], facts["layers"] > 1
        labels = facts["labels"]
        first = labels[0] if labels else None
        words = facts["words"]
        known = f" It knows {len(words)} words: {', '.join(words)}." if words else ""
        said = f"{facts['resolution_px']} px, {facts['family']}.{known}"
        tab = "draw" if tab not in TABS or (tab == "mix" and not two) else tab
        text = {"visible": takes == "prompt"}
        return {
            self.tab: tab,
            self.bar: gr.update(selected=tab),
            self.tabs["mix"]: gr.update(visible=two),
            self.fields["prompt"]: gr.update(**text),
            self.fields["label"]: gr.update(choices=labels, value=first, visible=takes == "label"),
            self.fields["noise"]: gr.update(visible=bool(facts["draws_noise"])),
            self.fields["mix_second"]: gr.update(**text),
            self.fields["walk_second"]: gr.update(**text),
            self.status: html.escape(said),
            self.error: "",
        }

    def _use(self, pictures: list[Picture], chosen: int) -> dict[Any, Any]:
        asked = pictures[chosen].asked
        ids = [name for _, name in self._client.models()]
        model = {self.model: asked.model} if asked.model in ids else {}
        if not model:
            return {self.error: html.escape(f"The model {asked.model} is no longer here.")}
        return self._with_values(self._choose(asked.model, asked.tab) | model, filled(asked))

    def _with_values(self, updates: dict[Any, Any], values: dict[str, Any]) -> dict[Any, Any]:
        """Return updates of the page that also give some fields their values."""
        for name, value in values.items():
            field = self.fields[name]
            updates[field] = updates.get(field, gr.update()) | {"value": value}
        return updates

    def _start(self, form: Any, rows: Any) -> dict[Any, Any]:
        """Fill the page when it is opened: models, what was typed last, what was drawn."""
        models = self._client.models()
        form = form if isinstance(form, dict) else {}
        ids = [name for _, name in models]
        model = form.get("model") if form.get("model") in ids else ids[0]
        pictures = self._kept.restored(rows)
        found = self._choose(model, str(form.get("tab", "draw")))
        found = self._with_values(found, {n: form[n] for n in FIELDS if n in form})
        gallery = self._shown(pictures, "")
        found |= {self.model: gr.Dropdown(models, value=model)}
        return found | {one: gallery[one] for one in (self.pictures, self.gallery)}
