"""The doctor: looks at everything a node needs and says how to cure what is wrong.

finding.py  what it says about one thing
parts.py    what it looks at, in this order
"""

from node.check.finding import Finding, Health
from node.check.parts import check

__all__ = ["Finding", "Health", "check"]
