"""The two-stage model: from a DICOM series to one probability per finding and slice.

The way of a slice through this package::

    file.py      a DICOM file, read within limits (limits.py)
    stored.py    the stored values of a frame; codec.py: in a process of their own
    frames.py    files of a series -> frames: header, pixels in HU
    series.py    frames -> a volume, in order from foot to head
    pixels.py    stored values -> Hounsfield units (HU)
    windows.py   HU -> the three grey-scale channels
    describe.py  stage 1: one slice -> a descriptor (six logits)
    fusion.py    stage 2: seven neighbouring descriptors -> six probabilities
    detector.py  all of it: Volume -> (n, 6) probabilities
    bundle.py    a trained model as a folder on disk; identity.py: which one it is
    phantom/     synthetic head CT, to learn from and to show the way with

Training and the node both import it, so a slice goes through the same code
when it is learned from and when it is judged.
"""
