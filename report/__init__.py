"""Everything people look at: charts, pages, photos, progress; one kit for all.

comparison which of two models is better; paired has the statistics
intervals  how sure a share of photos is, over groups
charts     matplotlib in the product's style, for pages and as PNG
html       pages: one Jinja environment; `base.html.j2` is the skeleton that each one extends
pictures   photos scaled to fit, and as data URLs
terminal   lines and tables in a terminal, whatever a name holds
progress   bars and lines while work goes on
tables     CSV files
"""
