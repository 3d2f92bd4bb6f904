"""Which series of a CQ500 scan to judge: thick and plain where there is one.

A scan holds up to a dozen series: thick and thin, soft and bone, before and
after contrast. Their some 85 names, as "CT " and the series description make the
names of the folders, were written at six centres by hand.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

PREFERRED_MM = 5.0
"""What the readers of RSNA's and most of CQ500's scans saw, and what stage 2 learned on."""

LEAST_SLICES = 10
LEAST_EXTENT_MM = 60.0
MOST_SPACING_MM = 12.0
_BONE_WINDOW_HU = 1000

_WITHOUT = re.compile(
    r"\b(pre|non|no|without|w/?o)[ -]?(iv )?(contrast|c)\b|\bncct\b|\bplain\b|\bc-(?!\d)"
)
_CONTRAST = re.compile(
    r"contrast|\bcect\b|\bpost\b|\biv\b|\boral\b|\bc\b|\bc\+|angio|\bcta\b|\bd3d\b|\d ?cc\b|venogra"
)
_SHARP = re.compile(r"\bbone|hi ?res|\bhrct\b|detail|\bedge\b|\blung\b|\bsharp\b")
_ELSEWHERE = re.compile(r"orbit|sinus|\bpns\b|neck|spine|\bface|facial|temporal|mandib|chest|abdom")
_REFORMAT = re.compile(
    r"\b(cor|coronal|sag|sagittal|mip|mpr|dmpr|vr|vrt|3d|ssd|scout|topo\w*|locali\w+)\b"
)
_STANDARD = re.compile(r"\b(std|stnd|stand|standard|soft|brain|plain)\b")
_SHARP_KERNEL = re.compile(
    r"^(bone|edge|lung|detail|ultra|hi ?res|[bhuj]r?[5-9]\d|fc(3\d|5\d|8\d))", re.I
)
_NOT_SLICES = frozenset(("LOCALIZER", "SCREEN SAVE", "REFORMATTED", "MPR", "PROJECTION IMAGE"))


@dataclass(frozen=True)
class Candidate:
    """A series as it offers itself.

    Parameters
    ----------
    name : str
        Series Instance UID.
    description : str
        Series Description (0008,103E).
    folder : str
        Its folder's name, which is all there is where the description is empty.
    slices : int
    spacing_mm : float
        Typical step between positions along the normal.
    extent_mm : float
        From the first to the last position.
    tilt_deg : float
        Between the normal and the patient's axis.
    kernel : str
        Convolution Kernel (0018,1210).
    image_type : tuple of str
        Image Type (0008,0008).
    modality : str
    contrast_agent : str
        Contrast/Bolus Agent (0018,0010).
    window_width : float
        Window Width (0028,1051), HU: how it is shown tells what it is for.
    number : int
        Series Number (0020,0011); what comes before contrast has the lower one.
    """

    name: str
    description: str = ""
    folder: str = ""
    slices: int = 30
    spacing_mm: float = PREFERRED_MM
    extent_mm: float = 150.0
    tilt_deg: float = 0.0
    kernel: str = ""
    image_type: tuple[str, ...] = ()
    modality: str = "CT"
    contrast_agent: str = ""
    window_width: float = 0.0
    number: int = 0

    @property
    def words(self) -> str:
        """What it is called, in small letters, without what the folders add."""
        folder = re.sub(r"^ct |-\d+$", "", self.folder.lower())
        return (self.description.lower() or folder).replace("_", " ")

    @property
    def called(self) -> str:
        """What a message calls it."""
        return self.description or self.folder or self.name


@dataclass(frozen=True)
class Verdict:
    """What is thought of a candidate.

    Parameters
    ----------
    candidate : Candidate
    score : float
        The higher the better; minus infinity for one that is not to be judged.
    reasons : tuple of str
    """

    candidate: Candidate
    score: float
    reasons: tuple[str, ...]

    @property
    def is_usable(self) -> bool:
        """Whether it may be chosen."""
        return self.score > -math.inf


def judge(candidate: Candidate) -> Verdict:
    """Think of one series."""
    against = _objections(candidate)
    if against:
        return Verdict(candidate, -math.inf, tuple(against))
    said: list[str] = []
    score = -10 * abs(math.log2(candidate.spacing_mm / PREFERRED_MM))
    said.append(f"{candidate.spacing_mm:.2f} mm apart")
    if _WITHOUT.search(candidate.words):
        score += 10
        said.append("called plain")
    elif candidate.contrast_agent:
        score -= 15
        said.append(f"contrast agent {candidate.contrast_agent}")
    if _STANDARD.search(candidate.words) or _STANDARD.search(candidate.kernel.lower()):
        score += 3
        said.append("a standard kernel")
    if candidate.window_width > _BONE_WINDOW_HU:
        score -= 12
        said.append(f"shown with a window of {candidate.window_width:.0f} HU")
    if "DERIVED" in candidate.image_type:
        score -= 5
        said.append("derived")
    short = max(0.0, 130.0 - candidate.extent_mm)
    if short:
        score -= short / 5
        said.append(f"covers {candidate.extent_mm:.0f} mm")
    return Verdict(candidate, score, tuple(said))


def _objections(candidate: Candidate) -> list[str]:
    words = candidate.words
    bare = _WITHOUT.sub(" ", words)
    found = []
    if candidate.modality not in ("CT", ""):
        found.append(f"modality {candidate.modality}")
    if _CONTRAST.search(bare):
        found.append("with contrast by its name")
    if _SHARP.search(words) or _SHARP_KERNEL.search(candidate.kernel.strip()):
        found.append(f"a sharp kernel ({candidate.kernel or candidate.called})")
    if _ELSEWHERE.search(words):
        found.append("of another part by its name")
    if _REFORMAT.search(bare) or _NOT_SLICES & set(candidate.image_type):
        found.append("not plain axial slices by its name or type")
    if candidate.tilt_deg > 45:
        found.append("not axial")
    if candidate.slices < LEAST_SLICES or candidate.extent_mm < LEAST_EXTENT_MM:
        found.append(f"{candidate.slices} slices over {candidate.extent_mm:.0f} mm are no head")
    if not 0 < candidate.spacing_mm <= MOST_SPACING_MM:
        found.append(f"slices {candidate.spacing_mm:.1f} mm apart")
    return found


def choose(candidates: Iterable[Candidate]) -> tuple[Verdict | None, Sequence[Verdict]]:
    """Choose the series of a scan to judge.

    Returns
    -------
    Verdict or None
        On the best; None where none is usable. Of equal ones the first by
        series number, description and name, whatever the order of the files.
    sequence of Verdict
        On all of them, the best first.
    """
    verdicts = sorted(
        (judge(one) for one in candidates),
        key=lambda v: (-v.score, v.candidate.number, v.candidate.called, v.candidate.name),
    )
    best = next((v for v in verdicts if v.is_usable), None)
    return best, verdicts
