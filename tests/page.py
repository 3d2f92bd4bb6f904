"""Tables that commands write into pages of the docs."""

from pathlib import Path


def write_between(path: Path, begin: str, end: str, text: str) -> None:
    """Write text between the marks of a page that has them, else as the page."""
    section = f"{begin}\n{text}\n{end}"
    page = path.read_text(encoding="utf-8") if path.exists() else ""
    if begin in page and end in page:
        before, _, rest = page.partition(begin)
        section = f"{before}{section}{rest.partition(end)[2]}"
    else:
        section += "\n"
    path.write_text(section, encoding="utf-8")
