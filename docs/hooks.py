"""MkDocs hooks: links of the pages that leave ``docs/`` work on the site too.

Whatever file a page links to is added to the site under ``repository/``, Markdown as a page of its own, and so is what
those pages link to. The pages themselves keep links that work in a checkout.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")
_HOME, _GUESTS = "docs/", "repository/"


def on_files(files: Any, config: Any) -> Any:
    """Add every file that a page names, and every file that a page so added names."""
    root = Path(config.docs_dir).parent
    waiting = [file.src_uri for file in files.documentation_pages()]
    while waiting:
        page = _in_repository(waiting.pop())
        for target in _targets(page, (root / page).read_text(encoding="utf-8")):
            uri = _on_site(target)
            if files.get_file_from_path(uri) is None and (root / target).is_file():
                files.append(File.generated(config, uri, abs_src_path=str(root / target)))
                if uri.endswith(".md"):
                    waiting.append(uri)
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Point links at the site's copies; a link to a folder, which the site cannot show, becomes its text."""
    root, uri = Path(config.docs_dir).parent, page.file.src_uri
    return _LINK.sub(_rewriter(root, uri), markdown)


def _rewriter(root: Path, uri: str) -> Callable[[re.Match[str]], str]:
    def rewritten(match: re.Match[str]) -> str:
        bang, text, link, anchor = match.groups(default="")
        if "://" in link:
            return match[0]
        target = _resolved(_in_repository(uri), link)
        if (root / target).is_dir():
            return text
        return f"{bang}[{text}]({posixpath.relpath(_on_site(target), posixpath.dirname(uri) or '.')}{anchor})"

    return rewritten


def _targets(page: str, text: str) -> list[str]:
    return [_resolved(page, match[3]) for match in _LINK.finditer(text) if "://" not in match[3]]


def _resolved(page: str, link: str) -> str:
    """The repository path that ``link`` on ``page`` names."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), link))


def _in_repository(uri: str) -> str:
    return uri[len(_GUESTS) :] if uri.startswith(_GUESTS) else _HOME + uri


def _on_site(path: str) -> str:
    return path[len(_HOME) :] if path.startswith(_HOME) else _GUESTS + path
