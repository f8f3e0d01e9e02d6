"""Work on a Ray cluster, which may be this machine. Nothing here imports Ray before there is work.

cluster      which Ray, how many workers of what size      engine     encodes there: shards out, receipts in
connection   being connected with it, quietly              lot        all inputs of a run, and how they are cut
room         who has room there, and who waits for it      passes     shards through Ray Data, each tried once
                                                           worker     a process that encodes shards
mapper       other work that falls into parts:             tally      what it says while it works on one
             indexes, searches                             receipt    what it says of one in the end
                                                           books      what has become of each input
"""
