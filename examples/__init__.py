"""Examples of Callboard: each folder is one runnable job."""
