"""Instances by STOW-RS (DICOM PS3.18, 10.5): the same way in as by C-STORE, over HTTP.

media.py      media types: what is taken, what is answered
answer.py     what became of the instances, as status, JSON and XML
store.py      one request: its instances to spool and ledger, one after the other
door.py       who may send: networks, passwords, tokens, how many at once
app.py        all of it as one application
serve.py      on a port

The node is no archive: what it took by STOW-RS cannot be asked for.
"""
