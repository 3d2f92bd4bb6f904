"""What Prometheus is told of the node.

following.py   what is new in the ledger becomes counters and latencies
collector.py   all families of metrics, put together at each scrape
"""

from node.metrics.collector import CONTENT_TYPE, Metrics

__all__ = ["CONTENT_TYPE", "Metrics"]
