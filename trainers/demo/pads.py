"""The canvases of the page, and the script that asks about the one of the query."""

from collections.abc import Callable
from typing import Any

import gradio as gr

_SIDE = 280
# Of Gradio's canvas, in any language: the brush is its first tool, and undo, redo and the button
# that empties it follow a line.
_BRUSH = ".toolbar-wrap button"
_CHANGES = ".separator ~ button"
_EMPTIES = f"{_CHANGES}:last-of-type"
_LONGEST = 30_000  # milliseconds after which a question is taken for lost

# A canvas begins without a tool, also after it was emptied: the brush is the one.
_TAKE_BRUSH = f"""() => setInterval(() => {{
  for (const pad of document.querySelectorAll(".pad"))
    if (pad.offsetParent && !pad.querySelector("button.highlight"))
      pad.querySelector("{_BRUSH}")?.click();
}}, 200)"""

# The answer on the page is always that of the newest drawing:
# - Gradio's own events (`input`, `change`) come before their image was sent, with the image of the
#   event before. Without a listener to them, each question brings what is on the canvas.
# - Questions that overlap reach the server in any order, since an empty canvas is sent faster than
#   a drawn one. So one is asked at a time, and once more if the canvas changed meanwhile.
_ASK = f"""() => {{
  let begun = 0, changed = false, drawing = false;
  const ask = () => {{
    changed = Date.now() - begun < {_LONGEST};
    if (changed) return;
    begun = Date.now();
    document.querySelector("#%(question)s").click();
  }};
  const answered = () => {{ begun = 0; if (changed) ask(); }};
  window.%(pad)s = {{ ask, answered }};
  const askLater = () => setTimeout(ask);  // once the canvas has heard of it as well
  const on = (event, listener) => document.addEventListener(event, listener, true);
  on("pointerdown", event => {{ drawing = event.target.matches("#%(pad)s canvas"); }});
  on("pointerup", () => {{ if (drawing) askLater(); drawing = false; }});
  on("click", event => {{ if (event.target.closest("#%(pad)s {_CHANGES}")) askLater(); }});
}}"""


def pad(elem_id: str, label: str) -> gr.Sketchpad:
    """A canvas for a finger or a mouse."""
    return gr.Sketchpad(
        label=label,
        elem_id=elem_id,
        elem_classes="pad",
        canvas_size=(_SIDE, _SIDE),
        fixed_canvas=True,
        height=_SIDE + 60,
        brush=gr.Brush(default_size=4, colors=["#000000"], color_mode="fixed"),
        image_mode="L",
        layers=False,
        transforms=(),
        buttons=[],
        placeholder=" ",
    )


def composite(canvas: Any) -> Any:
    """The image of a canvas, or None."""
    return canvas and canvas["composite"]


def take_brushes(load: Callable) -> None:
    """Let each canvas have its brush; `load` is the event of the page."""
    load(None, js=_TAKE_BRUSH)


def empty_after(event: Callable, emptied: str) -> None:
    """Empty a canvas after an event; a canvas is emptied by its own button alone."""
    event(None, js=f"() => document.querySelector('#{emptied} {_EMPTIES}').click()")


def ask_after_changes(load: Callable, asked: str, ask: gr.Button, question: gr.Button) -> None:
    """Press `question` after each change of a canvas, and when `ask` is pressed.

    Args:
        load: The event of the page.
        asked: `elem_id` of the canvas.
        ask: What a visitor presses.
        question: What only the script presses; see `answered_after`.
    """
    load(None, js=_ASK % {"pad": asked, "question": question.elem_id})
    ask.click(None, js=f"() => window.{asked}.ask()")


def answered_after(event: Any, asked: str) -> None:
    """Tell the script of `ask_after_changes` that a question has its answer, or none."""
    for end in (event.then, event.failure):
        end(None, js=f"() => window.{asked}.answered()")
