"""Links of the documents to files outside of them: checked, and shown as their names.

On a code host such a link leads to the file; the site has only the documents. The model card
lies with its model.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError

ROOT = Path(__file__).resolve().parents[1]
CARD = ROOT / "ml" / "bundles" / "phantom" / "MODEL_CARD.md"

_OUTSIDE = re.compile(r"\[([^\]]+)\]\((\.\./[^)#]+)(?:#[^)]*)?\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Take a page's links that lead outside out of it, if what they lead to is there."""

    def shown(link: "re.Match[str]") -> str:
        target = (ROOT / "docs" / link[2]).resolve()
        if not target.exists():
            raise PluginError(f"{page.file.src_path} links to {link[2]}, which is not there")
        return f"{link[1]} (`{target.relative_to(ROOT)}`)" if "/" not in link[1] else f"`{link[1]}`"

    if page.file.src_path == "model-card.md":
        markdown = CARD.read_text(encoding="utf-8")
    return _OUTSIDE.sub(shown, markdown)
