"""An execution as one page of HTML: what is drawn, how it is laid out, how it looks."""

from .page import page

__all__ = ["page"]
