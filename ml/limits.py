"""What a file may ask for at most, so that none takes a worker's memory or time.

The figures are far above what scanners write and far below what hurts.
"""

MOST_HEADER = 512 << 20
"""Memory that the header of one file may take, bytes by the estimate of `ml.file`: an
Enhanced CT of 5,000 frames takes about half of it, a CT image a two-thousandth."""

MOST_HEADERS = 2 << 30
"""Memory that all headers of a series may take together, bytes."""

MOST_INFLATED_HEADER = 64 << 20
"""What stands before the pixel data of a deflated file, bytes inflated."""

MOST_PIXELS = 4096 * 4096
"""Rows times columns of a frame; CT images are 512 x 512, at times 1024 x 1024."""

MOST_VOXELS = 1 << 31
"""Of a series: 8,000 slices of 512 x 512, 4 GiB as HU."""

MOST_AHEAD = 1 << 26
"""Pixels that are decoded before they are asked for: 256 slices of 512 x 512, but four of
the largest that may be."""

MOST_INFLATED = 1 << 30
"""Of a deflated file, bytes: 2,000 frames of 512 x 512."""

MOST_CODEC_MEMORY = 2 << 30
"""Address space of the process that decodes compressed frames, bytes."""

MOST_CODEC_SECONDS = 10
"""Processor time to decode one compressed frame, seconds: a JPEG 2000 frame of 512 x 512
takes about a twentieth of one."""
