"""Commands that install what is missing: from a checkout its folder, from a wheel the packages that the extra names."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeface.common import install
from edgeface.common.toml_file import read_toml
from tests.conftest import ROOT

EXTRAS = read_toml(ROOT / "pyproject.toml", "project")["project"]["optional-dependencies"]


def words(command: str) -> Iterator[str]:
    """What a command asks pip for."""
    yield from (word for word in shlex.split(command.partition(" install ")[2]) if not word.startswith("-"))


@pytest.mark.parametrize("extra", EXTRAS)
def test_a_checkout_is_installed_from_its_folder(extra: str) -> None:
    (target,) = words(install.install_extra(extra, "x"))
    assert target == f"{ROOT}[{extra}]"
    assert " install -e '" in install.install_extra(extra, "x"), "quoted: shells read brackets"


@pytest.mark.parametrize("extra", EXTRAS)
def test_a_wheel_gets_what_its_extra_names(extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "checkout", lambda: None)
    lines = [*(f"{one}; extra == 'other'" for one in ("a", "b")), "numpy>=1"]
    for requirement in EXTRAS[extra]:
        name, _, condition = requirement.partition("; ")
        lines.append(f"{name}; {f'{condition} and ' if condition else ''}extra == '{extra}'")
    monkeypatch.setattr(install.importlib.metadata, "requires", lambda _: lines)
    assert list(words(install.install_extra(extra, "x"))) == EXTRAS[extra]
    assert list(words(install.install_extra("", "numpy"))) == ["numpy>=1"]


def test_pip_is_that_of_this_interpreter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(install.shutil, "which", lambda _: str(Path(sys.executable).parent / "pip"))
    assert install.pip() == "pip"
    monkeypatch.setattr(install.shutil, "which", lambda _: "/usr/bin/pip")
    assert install.pip() == f"{sys.executable} -m pip"


def test_no_command_asks_an_index_for_a_name_that_anyone_could_take() -> None:
    bare = re.compile(r"pip install (?:-U |--upgrade |-e )?['\"]?edgeface\b")
    named = [
        f"{path.relative_to(ROOT)}:{number}"
        for pattern in ("edgeface/**/*.py", "trainer/**/*.py", "docs/**/*.md", "*.md", "cpp_demo/**/*.md", "deploy/*")
        for path in sorted(ROOT.glob(pattern))
        if path.is_file() and path.name != "CHANGELOG.md"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if bare.search(line)
    ]
    assert named == []
