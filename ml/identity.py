"""Which model a bundle holds: its name, version and digest, without PyTorch."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from ml.errors import BundleError

SHIPPED = Path(__file__).parent / "bundles"
"""Where the bundles lie that come with the package."""

MANIFEST = "bundle.json"


@dataclass(frozen=True)
class Identity:
    """What tells a model from another one.

    Parameters
    ----------
    name, version : str
        As in its ``bundle.json``.
    digest : str
        SHA-256 of ``bundle.json``, hexadecimal; it stands for the weights too.
    """

    name: str
    version: str
    digest: str


def find_bundle(name: str | Path) -> Path:
    """The folder of a bundle.

    Parameters
    ----------
    name : str or pathlib.Path
        The name of one that comes with the package, or a folder.

    Raises
    ------
    BundleError
        If there is neither.
    """
    for folder in (Path(name), SHIPPED / name):
        if (folder / MANIFEST).is_file():
            return folder
    shipped = sorted(p.parent.name for p in SHIPPED.glob(f"*/{MANIFEST}"))
    raise BundleError(
        f"no model bundle {str(name)!r}: neither a folder with {MANIFEST} nor one of "
        f"those shipped ({', '.join(shipped) or 'none'})"
    )


def identify(name: str | Path) -> Identity:
    """Read who a bundle says it is, and see that its weights can be read.

    Nothing is said of what is in the weights: `ml.bundle.load_bundle` checks that.

    Parameters
    ----------
    name : str or pathlib.Path
        As `find_bundle` takes it.

    Raises
    ------
    BundleError
        If it is not there, or cannot be read.
    """
    manifest = find_bundle(name) / MANIFEST
    try:
        content = manifest.read_bytes()
        said = json.loads(content)
        identity = Identity(
            str(said["name"]), str(said["version"]), hashlib.sha256(content).hexdigest()
        )
        weights = [manifest.parent / file for file in said["weights"]]
    except OSError as error:
        raise BundleError(f"{manifest} cannot be read: {error.strerror}") from error
    except (ValueError, LookupError, TypeError) as error:
        raise BundleError(f"{manifest} is not the {MANIFEST} of a model") from error
    for path in weights:
        if not os.access(path, os.R_OK):
            raise BundleError(f"{path} cannot be read")
    return identity
