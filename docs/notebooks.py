"""Make the notebooks of docs/guides from their sources, with the outputs of a run.

    python -m docs.notebooks                     all guides
    python -m docs.notebooks learn_lambda        one

A guide is a Python file in the percent format: it is reviewed, checked and tested as one. What
stands in the notebook beside it is this file and what it printed.
"""

import os
import pathlib
import sys

import jupytext
import nbformat
from nbclient import NotebookClient

GUIDES = pathlib.Path(__file__).parent / "guides"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def notebook(source: pathlib.Path) -> nbformat.NotebookNode:
    """A guide as a notebook without outputs, the same each time."""
    document = jupytext.read(source)
    document.metadata = METADATA
    for number, cell in enumerate(document.cells):
        cell.id, cell.metadata = f"cell-{number}", {}
    return document


def run(document: nbformat.NotebookNode) -> None:
    """Fill in what the cells print; a cell that fails ends the program."""
    NotebookClient(document, timeout=None).execute()
    document.metadata = METADATA  # without the versions of this machine
    for cell in document.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            text = "".join(output.text for output in cell.outputs if output.get("name") == "stdout")
            cell.outputs = [nbformat.v4.new_output("stream", text=text)] if text else []


def main(names: list[str]) -> None:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.environ["PYTHONPATH"] = str(GUIDES.parents[1])  # the package of this checkout
    for source in sorted(GUIDES.glob("*.py")):
        if not names or source.stem in names:
            print(f"running {source.name}", flush=True)
            document = notebook(source)
            run(document)
            nbformat.write(document, source.with_suffix(".ipynb"))


if __name__ == "__main__":
    main(sys.argv[1:])
