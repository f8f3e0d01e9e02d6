"""The plan: what of a job's sources is new, changed, moved or gone, before any picture is opened.

In the order in which a run uses them:

    models      the job's encoders, and the recipe by which they are compared with a store's
    plan        the plan itself
    identity    what images are called                  fields     what every image has without metadata
    columns     metadata and prefixes of files          overlay    labels, laid over the metadata
    before      what the last snapshot says of them     moves      which new files are images that are gone
"""
