"""The page: gradio's components, and which function answers which of them."""

import asyncio
import shutil
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from functools import wraps
from importlib import resources
from pathlib import Path
from typing import Any, ParamSpec

from molyneux.app import packs, views
from molyneux.app.folder import AppFolder, Choice
from molyneux.app.models import MOST_PHOTOS, Models
from molyneux.app.queue import LessonQueue
from molyneux.app.teaching import LONGEST_DESCRIPTION, MOST_IMAGES, cost, measured, photos, settings
from molyneux.backends.options import Running
from molyneux.concepts import LONGEST_NAME, read_concepts
from molyneux.errors import MolyneuxError
from molyneux.report.html import write_report
from molyneux.teaching.config import Edit

TITLE = "Molyneux"

LARGEST_FILE = 20 * 2**20
"""Bytes of an uploaded file."""

_BETWEEN = 0.4
"""Seconds between two looks at a lesson."""

_OLD = 3600
"""Seconds after which what was uploaded is removed."""

Given = ParamSpec("Given")


def refusing(answer: Callable[Given, str]) -> Callable[Given, str]:
    """The function, whose errors on purpose become a line on the page."""

    @wraps(answer)
    def inner(*args: Given.args, **kwargs: Given.kwargs) -> str:
        try:
            return answer(*args, **kwargs)
        except MolyneuxError as error:
            return views.bad(str(error))

    return inner


class Handlers:
    """What the page calls; values in and out are plain, so that no browser is needed to call them."""

    def __init__(self, folder: AppFolder, queue: LessonQueue, models: Models, running: Running | None = None) -> None:
        self.folder, self.queue, self.models, self.running = folder, queue, models, running

    def start(self, name: str, description: str, model: str, strength: float, images: int | float) -> tuple[str, str]:
        """Put a lesson into the queue: its key, and what there is to see; no key where it was refused."""
        key = uuid.uuid4().hex
        try:
            asked = settings(
                self.folder,
                name=name or "",
                description=description or "",
                model=model,
                strength=float(strength),
                images=int(images),
                running=self.running,
            )
            return key, views.lesson(self.queue.add(key, asked))
        except MolyneuxError as error:
            return "", views.bad(str(error))

    async def follow(self, key: str) -> AsyncIterator[tuple[str, bool]]:
        """What there is to see of a lesson, and whether it is over, whenever that changes."""
        last = None
        while (lesson := self.queue.lesson(key)) is not None:
            progress = lesson.progress
            if progress is not last:
                last = progress
                yield views.lesson(lesson), progress.over
            if progress.over:
                return
            await asyncio.sleep(_BETWEEN)

    def cost(self, model: str, strength: float, images: int | float) -> str:
        """What a lesson of this kind would cost."""
        try:
            return "".join(map(views.note, cost(self.folder, model, float(strength), int(images))))
        except MolyneuxError as error:
            return views.bad(str(error))

    @refusing
    def recognise(self, model: str, files: Sequence[str] | None, names: str, text: str) -> str:
        """The best names of uploaded photos."""
        return views.recognised(self.models.ask(model, [Path(one) for one in files or ()], names or "", text or ""))

    @refusing
    def concepts(self, model: str) -> str:
        """What a model was taught."""
        return views.concepts(packs.concepts(self.models, model))

    @refusing
    def upload(self, files: Sequence[str] | None) -> str:
        """Keep uploaded packs."""
        names, refused = packs.upload(self.folder, [Path(one) for one in files or ()])
        said = [views.good(f"In the folder: {', '.join(names)}")] if names else []
        return "".join([*said, *map(views.bad, refused)])

    def apply(self, model: str, chosen: Sequence[str]) -> tuple[str, str]:
        """Put packs into a model: the new model, or the old one where that was refused, and what to say."""
        return self._changed(model, packs.apply, chosen)

    def remove(self, model: str, names: Sequence[str]) -> tuple[str, str]:
        """Take concepts out of a model; the same."""
        return self._changed(model, packs.remove, names)

    def _changed(
        self, model: str, change: Callable[[Models, str, list[str]], str], what: Sequence[str]
    ) -> tuple[str, str]:
        try:
            made = change(self.models, model, list(what))
        except MolyneuxError as error:
            return model, views.bad(str(error))
        return made, views.good(f"The new model is {self.folder.root / made}. The old one stays.")

    def download(self, chosen: Sequence[str]) -> tuple[list[str] | None, str]:
        """Copies of packs to fetch."""
        try:
            return packs.download(self.folder, list(chosen)), ""
        except MolyneuxError as error:
            return None, views.bad(str(error))

    def pack_names(self, model: str) -> list[str]:
        """The concepts that can be taken out of a model."""
        try:
            return [pack.name for pack in packs.concepts(self.models, model)]
        except MolyneuxError:
            return []

    def stored(self) -> list[tuple[str, str]]:
        """The packs of the folder, for a list."""
        return [(one.label, one.value) for one in packs.stored(self.folder)]

    def report(self, lesson: str | None) -> tuple[str, str | None]:
        """A lesson's report, and a copy to fetch."""
        if not lesson:
            return views.note("No lesson is finished yet."), None
        try:
            run = self.folder.lesson(lesson)
            page = run / "report.html"
            if not page.is_file():
                write_report(run)
            copy = self.folder.uploads / f"report-{run.name}.html"
            shutil.copyfile(page, copy)
            return views.report(page.read_text(encoding="utf-8"), run.name), str(copy)
        except MolyneuxError as error:
            return views.bad(str(error)), None


