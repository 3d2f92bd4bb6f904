"""The DICOM conformance statement: what of docs/conformance.md is made from the node itself.

============  ==================================================================
made          every object that the node makes
attributes    their attributes, and where values come from
content       their codes and templates
network       what the node accepts, proposes and answers; its limits
web           what it takes and answers by STOW-RS
page          all of it, between the marks of the page
============  ==================================================================

`make conformance` (or ``python -m tests.conformance``) writes the page.
"""
