"""Public data sets: `convert` turns one of them into a data file.

`layout` says what a data set is, `dataset_folder` reads its folder and `cells` the cells of its tables; every other
file is one data set: its published layout, and how it becomes records.
"""
