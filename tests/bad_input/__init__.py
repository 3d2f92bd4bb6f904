"""The corpus of bad input: every way in which a series can be broken, hostile or odd.

case.py       what a case is: a series of files, and what has to become of it
files.py      cut files, lengths that lie, bombs, nesting, syntaxes
headers.py    identifiers, attributes of a wrong kind, texts and character sets
pixels.py     kinds of pixel data that are not CT, or not what the header says
series.py     series that are mixed, uneven or of an odd size
corpus.py     all of them
node.py       the way of a case through the node's own functions
__main__.py   `make bad-input` writes docs/bad-input.md from them
"""
