"""From any pile of photos to a data set: walked, cleaned, pruned, split, and shown.

`walk` finds the files, `scan` looks at each one once (in all cores), `clean`, `prune` and `split` decide
over the rows alone, `folder` writes what was decided, `report` shows it. `pipeline` puts them in order.
"""
