"""Where encoding runs. An engine takes files and leaves finished shards in the store's `pending/`."""
