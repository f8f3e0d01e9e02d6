"""The batch job: encode what is planned, commit one snapshot.

In the order in which a run uses them:

    run         the run itself                          journal, metrics, report   what it says of itself
    needs       what must be read or made               vectors                    what is made already, and where
    contents    what the files turned out to hold       forecast                   a dry run's estimates
    rows        image rows                              commit, written            the new snapshot, and its bytes
    remember    what spares the next run its reading

Beside it `init`, `check`, `encode` and `label`: what else a command does with jobs and collections.
"""
