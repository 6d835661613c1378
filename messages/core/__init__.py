"""The language of all messages: contracts, codec, frames, references, errors, limits."""

__all__: list[str] = []
