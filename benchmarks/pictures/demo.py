r"""Pictures of the demo page, for docs/demo.md and the README, and the walk that its tests take.

    apt-get install chromium                  # or another browser: --browser=PATH
    pip install '.[demo,benchmarks]'
    python -m benchmarks.pictures.demo --output=docs/images

Starts the page, and lets a browser without a window draw, drop files and click.
"""

import argparse
import io
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from trainers.demo import wave_task

from benchmarks.pictures.figures import FIGURES, moved

# The pad draws by WebGL, which a browser without a window computes on the processor.
_SOFTWARE = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
_WINDOW = {"width": 1180, "height": 1000}
_LONG = 120_000  # milliseconds to wait at most, on a busy machine
_WIDTH = 560  # of the animation in pixels


def main() -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser("benchmarks.pictures.demo")  # the tests import this module
    parser.add_argument("--output", default="docs/images", help="folder of the pictures")
    parser.add_argument("--browser", default=shutil.which("chromium"), help="a Chromium")
    given = parser.parse_args()
    output = pathlib.Path(given.output)
    output.mkdir(parents=True, exist_ok=True)
    frames: list[bytes] = []
    with server() as (address, _), browser(given.browser) as chromium:
        page = opened(chromium, address)
        characters(page, lambda: frames.append(page.screenshot()))
        page.screenshot(path=output / "demo_characters.png")
        with tempfile.TemporaryDirectory() as folder:
            photographs(page, folder)
            page.screenshot(path=output / "demo_photographs.png")
        waves(page)
        page.screenshot(path=output / "demo_waves.png")
    animate(frames, output / "demo.webp")


@contextmanager
def server() -> Iterator[tuple[str, subprocess.Popen]]:
    """The page in a process of its own: its address and the process."""
    command = [sys.executable, "-u", "-m", "trainers.demo", "--port=0", "--warm_up=0"]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            assert process.stdout is not None
            for line in process.stdout:
                address = re.search(r"http://\S+", line)
                if address:
                    yield address[0], process
                    return
            errors.seek(0)
            raise RuntimeError(f"The page did not start: {errors.read()}")
        finally:
            process.terminate()
            process.wait()


