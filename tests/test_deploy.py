"""The examples in ``deploy/`` keep the rules of their kind: systemd's own check, and those of Dockerfile linters."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from edgeface.cli.main import app
from tests.conftest import ROOT

DEPLOY = ROOT / "deploy"
DOCKERFILES = sorted(DEPLOY.glob("Dockerfile*"))
UNIT = (DEPLOY / "edgeface.service").read_text(encoding="utf-8")


def instructions(path: Path) -> list[tuple[str, str]]:
    """Name and text of each, comments gone and continued lines joined."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [tuple(line.split(None, 1)) for line in joined.splitlines() if line.strip()]  # type: ignore[misc]


def known_options() -> set[str]:
    from typer.main import get_command

    run = get_command(app).commands["run"]  # type: ignore[attr-defined]
    return {name for parameter in run.params for name in parameter.opts}


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd here: apt-get install systemd")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "edgeface.service"
    unit.write_text(UNIT.replace("/opt/edgeface/bin/edgeface", "/bin/true"), encoding="utf-8")
    check = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=120
    )
    assert [line for line in check.stderr.splitlines() if "edgeface.service" in line] == []


def test_the_unit_stops_and_restarts_in_order() -> None:
    for line in (
        "KillSignal=SIGTERM",
        "SuccessExitStatus=130",
        "Restart=always",
        "NoNewPrivileges=yes",
        "User=edgeface",
    ):
        assert f"\n{line}\n" in UNIT
    (arguments,) = re.findall(r"^EDGEFACE_ARGS=(.*)$", (DEPLOY / "edgeface.env").read_text(encoding="utf-8"), re.M)
    started = re.findall(r"^ExecStart=(.*)$", UNIT, re.M)[0].replace("$EDGEFACE_ARGS", arguments)
    options = [word for word in shlex.split(started) if word.startswith("--")]
    assert options and set(options) <= known_options()


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_dockerfiles_keep_the_linters_rules(path: Path) -> None:
    lines = instructions(path)
    names = [name for name, _ in lines]
    texts = {name: [text for other, text in lines if other == name] for name in set(names)}
    assert set(names) <= {
        *("ARG", "FROM", "SHELL", "RUN", "WORKDIR", "COPY", "USER", "ENV", "STOPSIGNAL", "HEALTHCHECK"),
        *("ENTRYPOINT", "CMD"),
    }
    for image in texts["FROM"]:
        named = image == "${BASE}" and "BASE" in texts["ARG"]  # by anyone who builds, without a default
        assert named or (":" in image and ":latest" not in image), "images have a tag (DL3006, DL3007)"
    for command in texts["RUN"]:
        assert "sudo" not in command and not re.search(r"(^|&& )cd ", command), "DL3004, DL3003"
        if "apt-get install" in command:
            assert "-y --no-install-recommends" in command and "rm -rf /var/lib/apt/lists/*" in command, (
                "DL3009, DL3015"
            )
        if "pip install" in command:
            assert "--no-cache-dir" in command, "DL3042"
    assert all(folder.startswith("/") for folder in texts["WORKDIR"]), "DL3000"
    assert texts["USER"][-1] == "edgeface" and names.index("USER") < names.index("ENTRYPOINT"), "not root (DL3002)"
    for name in ("ENTRYPOINT", "CMD"):
        (text,) = texts[name]
        assert text.startswith("[") and text.endswith("]"), "without a shell, which would keep SIGTERM (DL3025)"
    words = re.findall(r'"([^"]+)"', texts["ENTRYPOINT"][0])
    assert words[:2] == ["edgeface", "run"]
    assert {word for word in words if word.startswith("--")} <= known_options()
    assert len(texts["HEALTHCHECK"]) == 1


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_what_dockerfiles_copy_exists_and_is_sent(path: Path) -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[0] == "!"}
    for name, text in instructions(path):
        if name == "COPY" and not text.startswith("--from"):
            for source in text.split()[:-1]:
                assert (ROOT / source).exists() and source in sent
