"""The language of all other packages: messages, their encoding, and their errors.

- `core`: contracts and their schemas, the codec, frames, references, errors and limits;
- `control`: the control plane, supervision specs, placement, notices, dead letters, views;
- `jobs`: plans, jobs, executions, their updates, retries, and commands on executions;
- `storage`: events, states, blobs, and the ports and errors of their stores;
- `ports`: all other interfaces to the outside.

Invariants: nothing here knows Ray, an event loop, a socket, a file or a clock. Decoding
raises a `CallboardError` or nothing, whatever bytes arrive.
"""

__all__: list[str] = []
