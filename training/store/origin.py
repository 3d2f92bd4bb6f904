"""Where images come from: a note beside their folder, which every later step hands on."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from training.errors import TrainingError
from training.files import whole

NAME = "about.json"


@dataclass(frozen=True)
class Origin:
    """What images are.

    Parameters
    ----------
    source : str
        One line.
    commands : tuple of str
        What was typed to make them; none for images of patients.
    """

    source: str
    commands: tuple[str, ...] = ()

    def write(self, images: Path) -> None:
        """Write the note beside a folder of images."""
        with whole(images.parent / NAME) as file:
            file.write(json.dumps(asdict(self), indent=2).encode() + b"\n")

    @classmethod
    def of(cls, images: Path, otherwise: str) -> "Origin":
        """Read the note beside a folder of images.

        Parameters
        ----------
        images : pathlib.Path
        otherwise : str
            The source where there is no note.

        Raises
        ------
        TrainingError
            If there is one that cannot be understood.
        """
        path = images.parent / NAME
        if not path.is_file():
            return cls(otherwise)
        try:
            about = json.loads(path.read_text(encoding="utf-8"))
            return cls(str(about["source"]), tuple(map(str, about["commands"])))
        except (ValueError, KeyError, TypeError) as error:
            raise TrainingError(
                f"{path} does not say source and commands; mend or delete it"
            ) from error
