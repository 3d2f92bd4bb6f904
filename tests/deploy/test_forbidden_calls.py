"""Nothing in the code makes code of data: no pickle, no eval, no shell."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("node", "ml", "training")

MODULES = {"_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
"""Loading what one of these, or pickle, has written runs what is written there."""

ERRORS = {"pickle.UnpicklingError"}
"""All that is wanted of pickle: what torch says of a file that holds more than tensors."""

CALLS = {
    "eval",
    "exec",
    "compile",
    "os.system",
    "os.popen",
    "subprocess.getoutput",
    "subprocess.getstatusoutput",
    "yaml.load",
    "yaml.unsafe_load",
    "yaml.full_load",
    "pandas.read_pickle",
    "pd.read_pickle",
    "numpy.fromstring",
}


def name_of(node: ast.expr) -> str:
    """A name with dots, as far as there is one."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return ""


def forbidden(source: str) -> Iterator[str]:
    """What must not stand in a source, with its line."""
    for node in ast.walk(ast.parse(source)):
        found = ""
        if isinstance(node, ast.Import):
            names = {alias.name.partition(".")[0] for alias in node.names}
            renamed = {alias.name for alias in node.names if alias.asname}
            found = ", ".join(names & MODULES | renamed & {"pickle"})
        elif isinstance(node, ast.ImportFrom):
            found = (node.module or "").partition(".")[0]
            found = found if found in MODULES | {"pickle"} else ""
        elif isinstance(node, ast.Attribute):
            found = name_of(node)
            found = found if found.startswith("pickle.") and found not in ERRORS else ""
        elif isinstance(node, ast.Call):
            found = _forbidden_call(node)
        if found:
            yield f"line {node.lineno}: {found}"


def _forbidden_call(call: ast.Call) -> str:
    name = name_of(call.func)
    given = {keyword.arg: keyword.value for keyword in call.keywords}

    def is_set(key: str, value: bool) -> bool:
        argument = given.get(key)
        return isinstance(argument, ast.Constant) and argument.value is value

    if name in CALLS:
        return name
    if name == "torch.load" and not is_set("weights_only", True):
        return "torch.load without weights_only=True"
    if "allow_pickle" in given and not is_set("allow_pickle", False):
        return f"{name} with allow_pickle"
    if "shell" in given and not is_set("shell", False):
        return f"{name} with shell"
    return ""


@pytest.mark.parametrize("room", ROOMS)
def test_no_code_is_made_of_data(room: str) -> None:
    sources = sorted((ROOT / room).rglob("*.py"))

    assert sources
    assert [
        f"{path.relative_to(ROOT)} {what}"
        for path in sources
        for what in forbidden(path.read_text(encoding="utf-8"))
    ] == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle\npickle.loads(b'')",
        "import pickle\nread = pickle.Unpickler",
        "import numpy, pickle as p",
        "from pickle import loads",
        "import joblib.memory",
        "eval('1')",
        "import os\nos.system('ls')",
        "import torch\ntorch.load('w.pt')",
        "import torch\ntorch.load('w.pt', weights_only=False)",
        "import torch\nsafe = True\ntorch.load('w.pt', weights_only=safe)",
        "import numpy as np\nnp.load('a.npy', allow_pickle=True)",
        "import subprocess\nsubprocess.run('ls', shell=True)",
        "import yaml\nyaml.load(text)",
    ],
)
def test_what_is_forbidden_is_seen(source: str) -> None:
    assert list(forbidden(source))


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.load('w.pt', weights_only=True)",
        "import pickle\ntry:\n    read()\nexcept pickle.UnpicklingError:\n    pass",
        "import numpy as np\nnp.load('a.npy')",
        "import re\nre.compile('a')",
        "model.eval()",
        "import subprocess\nsubprocess.run(['ls'])",
    ],
)
def test_what_is_allowed_is_let_be(source: str) -> None:
    assert not list(forbidden(source))