@contextmanager
def browser(path: str | None) -> Iterator[Any]:
    """A browser without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=path, args=[*_SOFTWARE, *["--no-sandbox"] * (os.geteuid() == 0)]
        )
        try:
            yield chromium
        finally:
            chromium.close()


def opened(chromium: Any, address: str, language: str = "en-US") -> Any:
    """A window with the page in it; `window.elsewhere` are requests to other hosts."""
    page = chromium.new_context(viewport=_WINDOW, locale=language).new_page()
    page.elsewhere = []

    def look(request: Any) -> None:
        if not request.url.startswith((address, "data:", "blob:")):
            page.elsewhere.append(request.url)

    page.on("request", look)
    page.set_default_timeout(_LONG)
    page.goto(address)
    page.wait_for_selector("#omniglot_query button.highlight")  # the brush is taken
    return page


def draw(page: Any, pad: str, strokes: Sequence[Sequence[tuple[float, float]]]) -> None:
    """Draw strokes on a pad with the mouse; coordinates are in halves of the canvas."""
    canvas = page.locator(f"#{pad} canvas").first
    page.wait_for_selector(f"#{pad} button.highlight")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    for stroke in strokes:
        places = [(middle[0] + 130 * x, middle[1] + 130 * y) for x, y in stroke]
        page.mouse.move(*places[0])
        page.mouse.down()
        for place in places[1:]:
            page.mouse.move(*place)
        page.mouse.up()


def clear(page: Any, pad: str) -> None:
    """Empty a pad, as a visitor does; its buttons are named in the language of the browser."""
    page.locator(f"#{pad} .separator ~ button").last.click()


def name_class(page: Any, tab: str, name: str) -> None:
    """Write the name of the class of the next examples."""
    page.locator(f"#{tab}_class").locator("input, textarea").fill(name)


def add_drawing(page: Any, name: str, strokes: Sequence[Sequence[tuple[float, float]]]) -> None:
    """Draw an example of a class, and add it."""
    count = examples(page, "omniglot")
    name_class(page, "omniglot", name)
    draw(page, "omniglot_example", strokes)
    page.locator("#omniglot_add").click()
    wait_for_examples(page, "omniglot", count + 1)


def examples(page: Any, tab: str) -> int:
    """How many examples the page shows."""
    return page.locator(f"#{tab}_gallery img").count()


def wait_for_examples(page: Any, tab: str, count: int) -> None:
    """Wait until the page shows so many examples."""
    page.wait_for_function(f"document.querySelectorAll('#{tab}_gallery img').length == {count}")


def answer(page: Any, tab: str, unlike: str = "") -> str:
    """The class that the page answers for a second, once it is not `unlike`.

    Each stroke is asked about, so the answer to a part of the drawing may come first.
    """
    place = f"#{tab}_after [data-testid=label-output-value]"
    _settle(
        page,
        """([place, unlike]) => {
          const label = document.querySelector(place)?.innerText.trim();
          return label !== unlike && label;
        }""",
        [place, unlike],
    )
    return page.locator(place).inner_text().strip()


def shows(page: Any, tab: str, label: str | None, text: str) -> None:
    """Wait until the page answers `label`, or nothing, says `text`, and does so for a second."""
    _settle(
        page,
        """([tab, label, text]) => {
          const place = `#${tab}_after [data-testid=label-output-value]`;
          const shown = document.querySelector(place)?.innerText.trim() ?? null;
          const said = document.querySelector(`#${tab}_status`)?.innerText ?? "";
          return shown === label && said.includes(text);
        }""",
        [tab, label, text],
    )


def _settle(page: Any, value: str, argument: list[str | None]) -> None:
    """Wait until a function of JavaScript returns the same true value for a second."""
    page.evaluate("window.value = window.since = undefined")
    page.wait_for_function(
        f"""argument => {{
          const value = ({value})(argument);
          if (value !== window.value) window.since = Date.now();
          window.value = value;
          return value && Date.now() - window.since > 1000;
        }}""",
        arg=argument,
        polling=100,
    )


def status(page: Any, tab: str, text: str) -> None:
    """Wait until the page says this."""
    page.locator(f"#{tab}_status").get_by_text(text).wait_for()


def characters(page: Any, frame: Any = lambda: None) -> list[tuple[str, str]]:
    """Draw an example of each of five figures, and ask for three: pairs of figure and answer."""
    for name, strokes in FIGURES.items():
        add_drawing(page, name, strokes)
        frame()
    frames, last = [], ""
    for name in ("cross", "wave", "ring"):
        if last:
            clear(page, "omniglot_query")
            page.locator("#omniglot_after [data-testid=label-output-value]").wait_for(
                state="detached"
            )
        draw(page, "omniglot_query", moved(FIGURES[name], 0.9, 0.05, -0.05))
        last = answer(page, "omniglot", last)
        frames.append((name, last))
        frame()
    return frames


def photographs(page: Any, folder: str | os.PathLike[str]) -> list[tuple[str, str]]:
    """Drop three images of each of two kinds, and ask for one of each."""
    page.get_by_role("tab", name="Photographs").click()
    rng = np.random.default_rng(0)
    for number, kind in enumerate(("coast", "forest"), start=1):
        files = [photograph(folder, kind, rng) for _ in range(3)]
        name_class(page, "mini_imagenet", kind)
        page.locator("#mini_imagenet_files input[type=file]").set_input_files(files)
        wait_for_examples(page, "mini_imagenet", 3 * number)
    frames, last = [], ""
    for kind in ("forest", "coast"):
        if last:
            page.locator("#mini_imagenet_query_file button[aria-label='Clear']").click()
        entry = page.locator("#mini_imagenet_query_file input[type=file]")
        entry.set_input_files(photograph(folder, kind, rng))
        last = answer(page, "mini_imagenet", last)
        frames.append((kind, last))
    return frames


def waves(page: Any) -> list[str]:
    """Click five points of a wave; what was computed with a small lambda and with a large one."""
    page.get_by_role("tab", name="Sine waves").click()
    picture = page.locator("#sinusoid_picture img")
    picture.wait_for()
    for number, x in enumerate((-4.0, -2.0, 0.0, 1.5, 3.5), start=1):
        column, row = wave_task.pixel_of((x, 3 * np.sin(x - 1)))
        box = picture.bounding_box()
        scale = (box["width"] / wave_task.SIZE[0], box["height"] / wave_task.SIZE[1])
        picture.click(position={"x": column * scale[0], "y": row * scale[1]})
        page.wait_for_function(
            f"""(document.querySelector("#sinusoid_facts").innerText.match(/(\\d+) point/)
              || [])[1] == {number}"""
        )
    frames = []
    for power in ("4", "0"):
        page.locator("#sinusoid_lambda input[type=number]").fill(power)
        page.locator("#sinusoid_lambda input[type=number]").press("Enter")
        strength = {"4": "1e+04", "0": "1"}[power]
        page.locator("#sinusoid_facts").get_by_text(f"lambda {strength},").wait_for()
        frames.append(page.locator("#sinusoid_facts").inner_text())
    return frames


def photograph(folder: str | os.PathLike[str], kind: str, rng: np.random.Generator) -> str:
    """A picture that resembles one: sand below water and sky, or dark trunks before green."""
    import PIL.Image

    image = np.zeros((120, 160, 3))
    if kind == "coast":
        horizon = int(rng.integers(35, 60))
        image[:horizon] = (150, 195, 240)
        image[horizon:85] = (40, 110, 170)
        image[85:] = (225, 200, 150)
    else:
        image[:] = (50, 120, 45)
        for column in rng.integers(0, 150, 9):
            image[:, column : column + 8] = (60, 40, 25)
    noisy = np.clip(image + rng.normal(0, 12, image.shape), 0, 255).astype(np.uint8)
    path = os.path.join(folder, f"{kind}_{rng.integers(10**6)}.jpg")
    PIL.Image.fromarray(noisy).save(path)
    return path


def animate(frames: Sequence[bytes], path: pathlib.Path) -> None:
    """Write the frames as an animated WebP."""
    import PIL.Image

    images = []
    for frame in frames:
        image = PIL.Image.open(io.BytesIO(frame)).convert("RGB")
        images.append(image.resize((_WIDTH, round(image.height * _WIDTH / image.width))))
    first, *following = images
    first.save(path, save_all=True, append_images=following, duration=1100, loop=0, quality=70)


if __name__ == "__main__":
    main()
