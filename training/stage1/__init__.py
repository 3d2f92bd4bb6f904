"""What `training.train_slices` is made of.

presets.py     every knob, and named settings of them
blocks.py      blocks of neighbouring slices, in batches
augment.py     changes that leave labels true
weights.py     what a backbone begins with
ranks.py       one process for each GPU
history.py     what every epoch came to
resume.py      where a training stands
checkpoint.py  weights with what they were made by
"""
