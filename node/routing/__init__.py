"""Which results of a series go where.

rules.py   which routes fit, and what each recipient is to get: a pure function
sharing.py which object that is, and what has to be made for it
asking.py  the same of a series in the ledger, and beginning again with it
"""

from node.routing.asking import begin_again, routing_of
from node.routing.rules import Routing, Verdict, decide
from node.routing.sharing import Workitem, forms, lacks, plan, workitems

__all__ = [
    "Routing",
    "Verdict",
    "Workitem",
    "begin_again",
    "decide",
    "forms",
    "lacks",
    "plan",
    "routing_of",
    "workitems",
]
