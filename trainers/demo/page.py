"""How the page looks: three tabs. What they compute is in the modules beside this one."""

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr
import numpy as np

from trainers.command_line import in_one_line
from trainers.demo import downloads, pads, wave_task
from trainers.demo.image_task import Answer, ImageTask
from trainers.demo.learners import Facts

CSS = "footer {display: none} .facts p {margin: 0.2em 0}"
_HOUR = 3600
_INTRODUCTION = (
    "# Few-shot learning with keras_imaml\n"
    "Give one to five examples of each of two to twenty classes. The model adapts to them at "
    "once, and tells new ones apart. Everything is computed on this machine."
)


def theme() -> gr.Theme:
    """Gradio's own look, in fonts of the system: none is fetched."""
    return gr.themes.Default(
        font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
    )


def page() -> gr.Blocks:
    """The page."""
    with gr.Blocks(
        title="keras_imaml", analytics_enabled=False, delete_cache=(_HOUR, _HOUR)
    ) as blocks:
        gr.Markdown(_INTRODUCTION)
        with gr.Tab("Characters"):
            _image_tab(blocks.load, "omniglot", "Draw a character, or drop images of one.")
        with gr.Tab("Photographs"):
            _image_tab(blocks.load, "mini_imagenet", "Drop photographs of a kind of thing.")
        with gr.Tab("Sine waves"):
            _wave_tab(blocks.load)
        pads.take_brushes(blocks.load)
    return blocks


def _image_tab(load: Callable, name: str, title: str) -> None:
    of_window = gr.State(lambda: ImageTask(name), time_to_live=_HOUR)
    drawn = name == "omniglot"
    with gr.Row():
        with gr.Column():
            gr.Markdown(f"### 1. Examples\n{title}")
            label = gr.Textbox(label="Name of the class", elem_id=f"{name}_class", max_lines=1)
            pad = pads.pad(f"{name}_example", "Example") if drawn else None
            add = gr.Button("Add example", variant="primary", elem_id=f"{name}_add", visible=drawn)
            files = gr.File(
                label="Drop image files of this class",
                file_count="multiple",
                elem_id=f"{name}_files",
                height=140,
            )
            gallery = gr.Gallery(
                label="Examples",
                columns=5,
                height=220,
                elem_id=f"{name}_gallery",
                allow_preview=False,
                object_fit="contain",
                buttons=[],
            )
            with gr.Row():
                remove = gr.Button("Remove the last", elem_id=f"{name}_back")
                clear = gr.Button("Begin again", elem_id=f"{name}_clear")
        with gr.Column():
            gr.Markdown("### 2. Query\nWhich class is this one of?")
            query_pad = pads.pad(f"{name}_query", "Query") if drawn else None
            ask = gr.Button("Answer", elem_id=f"{name}_ask", visible=drawn)
            question = gr.Button(elem_id=f"{name}_question", visible="hidden")
            query_file = gr.File(
                label="Drop an image file", elem_id=f"{name}_query_file", height=140
            )
            status = gr.Markdown(elem_id=f"{name}_status")
            after = gr.Label(label="After adaptation", elem_id=f"{name}_after")
            with gr.Accordion("What was computed, and the answer before adaptation"):
                facts = gr.Markdown(elem_id=f"{name}_facts", elem_classes="facts")
                before = gr.Label(label="Before adaptation", elem_id=f"{name}_before")
            gr.Markdown("### 3. Take it with you")
            format, button, taken = _download(name)
            code = gr.Code(downloads.lines(ImageTask(name)), language="python", label="In Python")
    query = gr.State(None, time_to_live=_HOUR)  # the image, so that it is answered anew
    answers = [status, after, before, facts]
    shown = [gallery, code, *answers]

    def changed(task: ImageTask, image: np.ndarray | None) -> tuple:
        return _gallery(task), downloads.lines(task), *_answers(task, image)

    def after_change(change: Callable[[ImageTask], Any]) -> Callable:
        def handle(task: ImageTask, image: np.ndarray | None) -> tuple:
            change(task)
            return changed(task, image)

        return handle

    def add_drawing(task: ImageTask, image: np.ndarray | None, name: str, canvas: Any) -> tuple:
        task.add(name, task.drawing(pads.composite(canvas)))
        return *changed(task, image), time.monotonic()

    def add_files(task: ImageTask, image: np.ndarray | None, name: str, paths: Any) -> tuple:
        problems = task.add_files(name, paths or [])
        gallery, code, status, *shown = changed(task, image)
        return gallery, code, " ".join([*problems, status]), *shown, None

    def query_drawing(task: ImageTask, canvas: Any) -> tuple:
        try:
            image = task.drawing(pads.composite(canvas))
        except ValueError as error:  # the answer to a query of before goes away
            return None, in_one_line(error), None, None, ""
        return image, *_answers(task, image)

    def query_of_file(task: ImageTask, path: str | None) -> tuple:
        image = None if path is None else task.file(path)
        return image, *_answers(task, image)

    queries = [of_window, query]
    on = functools.partial(_on, status=status)
    on(remove.click, after_change(ImageTask.remove_last), queries, shown)
    on(clear.click, after_change(ImageTask.clear), queries, shown, api=f"{name}_clear")
    on(files.upload, add_files, [*queries, label, files], [*shown, files], api=f"{name}_add_files")
    on(query_file.upload, query_of_file, [of_window, query_file], [query, *answers])
    on(query_file.clear, query_of_file, [of_window, query_file], [query, *answers])
    on(button.click, downloads.of_images, [of_window, format], [taken])
    if pad is not None and query_pad is not None:
        added = gr.State()  # when the last example was added
        on(add.click, add_drawing, [*queries, label, pad], [*shown, added], api=f"{name}_add")
        pads.empty_after(added.change, f"{name}_example")
        inputs, outputs = [of_window, query_pad], [query, *answers]
        asked = on(question.click, query_drawing, inputs, outputs, api=f"{name}_query")
        pads.ask_after_changes(load, f"{name}_query", ask, question)
        pads.answered_after(asked, f"{name}_query")


