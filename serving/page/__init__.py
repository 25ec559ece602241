"""A page on which people try the running server's models.

backend    what the page asks the server; the token stays there
show       answers as HTML
layout     the page's parts and what they do, in Gradio
guard      who may talk to the page, and how much they may send
site       the page's life: start on 127.0.0.1, end, leave nothing

The browser talks to the page alone, the page to the server over REST. Only `layout`, `guard` and
`site` need Gradio.
"""
