"""Fuzzing: files, associations and requests that are broken at random, by a seed.

mutate.py       a good file to a bad one
seeds.py        the good files
files.py        one bad file through all that reads files, in a process that is watched
pdus.py         bad sessions of the DICOM Upper Layer protocol
requests.py     bad store requests by STOW-RS
port.py         a receiver of its own, what it takes of the machine, whether it is well
campaign.py     many of each, counted
__main__.py     `make fuzz`

Input number n of a seed is the same wherever and however often it is made.
"""