def _wave_tab(load: Callable) -> None:
    points = gr.State([], time_to_live=_HOUR)
    low, high = wave_task.STRENGTHS
    with gr.Row():
        with gr.Column(scale=2):
            picture = gr.Image(
                label="Click points of a wave",
                elem_id="sinusoid_picture",
                interactive=False,
                buttons=[],
                height=wave_task.SIZE[1],
                width=wave_task.SIZE[0],
                format="png",
            )
            with gr.Row():
                remove = gr.Button("Remove the last", elem_id="sinusoid_back")
                clear = gr.Button("Begin again", elem_id="sinusoid_clear")
        with gr.Column():
            power = gr.Slider(
                low, high, 0.0, step=0.1, label="lambda, a power of ten", elem_id="sinusoid_lambda"
            )
            steps = gr.Slider(
                *wave_task.STEPS, 4, step=1, label="Inner steps", elem_id="sinusoid_steps"
            )
            gr.Markdown(
                "A small lambda lets the curve go to your points. A large one holds the weights "
                "near the meta-learned ones."
            )
            status = gr.Markdown(elem_id="sinusoid_status")
            facts = gr.Markdown(elem_id="sinusoid_facts", elem_classes="facts")
            format, button, taken = _download("sinusoid")
    code = gr.Code(downloads.wave_lines([], 1.0, 4), language="python", label="In Python")
    settings, shown = [points, power, steps], [points, picture, code, status, facts]

    def drawn(kept: list, power: float, steps: int) -> tuple:
        strength = 10**power
        curves = wave_task.curves(kept, strength, steps)
        text = _facts(curves.facts, None) if curves.facts else ""
        text = f"{len(kept)} point{'s' * (len(kept) != 1)}. {text}"
        python = downloads.wave_lines(kept, strength, steps)
        return kept, wave_task.picture(curves, kept), python, "", text

    def click(kept: list, power: float, steps: int, event: gr.SelectData) -> tuple:
        if len(kept) >= wave_task.MOST_POINTS:
            raise ValueError(f"There are {wave_task.MOST_POINTS} points, which is the most.")
        return drawn([*kept, wave_task.point_at(event.index)], power, steps)

    def take_home(kept: list, power: float, steps: int, format: str) -> str:
        strength = 10**power
        python = downloads.wave_lines(kept, strength, steps)
        return downloads.of_waves(wave_task.adapted(kept, strength, steps)[0], format, python)

    def select(kept: list, power: float, steps: int, event: gr.SelectData) -> tuple:
        return _told(click, status, shown)(kept, power, steps, event)  # Gradio reads its signature

    picture.select(select, settings, shown, show_progress="hidden")
    on = functools.partial(_on, status=status)
    on(clear.click, lambda _, p, s: drawn([], p, s), settings, shown)
    on(remove.click, lambda kept, p, s: drawn(kept[:-1], p, s), settings, shown)
    on(power.change, drawn, settings, shown)
    on(steps.change, drawn, settings, shown)
    on(button.click, take_home, [*settings, format], [taken])
    on(load, drawn, settings, shown)


