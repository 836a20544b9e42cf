"""Pages of the site that are not in this folder: README, CONTRIBUTING, CHANGELOG, and one of the API for each room.

A hook of MkDocs. Links between these files are rewritten for the site; what it has no page for becomes plain text.
"""

import posixpath
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = {"index.md": "README.md", "contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()#\s]+)(#[^()\s]*)?\)")


def rooms() -> list[str]:
    """Names of the package's rooms, in their order."""
    listed = re.search(r"rooms above it:\n\n```\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.DOTALL)
    assert listed is not None
    return listed[1].split()


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List the API's pages in the navigation."""
    assert config.nav is not None
    for entry in config.nav:
        if entry.get("Python"):
            entry["Python"] = [{f"ccafl.{room}": f"reference/{room}.md"} for room in rooms()]
            entry["Python"].insert(0, {"ccafl": "reference/index.md"})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    for page, source in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text("utf-8")))
    files.append(File.generated(config, "favicon.svg", abs_src_path=str(ROOT / "src/ccafl/service/page/favicon.svg")))
    top = "# Python\n\n::: ccafl\n    options: {show_submodules: false}\n"
    files.append(File.generated(config, "reference/index.md", content=top))
    for room in rooms():
        content = f"---\ntitle: ccafl.{room}\n---\n\n::: ccafl.{room}\n    options: {{heading_level: 1}}\n"
        files.append(File.generated(config, f"reference/{room}.md", content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite the links of a page."""
    here = page.file.src_uri
    folder = "" if here in PAGES else posixpath.join("docs", posixpath.dirname(here))

    def rewritten(match: re.Match[str]) -> str:
        picture, text, target, anchor = match.groups()
        if ":" in target:
            return match[0]
        path = posixpath.normpath(posixpath.join(folder, target))  # from the project's folder
        to = _page_of(path, files)
        if to is None:
            if (ROOT / path).exists():
                return str(text)
            raise PluginError(f"{here}: links to {target}, which does not exist")
        relative = posixpath.relpath(to.partition("#")[0], posixpath.dirname(here) or ".")
        return f"{picture}[{text}]({relative}{anchor or ''.join(to.partition('#')[1:])})"

    return _LINK.sub(rewritten, markdown)


def _page_of(path: str, files: Files) -> str | None:
    """The site's file, with an anchor perhaps, for a file of the project."""
    named = next((page for page, source in PAGES.items() if source == path), None)
    inner = path.removeprefix("docs/")
    if named is not None or (path.startswith("docs/") and files.get_file_from_path(inner)):
        return named or inner
    module = re.fullmatch(r"src/ccafl/((\w+)(?:/\w+)*)\.py", path)
    if module is None or module[2] not in rooms():
        return None
    return f"reference/{module[2]}.md#ccafl.{module[1].replace('/', '.')}"


class _Loaded(HTMLParser):
    """Addresses that a browser loads from elsewhere while it shows a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given: dict[str, Any] = dict(attrs)
        loaded = given.get("src") or (given.get("href") if tag == "link" and given.get("rel") != "canonical" else None)
        if loaded and re.match(r"(https?:)?//", loaded):
            self.found.append(loaded)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Refuse a page that loads something from the internet."""
    parser = _Loaded()
    parser.feed(output)
    if parser.found:
        raise PluginError(f"{page.file.src_uri}: loads {parser.found[0]} from the internet")
    return output
