r"""Pictures of TensorBoard with runs of this package, for docs/tensorboard.md.

    apt-get install chromium                  # or another browser: --browser=PATH
    pip install '.[benchmarks]'
    python -m benchmarks.pictures.dashboard --output=docs/images

Trains three short learners (`--logs` keeps what they write), starts TensorBoard, and lets a
browser without a window take the pictures.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from absl import app, flags

FLAGS = flags.FLAGS

flags.DEFINE_string("output", "docs/images", "Folder of the pictures.")
flags.DEFINE_string("logs", None, "TensorBoard's folder; trains into it if it is empty.")
flags.DEFINE_string("browser", shutil.which("chromium"), "A Chromium; None: playwright's own.")
flags.DEFINE_integer("epochs", 6, "Of 25 meta-steps each.", lower_bound=1)
flags.DEFINE_integer("cores", 1, "Cores, each with tasks of its own.", lower_bound=1)

# Pictures of curves: a name, runs and tags as regular expressions, the size of the window.
_CURVES = [
    ("adaptation", "lambda_0.2/(train|validation|probe)", "^adaptation", (1180, 660)),
    ("meta_gradient", "^lambda.*/probe$", "cosine$|along_query|gradient/norm", (1180, 660)),
    ("solvers", "^lambda.*/train$", "(inner|linear)/residual$", (1180, 660)),
    ("layers", "lambda_2.0/(probe|train)$", "(moved|lambda)/(conv_1|head)", (1180, 1140)),
    ("linear", "lambda_0.2/linear", "against_its_steps", (800, 660)),
    ("time", "lambda_0.2/(probe|train)$", "time/(step|probe)", (1180, 660)),
]


def main(argv: Sequence[str]) -> None:
    """Train, if need be, and take the pictures."""
    del argv
    with tempfile.TemporaryDirectory() as temporary:
        log_dir = FLAGS.logs or temporary
        if not os.path.isdir(log_dir) or not os.listdir(log_dir):
            _train(log_dir)
        os.makedirs(FLAGS.output, exist_ok=True)
        with _server(log_dir) as address, _browser() as browser:
            _take(browser, address)


def _train(log_dir: str) -> None:
    import keras_imaml as ki

    import keras

    ki.parallel_tasks(FLAGS.cores)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def draw(split: str, tasks: int) -> Any:
        return ki.data.glyphs(split, query=6, image_size=20).batch(tasks)

    for strength in (0.2, 2.0):
        keras.utils.set_random_seed(0)
        learned = ki.ProximalStrength(strength, per="layer", learned=True)
        inner = ki.inner.GradientDescent(steps=8, learning_rate=0.3)
        learner = ki.MetaLearner(
            ki.models.Conv4(5, (20, 20, 1), filters=16), ki.IMAML(learned, inner)
        )
        learner.compile(keras.optimizers.Adam(5e-3), loss, metrics=["accuracy"])
        dashboard = ki.callbacks.Dashboard(
            os.path.join(log_dir, f"lambda_{strength}"),
            draw("validation", 8),
            hparams={"dataset": "glyphs", "proximal_strength": strength, "inner_steps": 8},
            every=5,
        )
        _fit(learner, draw("train", 8), draw("validation", 8), [dashboard])
        dashboard.record(ki.evaluate(learner, draw("test", 8), 64, verbose=False))
    keras.utils.set_random_seed(0)
    waves = lambda split: ki.data.sinusoid(split, shot=10, query=50)  # noqa: E731
    learner = ki.MetaLearner(ki.models.MLP(1, (1,)), ki.IMAML(0.5, ki.inner.NewtonCG(4)))
    learner.compile(keras.optimizers.Adam(3e-3, global_clipnorm=10.0), "mse")
    folder = os.path.join(log_dir, "waves")
    settings = {"dataset": "sinusoid", "proximal_strength": 0.5, "inner_steps": 4}
    dashboard = ki.callbacks.Dashboard(folder, waves("validation").batch(8), settings)
    plot = ki.callbacks.SinusoidPlot(waves("validation"), folder)
    _fit(learner, waves("train").batch(8), waves("validation").batch(8), [dashboard, plot])
    dashboard.record(ki.evaluate(learner, waves("test").batch(8), 64, verbose=False))


def _fit(learner: Any, tasks: Any, validation: Any, callbacks: list) -> None:
    learner.fit(
        tasks,
        steps_per_epoch=25,
        epochs=FLAGS.epochs,
        validation_data=validation,
        validation_steps=4,
        callbacks=callbacks,
        verbose=2,
    )


@contextmanager
def _server(log_dir: str) -> Iterator[str]:
    """TensorBoard on a free port, and its address."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", ".", "--port=0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=log_dir)
    try:
        assert process.stderr is not None
        for line in process.stderr:
            match = re.search(r"http://\S+", line)
            if match:
                yield match.group().replace("http://" + os.uname().nodename, "http://localhost")
                break
        else:
            raise OSError("TensorBoard has ended before it said where it listens")
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=FLAGS.browser, args=arguments)
        yield browser
        browser.close()


def _take(browser: Any, address: str) -> None:
    for name, runs, tags, size in _CURVES:
        query = f"?runFilter={runs}&tagFilter={tags}&smoothing=0".replace("|", "%7C")
        page = _open(browser, f"{address}{query}#timeseries", size)
        _show_all_points(page)
        _save(page, name)
    for name, tab, size in [
        ("episodes", "images", (1180, 900)),
        ("histograms", "histograms", (1180, 700)),
        ("graph", "graphs", (1180, 800)),
        ("hparams", "hparams", (1180, 360)),
    ]:
        _save(_open(browser, f"{address}#{tab}", size), name)


def _open(browser: Any, address: str, size: tuple[int, int]) -> Any:
    page = browser.new_page(viewport={"width": size[0], "height": size[1]})
    page.goto(address)
    page.wait_for_timeout(10_000)
    return page


def _show_all_points(page: Any) -> None:
    """Do not cut what TensorBoard takes for outliers, and close the settings."""
    page.get_by_text("Ignore outliers in chart scaling").click()
    page.get_by_role("button", name="Settings").first.click()
    page.wait_for_timeout(2500)


def _save(page: Any, name: str) -> None:
    path = os.path.join(FLAGS.output, f"{name}.png")
    page.screenshot(path=path)
    page.close()
    print(f"{path}: {os.path.getsize(path) // 1000} kB", flush=True)


if __name__ == "__main__":
    app.run(main)