def _on(
    event: Callable,
    handle: Callable,
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    status: Any,
    api: str | None = None,
) -> Any:
    """Connect an event. What goes wrong is said in `status`, and all else stays as it is."""
    told = outputs if status in outputs else [*outputs, status]
    return event(
        _told(handle, status, outputs),
        inputs,
        told,
        show_progress="hidden",
        trigger_mode="always_last",
        concurrency_limit=1,
        concurrency_id=str(status.elem_id),  # one after the other, in the order of a visitor
        **({"api_name": api} if api else {}),
    )


def _told(handle: Callable, status: Any, outputs: Sequence[Any]) -> Callable:
    """The handler, with the message of a `ValueError` for `status`, or none."""
    place = list(outputs).index(status) if status in outputs else None

    def told(*values: Any) -> Any:
        try:
            results = handle(*values)
        except ValueError as error:
            results = [gr.skip()] * len(outputs)
            if place is not None:
                results[place] = in_one_line(error)
            return results if place is not None else [*results, in_one_line(error)]
        if place is not None:
            return results
        return [*(results if len(outputs) > 1 else [results]), ""]

    return told


def _download(name: str) -> tuple[gr.Radio, gr.Button, gr.File]:
    """Which format, the button, and the file that comes."""
    formats = list(downloads.FORMATS)
    format = gr.Radio(formats, value=formats[0], label="Format", elem_id=f"{name}_format")
    button = gr.Button("Make the adapted model a file", elem_id=f"{name}_take")
    return format, button, gr.File(label="Download", elem_id=f"{name}_taken", height=80)


def _gallery(task: ImageTask) -> list[tuple[np.ndarray, str]]:
    """The examples with their names."""
    return [(_to_show(image, task.is_drawn), name) for name, image in task.examples]


def _to_show(image: np.ndarray, drawn: bool) -> np.ndarray:
    """uint8, RGB, ink dark, in larger pixels."""
    shown = 1 - np.repeat(image, 3, axis=-1) if drawn else image
    return np.kron(np.round(255 * shown).astype(np.uint8), np.ones((3, 3, 1), np.uint8))


def _answers(task: ImageTask, image: np.ndarray | None) -> tuple:
    """The values of status, the answers after and before adaptation, and facts."""
    if len(task.classes) < 2:
        hint = "" if image is None else "The query waits. "
        return f"{hint}Add an example of each of two classes or more.", None, None, ""
    facts = task.adapt()
    if image is None:
        return "The model has adapted. Give it a query.", None, None, _facts(facts, None)
    answer = task.answer(image)
    return "", answer.after, answer.before, _facts(facts, answer)


def _facts(facts: Facts, answer: Answer | None) -> str:
    """What was computed, in words."""
    lines = [
        f"lambda {facts.strength:.3g}, {facts.steps} steps of Newton's method, inner residual "
        f"{facts.residual:.1e}.",
        f"The weights moved by {facts.moved:.3g}. Adaptation took {1000 * facts.seconds:.0f} ms"
        + (f", the answer {1000 * answer.seconds:.0f} ms." if answer else "."),
    ]
    return "\n\n".join(lines)
