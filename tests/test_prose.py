"""The pages: lines that fit a screen, American spelling, commands that exist, numbers that do."""

import ast
import pathlib
import re
import tokenize

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "saved_models").rglob("*.md")]
)
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.py"))
NAME = lambda path: path.relative_to(ROOT).as_posix()  # noqa: E731
GENERATED = re.compile(
    r"<!-- table (\w+): begin -->.*?<!-- table \1: end -->|<!-- equal -->.*?<!-- equal -->",
    re.DOTALL,
)
BRITISH = re.compile(
    r"\b\w*(?:colour|favour|behaviour|neighbour|honour|labour|centred\b|centre\b|centres\b|grey\b"
    r"|labelled|labelling|modelled|cancelled|travelled|licence|programme\b|catalogue\b|artefact"
    r"|analys(?:e|ed|es|ing)\b|metres?\b|(?:normal|general|initial|regular|special|minim|optim"
    r"|quant|recogn|real|linear|parallel|vector|serial|summar|organ|visual|maxim|penal|memor"
    r"|custom|standard|parametr|util|factor|final|emphas|apolog|categor|central|equal|random)"
    r"is(?:e|ed|es|er|ers|ing|ation|ations)\b)\w*",
    re.IGNORECASE,
)
# Identifiers keep the spelling that they have.
CODE = re.compile(r"^ *```.*?^ *```|`[^`]+`|^    .*?$|\]\([^)]*\)", re.DOTALL | re.MULTILINE)
IDENTIFIER = re.compile(r"`[^`]*`|```.*?```|\w*_\w*|--\w+", re.DOTALL)
DEFINED = re.compile(r'(?:DEFINE_\w+[(,]|add_argument\()\s*"(?:--)?(\w+)"')
COMMAND = re.compile(r"python -m (trainers|benchmarks)\.([\w.]+)((?:[^`|\n#]|\\\n)*)")
INTERVAL = re.compile(r"\d+\.\d+ ± \d+\.\d+")


def prose(path):
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return "\n".join(line for line in text.splitlines() if line.startswith("#"))
    return CODE.sub("", GENERATED.sub("", text))


@pytest.mark.parametrize("path", PAGES, ids=NAME)
def test_lines_fit(path):
    text = GENERATED.sub("", path.read_text(encoding="utf-8"))
    assert [line for line in text.splitlines() if len(line) > 120] == []


@pytest.mark.parametrize("path", [*PAGES, *GUIDES], ids=NAME)
def test_spelling_is_american(path):
    assert [match[0] for match in BRITISH.finditer(prose(path))] == []


@pytest.mark.parametrize("package", ["keras_imaml", "trainers", "benchmarks", "docs"])
def test_spelling_of_comments_and_docstrings_is_american(package):
    places = []
    for path in sorted((ROOT / package).rglob("*.py")):
        with tokenize.open(path) as stream:
            for token in tokenize.generate_tokens(stream.readline):
                text = token.string
                if token.type == tokenize.COMMENT or text.startswith('"""'):
                    words = BRITISH.findall(IDENTIFIER.sub("", text))
                    places += [f"{NAME(path)}:{token.start[0]}"] * len(words)
    assert places == []


@pytest.mark.parametrize("name", ["command-line", "learners", "presets"])
def test_spelling_of_generated_tables_is_american(name):
    text = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    tables = "".join(match[0] for match in GENERATED.finditer(text))
    assert len(tables) > 1000
    assert BRITISH.findall(IDENTIFIER.sub("", tables)) == []


