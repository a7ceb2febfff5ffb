"""A plan to look at: typed pictures of it, for the terminal and for a page. Nothing is decided here.

Pictures are SVG by hand, whose geometry these modules compute: bars of bytes, steps and boxes are a few shapes each. A
chart library would put its script into each page, which then shows nothing without it, on paper or in a README.
"""
