"""Object stores: a local folder, and S3, GCS, Azure and memory by URL; segments as Parquet."""

__all__: list[str] = []
