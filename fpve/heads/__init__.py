"""Classifiers that are learnt from labelled images: logistic regression, and a network with one hidden layer.

network     what is learnt: layers and a temperature; predicts in plain NumPy
head        a network with its classes and where it comes from, as a file
stored      the heads of a snapshot
examples    what they learn from: the queries that labelled images would be
split       what is held out while they learn
calibration how sure a network may be
settings    how they learn
training    learning; the only module that needs torch, and so not imported here
"""
