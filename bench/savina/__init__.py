"""The Savina actor benchmarks, as data: the games, their sizes, and their outputs.

After Imam and Sarkar, "Savina: an actor benchmark suite" (AGERE 2014). The rules of each game are
in `games.py`, the sizes of each side in `sizes.py`, the table of the docs in `table.py`. The
implementations are in `bench/ours/savina` and `bench/peers/savina`.
"""
