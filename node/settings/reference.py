"""Every key of the configuration, told: as a file of its own, and as a page of the documents.

Both are made from the settings model, so that neither can say anything else than the node does.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import tomlkit
from pydantic import BaseModel

from node.settings.whole import Settings

LONGEST = 60
"""A default that takes more characters stands on the page alone."""

COMMENTS = 36
"""The column that the remark on a key begins at."""

_HEAD = """\
# Configuration of ichnode. A key behind a # has the default that stands there; take the # away
# to change it. A variable such as ICHNODE_DICOM__PORT=104 goes before this file. All that a
# key takes stands in docs/configuration.md.
# The node is not for clinical use.
"""


@dataclass(frozen=True)
class Key:
    """A key of the configuration.

    Parameters
    ----------
    name : str
    takes : str
        What values it takes, in words.
    default : object
        None where it has none.
    is_required : bool
        Whether a table without it is refused.
    example : object
        A value to show where there is no default.
    description : str
    """

    name: str
    takes: str
    default: Any
    is_required: bool
    example: Any
    description: str


@dataclass(frozen=True)
class Table:
    """A table of the configuration.

    Parameters
    ----------
    name : str
        As in its header; empty for the keys above all tables.
    is_list : bool
        Whether there may be many of it.
    about : str
    keys : tuple of Key
    """

    name: str
    is_list: bool
    about: str
    keys: tuple[Key, ...]

    @property
    def header(self) -> str:
        """Its line in the file."""
        return f"[[{self.name}]]" if self.is_list else f"[{self.name}]"


def tables(model: type[BaseModel] = Settings) -> Iterator[Table]:
    """Every table in the order of the model, those within one after it."""
    schema = model.model_json_schema()
    yield from _tables(schema, schema["$defs"], "", is_list=False)


def _tables(
    schema: dict[str, Any], definitions: dict[str, Any], name: str, *, is_list: bool
) -> Iterator[Table]:
    keys, inner = [], []
    for key, field in schema["properties"].items():
        items = field.get("items", {})
        reference = (field.get("$ref") or items.get("$ref", "")).rpartition("/")[2]
        definition = definitions.get(reference, {})
        if "properties" in definition:
            inner.append((f"{name}.{key}" if name else key, definition, "$ref" in items))
        else:
            is_required = key in schema.get("required", ())
            whole = {**field, "items": definition or items} if items else {**definition, **field}
            if "anyOf" in field:
                whole["anyOf"] = [_resolved(option, definitions) for option in field["anyOf"]]
            keys.append(_key(key, whole, is_required=is_required))
    about = schema.get("description", "").partition("\n")[0]
    keys.sort(key=lambda key: not key.is_required)
    yield Table(name, is_list, about, tuple(keys))
    for name_, definition, many in inner:
        yield from _tables(definition, definitions, name_, is_list=many)


def _resolved(field: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """A field with what it refers to."""
    found: dict[str, Any] = definitions.get(field.get("$ref", "").rpartition("/")[2], field)
    return found


def _key(name: str, field: dict[str, Any], *, is_required: bool) -> Key:
    return Key(
        name=name,
        takes=_takes(field),
        default=field.get("default"),
        is_required=is_required,
        example=next(iter(field.get("examples", ())), None),
        description=field.get("description", ""),
    )


_KINDS = {"string": "text", "boolean": "true or false", "number": "number", "integer": "number"}
_LIMITS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
}


def _takes(field: dict[str, Any]) -> str:
    """What a field of a JSON schema takes, in words."""
    if "anyOf" in field:
        kinds = [_takes(option) for option in field["anyOf"] if option.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if field.get("type") == "array":
        return f"list of {_takes(field['items'])}"
    if field.get("type") == "object":
        by_name = field.get("patternProperties") or {"": field["additionalProperties"]}
        return f"table of {_takes(next(iter(by_name.values())))}"
    if field.get("format") in ("path", "file-path"):
        return "path"
    if field.get("format") == "date":
        return "date"
    if "network" in field.get("format", ""):
        return "network"
    limits = [words.format(field[key]) for key, words in _LIMITS.items() if key in field]
    return ", ".join([_KINDS[field["type"]], *limits])


def as_toml(settings: Settings) -> str:
    """The configuration as a file with a remark on every key.

    What is as by default stands behind a ``#``, so that the file follows the defaults of
    later versions.

    Parameters
    ----------
    settings : Settings
    """
    values = settings.model_dump(mode="json")
    return _HEAD + "".join(part for table in tables() for part in _parts(table, values))


def _parts(table: Table, values: dict[str, Any]) -> Iterator[str]:
    """A table in the file; each row of a list of them, or one to show how it looks."""
    found: Any = values
    for part in filter(None, table.name.split(".")):
        found = found[part]
    if not table.is_list:
        header = f"\n# {table.about}\n{table.header}\n" if table.name else "\n"
        yield header + _lines(table, found)
        return
    for row in found:
        yield f"\n# {table.about}\n{table.header}\n{_lines(table, row)}"
    if not found:
        yield f"\n# {table.about}\n"
        shown = f"{table.header}\n{_lines(table, {})}"
        yield "".join(f"# {line.removeprefix('# ')}\n" for line in shown.splitlines())


def _lines(table: Table, values: dict[str, Any]) -> str:
    return "".join(f"{_line(key, values.get(key.name))}\n" for key in table.keys)


def _line(key: Key, value: Any) -> str:
    is_set = value is not None and value != key.default
    shown = value if is_set else key.default or key.example
    if shown is None:  # 0, false or empty by default
        shown = key.default
    text = _toml(shown)
    if not is_set and len(text) > LONGEST:
        text = "[...]"  # for the page
    assignment = f"{'' if is_set else '# '}{key.name} = {text}"
    return f"{assignment:<{COMMENTS}}  # {key.description}"


def _toml(value: Any) -> str:
    if not isinstance(value, dict):
        return str(tomlkit.item(value).as_string())
    table = tomlkit.inline_table()
    table.update(value)
    return str(table.as_string())


def as_markdown() -> str:
    """The configuration as a page: a table of the keys of each section."""
    page = [
        "# Configuration\n",
        "Every key that the node takes, made from its settings model. It reads `ichnode.toml` in",
        "the folder that it is started in, or the file of `--config` or `ICHNODE_CONFIG`; then",
        "variables such as `ICHNODE_DICOM__PORT=104`, which go before the file (sections and",
        "lists may be given whole, as JSON). `ichnode init` writes a file with all of this in it.",
        "A key that is not known or cannot be stops the start with one line that names it.",
    ]
    for table in tables():
        if table.keys:
            title = f"`{table.header}`" if table.name else "Above all tables"
            about = table.about if table.name else ""
            page += ["", f"## {title}\n", *([f"{about}\n"] if about else []), *_rows(table)]
    return "\n".join(page) + "\n"


def _rows(table: Table) -> Iterator[str]:
    yield "| key | takes | default | |"
    yield "|---|---|---|---|"
    for key in table.keys:
        default = "required" if key.is_required else "–" if key.default is None else _code(key)
        yield f"| `{key.name}` | {_cell(key.takes)} | {default} | {_cell(key.description)} |"


def _code(key: Key) -> str:
    text = _toml(key.default)
    if isinstance(key.default, list) and len(text) > LONGEST:
        return "<br>".join(_cell(f"`{item}`") for item in key.default)
    return _cell(f"`{text}`")


def _cell(text: str) -> str:
    return text.replace("|", r"\|")
