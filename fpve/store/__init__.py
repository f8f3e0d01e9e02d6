"""The store: Parquet files, and numbered manifests that say which of them count. Knows nothing of models or FAISS."""
