"""How to install what is missing: commands that work where they are printed.

``edgeface`` is on no package index, so no command asks one for that name, which anyone could register there: a checkout
is installed from its folder, and an installed wheel gets the packages that its extra names.
"""

from __future__ import annotations

import importlib.metadata
import re
import shlex
import shutil
import sys
from pathlib import Path

from edgeface.errors import MissingDependencyError

_PROJECT = "edgeface"


def missing(package: str, extra: str, purpose: str) -> MissingDependencyError:
    """That ``purpose`` needs ``package``, which ``extra`` ("": edgeface itself) brings, and the command for it."""
    return MissingDependencyError(
        f"{purpose} needs `{package}`, which is not installed: {install_extra(extra, package)}"
    )


def install_extra(extra: str, package: str) -> str:
    """The command that installs ``extra``, of which ``package`` is missed."""
    root = checkout()
    if root is not None:
        return f"{pip()} install -e {shlex.quote(f'{root}[{extra}]' if extra else str(root))}"
    return install(*(_requirements(extra) or [package]))


def install(*requirements: str) -> str:
    """The command that installs packages of others into this environment."""
    return f"{pip()} install {' '.join(map(shlex.quote, requirements))}"


def upgrade() -> str:
    """How to get a newer edgeface, in a clause."""
    root = checkout()
    if root is not None and (root / ".git").exists():
        return f"upgrade with: git -C {shlex.quote(str(root))} pull"
    return "install a newer release of edgeface over this one"


def pip() -> str:
    """The ``pip`` of this environment; where the shell would find another's, this interpreter's."""
    found = shutil.which("pip")
    here = Path(sys.executable).parent
    return "pip" if found and Path(found).parent == here else f"{shlex.quote(sys.executable)} -m pip"


def checkout() -> Path | None:
    """The folder of the source tree that this code runs from; ``None`` where it was installed from a wheel."""
    root = Path(__file__).resolve().parents[2]
    project = root / "pyproject.toml"
    return root if project.is_file() and f'name = "{_PROJECT}"' in project.read_text(encoding="utf-8") else None


def _requirements(extra: str) -> list[str]:
    """What the installed distribution's ``extra`` ("": itself) needs, with the conditions that are left."""
    try:
        every = importlib.metadata.requires(_PROJECT) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    found = []
    for requirement in every:
        name, _, condition = (part.strip() for part in requirement.partition(";"))
        of = re.search(r"""extra == ["']([^"']+)["']""", condition)
        if (of[1] if of else "") != extra:
            continue
        left = re.sub(r"""\s*(and\s+)?extra == ["'][^"']+["']\s*""", "", condition).strip("() ")
        found.append(f"{name}; {left}" if left else name)
    return found
