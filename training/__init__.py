"""From folders of labelled photos to a bundle, and what evaluation says about it."""
