"""How good a model is: what `training.evaluate` and `training.export` compute and print.

metrics.py     log loss, AUC, calibration error
calibrate.py   temperature and operating points, on patients of their own
bootstrap.py   intervals by patient
measure.py     descriptors to figures
figures.py     the figures
stages.py      both stages against stage 1 alone, over seeds
smooth.py      the baseline between the two
subgroups.py   by slice thickness and scanner
submission.py  Kaggle's score
table1.py      CQ500 beside the paper
tables.py, plots.py, report.py   as people read them
"""
