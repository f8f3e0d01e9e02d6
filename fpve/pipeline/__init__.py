"""The batch job: plan what changed, encode it, commit one snapshot.

In the order in which a run uses them:

    run         the run itself                          journal, metrics, report   what it says of itself
    models      the job's encoders                      plan, before, moves        what changed since the last snapshot
    columns     metadata and prefixes of files          identity, fields           what images are called
    overlay     labels, laid over the metadata          remember                   what spares the next run its reading
    needs       what must be read or made               vectors                    what is made already, and where
    contents    what the files turned out to hold       forecast                   a dry run's estimates
    rows        image rows                              commit, written            the new snapshot, and its bytes

Beside it `init`, `check`, `encode` and `label`: what else a command does with jobs and collections.
"""
