"""A subset of PromQL: lexer, parser, and an evaluator over any source of samples."""

__all__: list[str] = []
