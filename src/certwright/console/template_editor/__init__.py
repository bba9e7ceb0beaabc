"""The template editor without its pages: which fields stand on which tab, and what a form makes of a template.

`fields` says what there is, `draft` reads a form into a template, `widgets` draws a template into a form, `names` and
`rights` are the two tabs that are lists, `changes` tells two templates apart, `findings` puts risks into words.
"""
