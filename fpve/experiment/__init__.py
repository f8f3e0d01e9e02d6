"""Choosing by experiment: what the pictures of a job, encoded in several ways, are worth to a classifier.

A store is neither needed nor touched. In the order in which a comparison uses them:

    pictures    the labelled pictures of a job's sources, with their prefixes
    features    what image encoders make of them, pooled in several ways while the vision model runs once
    maps        feature maps, kept for what has to see them twice
    guided      pooling by likeness to the prefix
    compare     the table
"""
