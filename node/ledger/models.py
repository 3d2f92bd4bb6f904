"""Which models have judged: each is entered once, with the operating point that it flags by."""

from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from node.ledger import schema
from node.ledger.database import Database

_model = schema.model


@dataclass(frozen=True)
class JudgingModel:
    """A model as it judges.

    Parameters
    ----------
    name, version, digest : str
        As in its bundle.
    operating_point : str
        By which it flags; empty where it has none.
    """

    name: str
    version: str
    digest: str
    operating_point: str


@dataclass(frozen=True)
class KnownModel:
    """A model that has judged series, by its id in the ledger."""

    id: int
    model: JudgingModel


class Models(Database):
    """Models by their ids."""

    def model_id(self, model: JudgingModel) -> int:
        """The id of a model, entered when it judges for the first time."""
        known = self.known_model(model.digest, model.operating_point)
        if known is not None:
            return known
        with self.engine.begin() as connection:
            entered = self.insert(_model).values(asdict(model))
            connection.execute(entered.on_conflict_do_nothing())  # another one may be quicker
        found = self.known_model(model.digest, model.operating_point)
        assert found is not None
        return found

    def known_model(self, digest: str, operating_point: str) -> int | None:
        """The id of a model; None if it has judged nothing."""
        asked = sa.select(_model.c.id).where(
            _model.c.digest == digest, _model.c.operating_point == operating_point
        )
        with self.reading() as connection:
            found: int | None = connection.execute(asked).scalar()
        return found

    def models(self) -> list[KnownModel]:
        """Models that have judged, the newest last."""
        with self.reading() as connection:
            rows = connection.execute(sa.select(_model).order_by(_model.c.id)).all()
        return [KnownModel(row.id, as_model(row)) for row in rows]


def as_model(row: Any) -> JudgingModel:
    """A row as the model that it is of."""
    return JudgingModel(row.name, row.version, row.digest, row.operating_point)
