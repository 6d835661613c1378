"""An execution as one page of HTML: its tables, its drawings and its style."""

from .page import page

__all__ = ["page"]
