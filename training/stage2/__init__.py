"""What `training.describe` and `training.train_fusion` share.

descriptors.py  what stage 1 said of every slice
samples.py      what a network of stage 2 is given at a time
fuse.py         run one over series
"""