def sentences(path):
    """The sentences of paragraphs and lists; a piece of code, or the text of a link, is a word."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        lines = [line[2:] if line.startswith("# ") else "" for line in text.splitlines()]
        text = "\n".join(lines)
    text = re.sub(r"^ *```.*?^ *```|<!--.*?-->", "", text, flags=re.DOTALL | re.MULTILINE)
    for block in re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )|\n(?=[|#!])", text):
        if block.startswith("    ") or block.lstrip().startswith(("|", "#", "!", "%")):
            continue
        plain = re.sub(r"`[^`]*`", "code", re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", block))
        yield from re.split(r"(?<=[.!?:;])\s+", " ".join(plain.split()))


@pytest.mark.parametrize("path", [*PAGES, *GUIDES], ids=NAME)
def test_sentences_are_short(path):
    words = {text: len(re.findall(r"\S*\w\S*", text)) for text in sentences(path)}
    assert [text for text, count in words.items() if count > 25] == []


@pytest.mark.parametrize(
    ("text", "spellings"),
    [
        ("a normalised colour", ["normalised", "colour"]),
        ("Greys", []),
        ("grey, centred", ["grey", "centred"]),
        ("normalized, supervised, advise, precise, otherwise, exercise", []),
        ("the unlabelled licence", ["unlabelled", "licence"]),
    ],
)
def test_british_spellings_are_found(text, spellings):
    assert [match[0] for match in BRITISH.finditer(text)] == spellings


def programs():
    """The name and the code of each guide and of each block of Python in the pages."""
    for path in GUIDES:
        yield NAME(path), path.read_text(encoding="utf-8")
    for path in PAGES:
        blocks = re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
        yield from ((f"{NAME(path)} {number}", code) for number, code in enumerate(blocks, 1))


def test_keras_imaml_is_imported_before_keras_and_tensorflow():
    # Later it cannot ask TensorFlow for the kernels that differentiate grouped convolutions.
    orders = {
        name: re.findall(r"^(?:import|from) (keras_imaml|keras|tensorflow)\b", code, re.MULTILINE)
        for name, code in programs()
    }
    orders = {name: order for name, order in orders.items() if "keras_imaml" in order}
    assert len(orders) > 10
    assert [name for name, order in orders.items() if order[0] != "keras_imaml"] == []


def test_no_cell_says_that_something_was_not_reached():
    cells = [
        line
        for path in PAGES
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.startswith("|") and re.search(r"\breached\b", line)
    ]
    assert cells == []


def commands():
    """Program, flags and place of each command of the pages."""
    for path in [*PAGES, *GUIDES]:
        for command in COMMAND.finditer(path.read_text(encoding="utf-8")):
            flags = re.findall(r"(?<![\w-])--(\w+)", command[3])
            yield f"{command[1]}.{command[2]}", flags, NAME(path)


# Those of the trainers are parsed in tests/trainers/test_documented_commands.py.
@pytest.mark.parametrize(
    "program", sorted({program for program, *_ in commands() if program.startswith("benchmarks")})
)
def test_the_flags_of_commands_exist(program):
    source = (ROOT / f"{program.replace('.', '/')}.py").read_text(encoding="utf-8")
    known_flags = {*DEFINED.findall(source), "flagfile"}
    known_flags |= {f"no{name}" for name in known_flags}
    flags_of_commands = {
        (flag, place) for name, flags, place in commands() if name == program for flag in flags
    }
    assert {(flag, place) for flag, place in flags_of_commands if flag not in known_flags} == set()


def test_intervals_of_the_readme_are_those_of_the_results():
    pages = [ROOT / "docs" / name for name in ("results.md", "lab-notebook.md")]
    results = "".join(path.read_text(encoding="utf-8") for path in pages)
    intervals = INTERVAL.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    assert intervals
    assert [interval for interval in intervals if interval not in results] == []


def test_presets_of_commands_exist():
    texts = [path.read_text(encoding="utf-8") for path in [*PAGES, *GUIDES]]
    presets = {
        name for text in texts for name in re.findall(r"(trainers/presets/[\w/]+\.flags)", text)
    }
    assert presets
    assert [name for name in presets if not (ROOT / name).exists()] == []


# A name says what a variable holds.
NO_NAMES = {
    *("found", "there", "whole", "here", "made", "seen", "rest", "more", "others", "every", "what"),
    *("where", "away", "along", "far", "near", "ahead", "behind", "again", "own", "back"),
    *("theirs", "ours", "mine", "both", "something", "anything", "whose", "which", "without"),
    *("few", "many", "several", "only", "even", "enough", "exactly", "still", "twice", "alike"),
    *("above", "among", "began", "got", "said", "tried", "untried", "spoilt", "caught", "lost"),
    *("alone", "answered", "by_hand", "evaluated", "resumed", "warned"),
    *("one", "other", "now", "beside", "nothing", "everything", "later"),
}
PACKAGES = ("keras_imaml", "trainers", "benchmarks")
PUBLIC_NAMES = {
    "keras_imaml/callbacks/dashboard.py: every",
    "trainers/settings.py: other",  # as in Python's own `__eq__`
}


def variables(tree):
    """The names of arguments and variables that code sets."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.ExceptHandler) and node.name:
            yield node.name


def sources():
    """The name and the code of each Python file, and of each block of Python in the pages."""
    for package in (*PACKAGES, "docs", "tests"):
        for path in sorted((ROOT / package).rglob("*.py")):
            yield NAME(path), path.read_text(encoding="utf-8")
    yield from programs()


def test_variables_are_found():
    code = (
        "def f(far): made = [more for more in far]\ntry: MANY = 1\nexcept ValueError as lost: pass"
    )
    assert {*variables(ast.parse(code))} == {"far", "made", "more", "MANY", "lost"}


def test_variables_say_what_they_hold():
    named = {
        f"{name}: {variable}"
        for name, code in sources()
        for variable in variables(ast.parse(code))
        if variable.lower() in NO_NAMES
    }
    assert named == PUBLIC_NAMES
