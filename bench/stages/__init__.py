"""One file a stage: what it depends on (`inputs`), how it is made (`build`), and its VERSION.

A stage is a module. `inputs(cell, **choice)` returns, as JSON, everything that determines the
artifact, parents by their keys; it is cheap and imports no torch. `build(cell, folder, checkpoints,
**choice)` makes it and returns notes for the manifest. VERSION goes up when its output changes.
"""
