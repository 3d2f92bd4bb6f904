"""Tests: they read as sentences about what ichnode does.

`ct.py` makes CT files of every odd kind, `models.py` a small model, `conftest.py`
holds what many tests share. Nothing here needs the real series; tests that read
them are skipped where they are not.
"""
