"""The web page of the node, and the same data as JSON.

values.py     what a page shows, and what the JSON says: the same values
desk.py       reads ledger, results and spool for both
readers.py    what readers say, and how it compares with what a model said
document.py   what a node wrote beside its results
drift.py      what has changed, and its drawings
paging.py     which rows a worklist shows: from an address and back
course.py     a probability along the slices as a curve
running.py    sensitivity and specificity along a year as curves
pictures.py   captures as PNG
patient.py    what a header says of the patient, where that may be shown
door.py       who may come in: login, proxy, basic authentication
guard.py      what every request and every answer has to keep to
trail.py      who looked at what and who pressed what, for the audit trail
asking.py     what every page and every answer stands on, and who asks
pages.py      the pages
api.py        the JSON
app.py        all of it as one application
serve.py      on a port

Everything is served by the node itself: no script, font or picture comes from elsewhere.
"""
