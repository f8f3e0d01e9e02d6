"""Classifiers that are learnt from labelled images: logistic regression, and a network with one hidden layer.

network      layers and a temperature; predicts in plain NumPy
classifier   a network for queries with a prefix, and one for those without
head         a classifier with its classes and where it comes from, as a file
stored       the heads of a snapshot
settings     how a head learns
examples     what a network learns from
split        what is held out while it does
calibration  how sure it may be
fitting      weights, which needs torch: neither it nor `training` is imported here
training     all of that
"""
