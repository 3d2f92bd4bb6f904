"""The shadow: a second model judges what the first one has reported, and is compared with it.

What it says is kept in the ledger and in a file beside the results, and is no result: nothing
that is sent, told or reported is made from it. Whatever becomes of it, the series goes on as
if there were no shadow.
"""

import json
import logging
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ml.errors import IchnodeError, first_line
from node.audit import Auditor
from node.drift import agreed_on
from node.drift.measure import judge_of, said_of
from node.environment import is_passing
from node.hints import PAUSE_AFTER_ERROR_S
from node.lease import staying_alive
from node.ledger import Ledger, Revision, Shadow, patiently
from node.logs import about
from node.series import InstancesLost, read_series
from node.settings import ModelSettings, Settings
from node.spool import SHADOW, Spool, write_durably
from node.summary import findings_json, flagged, maxima, model_json, series_json

if TYPE_CHECKING:
    from node.analyze import Analyzer
    from node.judgement import Judgement

log = logging.getLogger(__name__)


class PrimaryWaits(Exception):
    """A series waits for the model that reports: the shadow gives way."""


def settings_of_shadow(settings: Settings) -> Settings:
    """The settings that the model of the shadow is loaded and run by.

    The first model has judged what it gets: that it is a head is not asked again, and no
    evidence is explained.
    """
    assert settings.shadow.bundle is not None
    return settings.model_copy(
        update={
            "model": ModelSettings(
                bundle=settings.shadow.bundle, operating_point=settings.shadow.operating_point
            ),
            "report": settings.report.model_copy(update={"evidence_maps": False}),
            "eligibility": settings.eligibility.model_copy(update={"check_pixels": False}),
        }
    )


class ShadowWorker:
    """Judges series in the shadow.

    Parameters
    ----------
    settings : Settings
    ledger : Ledger
    spool : Spool
    analyzer : Analyzer
        The model of the shadow.
    auditor : Auditor, optional
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        spool: Spool,
        analyzer: "Analyzer",
        auditor: Auditor | None = None,
    ) -> None:
        self.settings = settings
        self.ledger = ledger
        self.spool = spool
        self.analyzer = analyzer
        self.auditor = auditor or Auditor.silent()

    def judge(self, shadow_id: int) -> None:
        """Judge what waits for the shadow; nothing if another one has done it, or if it is to wait.

        Parameters
        ----------
        shadow_id : int
            Of its row in the ledger.
        """
        if self._is_to_wait():
            return  # the sweeper comes again
        claim = self.ledger.claim_shadow(shadow_id, self.settings.analyze.lease_s)
        revision = None if claim is None else self.ledger.revision(claim.revision_id)
        if claim is None or revision is None:
            return
        with about(revision):
            self._go_on(claim, revision)

    def _go_on(self, claim: Shadow, revision: Revision) -> None:
        lease_s = self.settings.analyze.lease_s
        uid = revision.series_instance_uid
        if why := self._why_not(revision):
            self.ledger.skip_shadow(claim, why)
            return
        try:
            with staying_alive(lambda: self.ledger.extend_shadow(claim, lease_s), lease_s):
                self._judge(claim, revision)
        except PrimaryWaits as why:
            log.debug("series %s: %s", uid, why)
            self.ledger.yield_shadow(claim, None, 0.0, counts=False)
        except InstancesLost as lost:
            log.info("series %s is not judged in the shadow: %s", uid, lost)
            self.ledger.skip_shadow(claim, str(lost))
        except Exception as error:
            self._after_error(claim, uid, error)

    def _why_not(self, revision: Revision) -> str | None:
        """Why a revision is not to be judged any more."""
        if revision.images_removed_at is not None:
            return "its images were removed before"
        if revision.results_removed_at is not None:
            return "its results were removed before"
        if not self.ledger.is_newest(revision):
            return "more slices came before: see the next revision"
        return None

    def _judge(self, claim: Shadow, revision: Revision) -> None:
        from node.analyze import analyze  # noqa: PLC0415  it brings PyTorch

        series, digest = read_series(self.ledger, self.spool, revision)
        found = analyze(self.analyzer, series, digest, (), self._give_way)
        judgement = found.judgement
        judge = judge_of(judgement.model)
        said = maxima(judgement)
        calls = flagged(judgement)
        self._keep(claim, revision, judgement)
        agreed = agreed_on(
            claim.primary_maxima, claim.primary_flagged, claim.primary, said, calls, judge
        )
        counts = said_of(said, calls, judge)
        if patiently(lambda: self.ledger.shadow_judged(claim, judge, said, calls, counts, agreed)):
            log.info("series %s is judged in the shadow", revision.series_instance_uid)
            self.auditor.series_judged(
                found.sources, revision.series_instance_uid, revision.number, judgement.model
            )
        else:
            self._take_away_if_removed(claim, revision)

    def _give_way(self, _slices: int) -> None:
        if self._is_to_wait():
            raise PrimaryWaits("the shadow gives way to a series that waits")

    def _is_to_wait(self) -> bool:
        return self.settings.shadow.yields and self.ledger.is_primary_busy()

    def _keep(self, claim: Shadow, revision: Revision, judgement: "Judgement") -> None:
        """Write every slice's probabilities beside the results of the revision."""
        document = {
            "model": model_json(judgement.model),
            "compared_with": claim.primary.digest,
            "series": [series_json(judgement)],
            "findings": findings_json(judgement),
        }
        path = self._folder(revision) / SHADOW
        write_durably(path, json.dumps(document, indent=1).encode())

    def _take_away_if_removed(self, claim: Shadow, revision: Revision) -> None:
        """What is written after the results were removed would stay for ever."""
        now = self.ledger.revision(revision.id)
        if now is None or now.results_removed_at is not None:
            folder = self._folder(revision)
            (folder / SHADOW).unlink(missing_ok=True)
            for empty in (folder, folder.parent, folder.parent.parent):
                with suppress(OSError):  # it is not empty, or not there
                    empty.rmdir()
            self.ledger.skip_shadow(claim, "its results were removed meanwhile")

    def _folder(self, revision: Revision) -> Path:
        return self.spool.results_folder(
            revision.study_instance_uid, revision.series_instance_uid, revision.number
        )

    def _after_error(self, claim: Shadow, uid: str, error: Exception) -> None:
        """Try again later, or end it; the series itself goes on in any case."""
        said = first_line(error)
        if is_passing(error):
            log.error("series %s has to wait in the shadow: %s", uid, said)
            patiently(
                lambda: self.ledger.yield_shadow(claim, said, PAUSE_AFTER_ERROR_S, counts=False)
            )
            return
        if isinstance(error, IchnodeError):
            log.error("series %s cannot be judged in the shadow: %s", uid, error)
            self.ledger.fail_shadow(claim, said)
            return
        # No traceback by default: its message may quote the patient.
        log.error(
            "series %s in the shadow: unexpected %s",
            uid,
            type(error).__name__,
            exc_info=log.isEnabledFor(logging.DEBUG),
        )
        detail = f"{type(error).__name__}: {said}"
        if claim.attempts >= self.settings.analyze.max_attempts:
            self.ledger.fail_shadow(claim, detail)
        else:
            self.ledger.yield_shadow(claim, detail, PAUSE_AFTER_ERROR_S * claim.attempts)
