"""Station 1 the other way round: ask a PACS for new head CT, and fetch them.

source.py       what a source is, whatever it speaks
"""
