"""Hooks of MkDocs: the site mirrors the repository, so that the links of GitHub work in both.

A page has the path of its file. A file that a page links to and that MkDocs would not show (a
module, a notebook, a folder) gets a page of its own, `path.md`, and the link leads there. What does
not exist stays as it is written: `mkdocs build --strict` then fails.
"""

import ast
import pathlib
import posixpath
import re
import urllib.parse
from collections.abc import Iterator
from typing import Any

import nbformat
from mkdocs.structure.files import File, Files

ROOT = pathlib.Path(__file__).parents[1]
# The path of a relative link, without its anchor: `[text](path)`, or `[text]: path` in a line.
LINK = re.compile(r"(?:(?<=\]\()|(?<=\]: ))([^)\s#:]+)(?=[)#\s])")
FENCE = re.compile(r"^ *(`{3,}).*?^ *\1", re.MULTILINE | re.DOTALL)
CODE = {".py": "python", ".yaml": "yaml", ".cff": "yaml", ".flags": "ini", "": "text"}
API = (
    *("algorithms", "inner", "linear", "data", "models", "layers", "callbacks", "distribution"),
    "pretrained",
)
INTERNAL = ("onednn", "quiet", "requirements", "__version__")


def on_files(files: Files, config: Any) -> Files:
    """The files of docs/ at their place in the repository, and all that they link to."""
    own_files = [file for file in files if file.src_dir == config.docs_dir]
    theme = [file for file in files if file.src_dir != config.docs_dir]
    sources = [f"docs/{file.src_uri}" for file in own_files if not file.inclusion.is_excluded()]
    pages: dict[str, File] = {}
    waiting = ["README.md", *sources]
    while waiting:
        path = waiting.pop()
        if page_of(path) in pages:
            continue
        page = pages[page_of(path)] = _file(path, config)
        if page.src_uri.endswith(".md"):
            waiting += linked(page.content_string, page.src_uri)
    api = [("keras_imaml", "keras_imaml"), *((name, f"keras_imaml.{name}") for name in API)]
    generated = [
        File.generated(config, f"api/{name}.md", content=api_page(module)) for name, module in api
    ]
    return Files([*theme, *pages.values(), *generated])


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead the links to the pages that show their targets."""

    def to_page(link: re.Match) -> str:
        path = target(link[1], page.file.src_uri)
        if path is None:
            return link[1]
        return posixpath.relpath(page_of(path), posixpath.dirname(page.file.src_uri) or ".")

    return outside_fences(markdown, lambda text: LINK.sub(to_page, text))


def on_post_page(output: str, **_: Any) -> str:
    """Give the theme's search box a name that screen readers say."""
    return output.replace('role="dialog">', 'role="dialog" aria-label="Search">')


def linked(markdown: str, source: str) -> Iterator[str]:
    """The files of the repository that a page links to."""
    for link in LINK.findall(FENCE.sub("", markdown)):
        path = target(link, source)
        if path is not None:
            yield path


def target(link: str, source: str) -> str | None:
    """The path in the repository that a link of the page `source` means, if there is one."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), urllib.parse.unquote(link)))
    is_inside = not path.startswith(("..", "/"))
    return path if is_inside and (ROOT / path).exists() else None


def page_of(path: str) -> str:
    """Where the site shows a file of the repository."""
    shown = (ROOT / path).is_dir() or pathlib.PurePosixPath(path).suffix in (*CODE, ".ipynb")
    return f"{path}.md" if shown else path


def outside_fences(markdown: str, change: Any) -> str:
    """Apply `change` to what is not a block of code."""
    parts, end = [], 0
    for fence in FENCE.finditer(markdown):
        parts += [change(markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, change(markdown[end:])])


def api_page(module: str) -> str:
    """Every public name of a package, as its `__init__.py` has them."""
    text = (ROOT / module.replace(".", "/") / "__init__.py").read_text(encoding="utf-8")
    names = [
        f"{module}.{alias.name}"
        for node in ast.parse(text).body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
        if alias.name not in (*API, *INTERNAL)
    ]
    names.sort(key=lambda name: name != "keras_imaml.MetaLearner")  # what readers look for first
    docstrings = {
        f"{module}.{alias.name}": _first_line(node.module, alias.name)
        for node in ast.parse(text).body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    table = ["| name | meaning |", "|---|---|"]
    table += [f"| [{name}](#{name}) | {docstrings[name]} |" for name in names]
    parts = [f"# {module}", "\n".join(table), *(f"::: {name}" for name in names)]
    return "\n\n".join(parts) + "\n"


def _first_line(module: str, name: str) -> str:
    """The first line of the docstring of what a module defines, or imports from another one."""
    path = ROOT / module.replace(".", "/")
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    body = ast.parse(path.read_text(encoding="utf-8")).body
    for node in body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == name:
            docstring = ast.get_docstring(node)
            if docstring:  # an overload has none
                return docstring.partition("\n")[0]
        if isinstance(node, ast.ImportFrom) and any(a.asname == name for a in node.names):
            if node.module == module:  # a folder, whose docstring is of no use in the table
                return ""
            return _first_line(str(node.module), name)
    return ""


def notebook_page(path: pathlib.Path) -> str:
    """A notebook with its outputs, in Markdown."""
    parts = []
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        for output in cell.outputs:
            parts.append(f"```text\n{output.text.rstrip()}\n```")
    return "\n\n".join(parts) + "\n"


def _file(path: str, config: Any) -> File:
    source = ROOT / path
    if page_of(path) == path:
        return File.generated(config, path, abs_src_path=str(source))
    if source.is_dir():
        entries = sorted(
            entry for entry in source.iterdir() if not entry.name.startswith((".", "_"))
        )
        lines = [f"* [{entry.name}]({source.name}/{entry.name})" for entry in entries]
        return File.generated(config, page_of(path), content="\n".join([f"# {path}\n", *lines]))
    if source.suffix == ".ipynb":
        return File.generated(config, page_of(path), content=notebook_page(source))
    code = source.read_text(encoding="utf-8")
    # Longer fences than those in docstrings; what is found by a search is the API, not its source.
    head = "---\nsearch: {exclude: true}\n---\n"
    content = f"{head}# {path}\n\n`````{CODE[source.suffix]}\n{code}`````\n"
    return File.generated(config, page_of(path), content=content)
