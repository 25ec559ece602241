"""Which labels are wrong: photos unlike their class to a model that hasn't seen their group.

`collect` reads each photo once and computes its features, `groups` says which belong together,
`left_out` asks a classifier that never saw a photo's group, `evidence` weighs that against the labels of
the group, `find` ranks and explains, `page` shows. Decisions are `training.data.decisions`' business.
"""