def listed(choices: Sequence[Choice]) -> list[tuple[str, str]]:
    """Choices as gradio takes them."""
    return [(one.label, one.value) for one in choices]


def css() -> str:
    """The page's own style."""
    return (resources.files("molyneux") / "app" / "page.css").read_text(encoding="utf-8")


def theme() -> Any:
    """gradio's default theme in blue, with the machine's own fonts, and help that has enough contrast to be read."""
    import gradio as gr

    soft, dark = "*neutral_600", "*neutral_400"
    return gr.themes.Default(
        primary_hue="blue", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
    ).set(
        body_text_color_subdued=soft,
        body_text_color_subdued_dark=dark,
        block_title_text_color="*neutral_800",
        block_label_text_color="*neutral_800",
        block_info_text_color=soft,
        block_info_text_color_dark=dark,
        link_text_color_dark="*primary_400",
        link_text_color_hover_dark="*primary_300",
        color_accent="*primary_600",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
    )


def build(handlers: Handlers) -> Any:
    """The page as `gradio.Blocks`, not launched."""
    import gradio as gr

    folder = handlers.folder
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    busy: dict[str, Any] = {
        "api_visibility": "private",
        "show_progress": "minimal",
        "concurrency_limit": 1,
        "concurrency_id": "model",
    }
    first = folder.names[0]

    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(_OLD, _OLD)) as page:
        key = gr.BrowserState("", storage_key="molyneux-lesson", secret="molyneux")
        gr.Markdown(
            "# Molyneux\nTeach a vision-language model to recognise what it has only read about. "
            f"Everything is kept in `{folder.root}`."
        )
        with gr.Tabs():
            with gr.Tab("Teach") as teach_tab, gr.Row():
                with gr.Column(scale=5, min_width=300):
                    name = gr.Textbox(
                        label="Name", info="What the thing is called.", max_length=LONGEST_NAME, elem_id="name"
                    )
                    description = gr.Textbox(
                        label="Description",
                        info="How it looks: shape, parts, colours. Leave its name out.",
                        lines=3,
                        max_length=LONGEST_DESCRIPTION,
                        elem_id="description",
                    )
                    with gr.Row():
                        examples = [
                            (gr.Button(f"Try {one.name}", size="sm", min_width=80), one)
                            for one in read_concepts(Path(str(resources.files("molyneux") / "app" / "examples.yaml")))
                        ]
                    with gr.Accordion("Model, strength, images", open=False, elem_id="options"):
                        model = gr.Dropdown(
                            listed(folder.models()),
                            value=first,
                            label="Model",
                            info="Which model learns it. It stays as it is; a new one is saved.",
                            elem_id="model",
                        )
                        strength = gr.Radio(
                            [(f"{one:g}", one) for one in measured()],
                            value=Edit().strength,
                            label="Strength",
                            info="Higher finds more of the new thing, and takes more photos of other things for it.",
                            elem_id="strength",
                        )
                        images = gr.Slider(
                            0,
                            MOST_IMAGES,
                            value=0,
                            step=1,
                            label="Images",
                            info="0: learn from the words alone. More: also from images that the model makes of them. "
                            "They take a while, and change little.",
                            elem_id="images",
                        )
                    price = gr.HTML(handlers.cost(first, Edit().strength, 0), elem_id="cost", apply_default_css=False)
                    with gr.Row():
                        teach = gr.Button("Teach", variant="primary", size="md", min_width=120, elem_id="teach")
                        stop = gr.Button("Stop", interactive=False, size="md", min_width=120, elem_id="stop")
                with gr.Column(scale=6, min_width=300):
                    seen = gr.HTML(
                        views.note("The lesson shows here."),
                        elem_id="lesson",
                        elem_classes="m-page",
                        apply_default_css=False,
                    )
            with gr.Tab("Recognise") as recognise_tab, gr.Row():
                with gr.Column(scale=4, min_width=300):
                    asked = gr.Dropdown(
                        listed(folder.models()),
                        value=first,
                        label="Model",
                        info="A taught model answers before and after.",
                        elem_id="asked-model",
                    )
                    files = gr.File(
                        file_count="multiple",
                        file_types=["image"],
                        label=f"Photos: at most {MOST_PHOTOS}, of {LARGEST_FILE // 2**20} MB each",
                        height=180,
                        elem_id="photos",
                    )
                    shipped = gr.Button("Use the photos that come with Molyneux", size="sm", elem_id="shipped")
                    names = gr.Textbox(
                        label="Names (optional)",
                        info="What to choose from, with commas between. Empty: ImageNet's 1,000 and what was taught.",
                        elem_id="names",
                    )
                    text = gr.Textbox(
                        label="Heat map of (optional)",
                        info="A text, such as “a curved roof”: where does the model see it?",
                        elem_id="heat",
                    )
                    ask = gr.Button("Recognise", variant="primary", size="md", elem_id="recognise")
                with gr.Column(scale=7, min_width=300):
                    answers = gr.HTML(
                        views.note("The names show here."),
                        elem_id="answers",
                        elem_classes="m-page",
                        apply_default_css=False,
                    )
            with gr.Tab("Packs") as packs_tab:
                gr.Markdown(
                    "A pack is what was learned of one concept: a small file that fits the model it was made for. "
                    "Every change makes a new model; the old one stays."
                )
                with gr.Row():
                    with gr.Column(min_width=300):
                        changed = gr.Dropdown(
                            listed(folder.models()),
                            value=first,
                            label="Model",
                            info="Packs are put into it, and concepts taken out of it.",
                            elem_id="changed-model",
                        )
                        held = gr.HTML(elem_id="held", elem_classes="m-page", apply_default_css=False)
                        leaving = gr.CheckboxGroup(
                            [], label="Concepts of this model", info="Tick what it is to forget.", elem_id="leaving"
                        )
                        remove = gr.Button("Remove ticked", size="md", elem_id="remove")
                    with gr.Column(min_width=300):
                        shelf = gr.CheckboxGroup(
                            handlers.stored(),
                            label="Packs in the folder",
                            info="Of lessons, and those that were loaded. Tick some to apply or to download.",
                            elem_id="shelf",
                        )
                        with gr.Row():
                            apply = gr.Button("Apply ticked", size="md", min_width=120, elem_id="apply")
                            fetch = gr.Button("Download ticked", size="md", min_width=120, elem_id="download")
                        fetched = gr.File(
                            label="Ready to download",
                            file_count="multiple",
                            interactive=False,
                            visible=False,
                            elem_id="fetched",
                        )
                        sent = gr.File(
                            file_count="multiple",
                            file_types=[".safetensors"],
                            label="Load packs: files that end in .safetensors",
                            height=180,
                            elem_id="sent",
                        )
                said = gr.HTML(elem_id="said", elem_classes="m-page", apply_default_css=False)
            with gr.Tab("Report") as report_tab:
                lesson = gr.Dropdown(listed(folder.lessons()), label="Lesson", elem_id="lesson-report")
                save = gr.DownloadButton("Download the report", size="sm", elem_id="save-report")
                page_of = gr.HTML(elem_id="report", apply_default_css=False)

        def lists(*chosen: Any) -> tuple[Any, ...]:
            """All lists as they are now; what is chosen stays, where it is still there."""
            there, lessons = listed(folder.models()), listed(folder.lessons())
            values = {value for _, value in there}
            kept = [one if one in values else first for one in chosen[:3]]
            report = chosen[3] if chosen[3] in {value for _, value in lessons} else None
            newest = lessons[0][1] if lessons else None
            return (
                *(gr.Dropdown(choices=there, value=one) for one in kept),
                gr.Dropdown(choices=lessons, value=report or newest),
                gr.CheckboxGroup(choices=handlers.stored(), value=[]),
            )

        def after(key: str, *chosen: Any) -> tuple[Any, ...]:
            """The same after a lesson, which is chosen where it can be looked at."""
            queued = handlers.queue.lesson(key)
            if queued is not None and queued.progress.state == "done":
                made = queued.settings.out.relative_to(folder.root).as_posix()
                chosen = (chosen[0], made, made, made)
            return lists(*chosen)

        def changing(done: tuple[str, str], chosen: Sequence[Any]) -> tuple[Any, ...]:
            made, told = done
            return told, *lists(chosen[0], made, made, chosen[3])

        def begin(*asked: Any) -> tuple[Any, ...]:
            new, shown = handlers.start(*asked)
            return new, shown, gr.Button(interactive=not new), gr.Button(interactive=bool(new))

        async def follow(key: str) -> AsyncIterator[tuple[Any, ...]]:
            found = False
            async for shown, over in handlers.follow(key):
                found = True
                yield shown, gr.Button(interactive=over), gr.Button(interactive=not over)
            if not found:
                yield gr.skip(), gr.Button(interactive=True), gr.Button(interactive=False)

        def held_by(value: str) -> tuple[str, Any]:
            return handlers.concepts(value), gr.CheckboxGroup(choices=handlers.pack_names(value), value=[])

        def ready(chosen: Sequence[str]) -> tuple[Any, str]:
            copies, refused = handlers.download(chosen)
            return gr.File(value=copies, visible=copies is not None), refused

        choosers = [model, asked, changed, lesson]
        all_lists = [*choosers, shelf]
        follows: dict[str, Any] = {
            "fn": follow,
            "inputs": [key],
            "outputs": [seen, teach, stop],
            "concurrency_limit": None,
            **quiet,
        }

        for button, one in examples:
            button.click(lambda one=one: (one.name, one.descriptions[0]), None, [name, description], **quiet)
        gr.on(
            [model.change, strength.change, images.change],
            handlers.cost,
            [model, strength, images],
            [price],
            trigger_mode="always_last",
            **quiet,
        )
        begun = gr.on(
            [teach.click, name.submit],
            begin,
            [name, description, model, strength, images],
            [key, seen, teach, stop],
            **quiet,
        )
        begun.then(**follows).then(after, [key, *choosers], all_lists, **quiet)
        stop.click(handlers.queue.stop, [key], None, **quiet)
        page.load(lists, choosers, all_lists, **quiet).then(**follows).then(after, [key, *choosers], all_lists, **quiet)

        shipped.click(lambda: [str(one) for one in sorted(photos().rglob("*.jpg"))], None, [files], **quiet)
        ask.click(
            handlers.recognise,
            [asked, files, names, text],
            [answers],
            api_name="recognise",
            **busy | {"api_visibility": "public"},
        )

        changed.change(held_by, [changed], [held, leaving], show_progress_on=held, **busy)
        for button, change, given in ((apply, handlers.apply, shelf), (remove, handlers.remove, leaving)):
            button.click(
                lambda value, what, *chosen, change=change: changing(change(value, what), chosen),
                [changed, given, *choosers],
                [said, *all_lists],
                show_progress_on=said,
                **busy,
            )
        fetch.click(ready, [shelf], [fetched, said], **quiet)
        sent.upload(handlers.upload, [sent], [said], **quiet).then(lists, choosers, all_lists, **quiet)

        lesson.change(handlers.report, [lesson], [page_of, save], **quiet)
        for tab in (teach_tab, recognise_tab, report_tab):
            tab.select(lists, choosers, all_lists, **quiet)
        packs_tab.select(lists, choosers, all_lists, **quiet).then(
            held_by, [changed], [held, leaving], show_progress_on=held, **busy
        )
        report_tab.select(handlers.report, [lesson], [page_of, save], **quiet)
    return page.queue(max_size=200, default_concurrency_limit=8)
