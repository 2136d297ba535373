"""The pages show only what exists: verbs and options, `make` targets, files behind links, pages in the navigation."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from edgeface.cli.main import app
from edgeface.parity.gate import Budget
from tests.conftest import ROOT

DOCS = ROOT / "docs"
SITE = sorted(DOCS.rglob("*.md"))
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "trainer/README.md", "cpp_demo/README.md")),
    *(ROOT / name for name in ("calibration/README.md", "benchmarks/results/README.md")),
    *sorted((ROOT / "edgeface" / "assets" / "models").glob("*.md")),
    *SITE,
]
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
_BLOCK = re.compile(r"^```[a-z]*\n(.*?)^```|((?:^ {4,}[^\n]*\n?)+)", re.DOTALL | re.MULTILINE)
_SHOWN = re.compile(r"(?:^|&& |; |\| )(?:(edgeface)(?= +[a-z])|(?:python3?|torchrun [^`]*?) -m (?=[a-z]))")
_END = re.compile(r"\s(?:#|&&|\|\|?|;|>|2>)(?:\s|$)|\s{3,}")
_NOT_OURS = {"pip", "pytest", "venv", "mkdocs"}


def shown_commands(text: str) -> Iterator[list[str]]:
    """The words of each `edgeface …` and `python -m …` in the code of a page, up to where the shell would end it."""
    lines = [line.strip() for block in _BLOCK.findall(text) for line in _joined("".join(block)).splitlines()]
    for code in lines + [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", _BLOCK.sub("", text))]:
        for match in _SHOWN.finditer(code):
            words = shlex.split(_END.split(code[match.end() :].strip())[0], comments=True)
            yield [*(["edgeface"] if match[1] else ["python", "-m"]), *words]


def _joined(block: str) -> str:
    return re.sub(r"\\\n\s*", " ", block)


def problems_of(words: Sequence[str]) -> list[str]:
    """What of a shown command does not exist, as sentences."""
    if words[0] == "edgeface":
        return _click_problems(get_command(app), words[1:], words)
    module, rest = words[2], words[3:]
    if module.partition(".")[0] in _NOT_OURS:
        return []
    if module == "trainer":
        from trainer.__main__ import app as trainer

        return _click_problems(get_command(trainer), rest, words)
    file = ROOT.joinpath(*module.split("."))
    file = file / "__main__.py" if file.is_dir() else file.with_suffix(".py")
    if not file.is_file():
        return [f"{shlex.join(words)}: there is no such module"]
    return _unknown(rest, _argparse_options(file), words)


def _click_problems(command: Any, rest: Sequence[str], words: Sequence[str]) -> list[str]:
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        verbs = rest[0].split("|")
        if not set(verbs) <= set(command.commands):
            return [f"{shlex.join(words)}: there is no `{rest[0]}`"]
        command, rest = command.commands[verbs[0]], rest[1:]
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    return _unknown(rest, known, words)


def _unknown(rest: Sequence[str], known: set[str], words: Sequence[str]) -> list[str]:
    options = [found[0] for word in rest if (found := re.match(r"\[?(--?[a-z][\w-]*)", word))]
    shown = {option.strip("[]") for option in options} - {"--help", "-h", "--version"}
    return [f"{shlex.join(words)}: there is no `{option}`" for option in sorted(shown - known)]


@cache
def _argparse_options(file: Path) -> set[str]:
    """What `add_argument` is told in a module's source, and in that of `benchmarks.script` where the module uses it;
    reading it spares importing PyTorch."""
    text = file.read_text(encoding="utf-8")
    if "from benchmarks.script import" in text:
        text += "\n" + (ROOT / "benchmarks" / "script.py").read_text(encoding="utf-8")
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    told = [call.args for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "add_argument"]
    return {str(arg.value) for args in told for arg in args if isinstance(arg, ast.Constant)}


@each_page
def test_commands_and_options_exist(page: Path) -> None:
    commands = shown_commands(page.read_text(encoding="utf-8"))
    assert [problem for words in commands for problem in problems_of(words)] == []


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("`edgeface fly`", "no `fly`"),
        ("    edgeface run a.mp4 --sink b.mp4 --warp 9 # so", "no `--warp`"),
        ("    edgeface run a.mp4 \\\n      --warp 9\n", "no `--warp`"),
        ("    edgeface calibration brew --data D", "no `brew`"),
        ("```\npython -m trainer report data R --warp\n```", "no `--warp`"),
        ("    python -m benchmarks.nothing", "no such module"),
        ("    python -m benchmarks.resources.soak --hours 9", "no `--hours`"),
        ("    torchrun --nproc-per-node 4 -m trainer fit R --warp", "no `--warp`"),
    ],
)
def test_what_does_not_exist_is_found(text: str, missing: str) -> None:
    (problem,) = [problem for words in shown_commands(text) for problem in problems_of(words)]
    assert missing in problem


def test_the_pages_show_every_command() -> None:
    """A pattern that found nothing would find nothing wrong."""
    shown = {words[1] for page in SITE for words in shown_commands(page.read_text(encoding="utf-8"))}
    verbs = {verb.name for verb in (*app.registered_commands, *app.registered_groups)}
    assert verbs - shown == set()


@each_page
def test_relative_links_resolve(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


@each_page
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"(?:`|^ {4})make ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE)) <= targets


def test_the_navigation_names_every_page() -> None:
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    named = re.findall(r": (\S+\.md)$", nav, re.MULTILINE)
    assert sorted(named) == [page.relative_to(DOCS).as_posix() for page in SITE]


def test_names_in_the_api_reference_exist() -> None:
    for name in re.findall(r"^::: (\S+)$", (DOCS / "reference" / "api.md").read_text(encoding="utf-8"), re.MULTILINE):
        module, _, leaf = name.rpartition(".")
        is_module = ROOT.joinpath(*name.split(".")).with_suffix(".py").is_file()
        assert is_module or hasattr(importlib.import_module(module), leaf), name


@pytest.mark.parametrize("name", ["index.md", "guide/extending.md"])
def test_the_python_examples_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    block, *_ = re.findall(
        r"^```python\n(.*?)^```", (DOCS / name).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    names: dict[str, Any] = {}
    exec(compile(block, name, "exec"), names)
    (face,) = names["analyzer"]("edgeface/assets/photos/eileen-collins.jpg")
    assert face.gender == "female"


def test_the_gate_is_the_one_of_the_page() -> None:
    page = (DOCS / "guide" / "precision.md").read_text(encoding="utf-8").partition("## The gate")[2]
    shown: dict[str, str] = {}
    for keys, values in re.findall(r"^\| (`[a-z_`, ]+`) \| ([\w., ]+?) \|", page, re.MULTILINE):
        shown |= dict(zip(re.findall(r"[a-z_]+", keys), values.split(", ")))
    assert shown == {key: str(value).lower() for key, value in dataclasses.asdict(Budget()).items()}


def test_the_site_builds(tmp_path: Path) -> None:
    for package in ("mkdocs", "material", "mkdocstrings_handlers.python"):
        pytest.importorskip(package, reason="mkdocs is not installed (extra `docs`)")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"})
    assert built.returncode == 0, built.stderr
    assert 'id="edgeface.api.FaceAnalyzer"' in (tmp_path / "reference" / "api.html").read_text(encoding="utf-8")
    assert (tmp_path / "repository" / "benchmarks" / "results" / "fusion.png").is_file()
    assert 'href="repository/index.html"' in (tmp_path / "index.html").read_text(encoding="utf-8")
