"""The workflow, the hooks of pre-commit and ``.ci/run`` are valid and call only what exists."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import ROOT

if importlib.util.find_spec("tomllib"):
    import tomllib
else:  # Python 3.10
    import tomli as tomllib

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed (extra `dev`)")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.y*ml"))
TARGETS = set(re.findall(r"^([a-z-]+):(?!=)", MAKEFILE, re.MULTILINE))


def read(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def steps(job: dict[str, Any]) -> Iterator[str]:
    """Each command of a job, once for every member of its matrix, with the matrix's words filled in."""
    members = job.get("strategy", {}).get("matrix", {}).get("include", [{}])
    for step in job["steps"]:
        for member in members if "run" in step else ():
            text = re.sub(r"\$\{\{ matrix\.(\w+) \}\}", lambda name, words=member: words[name[1]], step["run"])
            assert "${{" not in text, text
            yield text


def jobs() -> dict[str, dict[str, Any]]:
    return {name: job for path in WORKFLOWS for name, job in yaml.safe_load(path.read_text("utf-8"))["jobs"].items()}


def made(text: str) -> Iterator[list[str]]:
    """The words after each `make` of a shell text."""
    for words in re.findall(r"(?:^|[ ;&])make ([^;&|\n]+)", text, re.MULTILINE):
        yield words.split()


@pytest.mark.parametrize("name", [".pre-commit-config.yaml", "CITATION.cff", *(str(path) for path in WORKFLOWS)])
def test_a_file_is_yaml(name: str) -> None:
    assert isinstance(read(name), dict)


def test_commands_of_the_workflow_and_of_ci_name_targets_and_extras() -> None:
    texts = [text for job in jobs().values() for text in steps(job)]
    texts.append((ROOT / ".ci" / "run").read_text(encoding="utf-8"))
    commands = [words for text in texts for words in made(text)]
    assert len(commands) >= 6
    extras = set(PROJECT["project"]["optional-dependencies"])
    for target, *settings in commands:
        assert target in TARGETS, target
        for key, value in (setting.split("=", 1) for setting in settings):
            assert re.search(rf"^{key} *\?=", MAKEFILE, re.MULTILINE), key
            assert key != "EXTRAS" or set(value.split(",")) <= extras, value


def test_every_phony_target_exists() -> None:
    (phony,) = re.findall(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)
    assert set(phony.split()) == TARGETS


@pytest.mark.parametrize(("job", "target"), [("test", "test"), ("docs", "docs"), ("cpp", "cpp")])
def test_a_job_calls_its_target(job: str, target: str) -> None:
    assert target in [words[0] for text in steps(jobs()[job]) for words in made(text)]


def test_the_workflow_has_every_python_that_is_promised() -> None:
    stated = {line.rpartition(" ")[2] for line in PROJECT["project"]["classifiers"] if ":: Python :: 3." in line}
    tried = {member["python"] for member in jobs()["test"]["strategy"]["matrix"]["include"]}
    assert stated == tried
    assert PROJECT["project"]["requires-python"] == ">=" + min(stated, key=lambda text: int(text.partition(".")[2]))


def test_the_cpp_job_installs_what_cmake_asks_for() -> None:
    asked = re.findall(r"apt install ([\w-]+)", (ROOT / "cpp_demo" / "CMakeLists.txt").read_text(encoding="utf-8"))
    installed = " ".join(steps(jobs()["cpp"])).split()
    assert len(set(asked)) >= 2 and set(asked) <= set(installed)


def test_hooks_run_tools_of_the_environment() -> None:
    hooks = [hook for repo in read(".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]
    assert {hook["id"] for hook in hooks} >= {"ruff", "ruff-format", "mypy", "tables"}
    tools = {re.split("[<>=]", line)[0] for line in PROJECT["project"]["optional-dependencies"]["dev"]}
    (folder,) = re.findall(r"^VENV +\?= (\S+)", MAKEFILE, re.MULTILINE)
    for hook in hooks:
        tool, *words = hook["entry"].split()
        assert tool.startswith(f"{folder}/bin/")
        name = tool.rpartition("/")[2]
        assert name in tools or (name, words[0]) == ("python", "-m"), hook["entry"]
        assert name != "python" or importlib.util.find_spec(words[1]), hook["entry"]
