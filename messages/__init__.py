"""What everything else speaks: messages, the way they are written down, and how they fail.

- `contract`, `schema`: the versioned message types, what is the same about two of them;
- `codec`, `extensions`, `frame`: a message as bytes, and many of them as one frame;
- `ref`, `letters`, `control`: references to actors, dead letters, the control plane;
- `views`: what a look at the running system gives;
- `plan`, `execution`, `job`, `updates`, `retry`: the main job as data;
- `spec`, `lifecycle`: what is supervised, and how it ended;
- `errors`, `limits`, `ports`: every error, every limit, every seam to the outside.

Invariants: nothing here knows Ray, an event loop, a socket, a file or a clock; whatever bytes
arrive, what is raised is a `CallboardError`.
"""

__all__: list[str] = []
