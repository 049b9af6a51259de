"""A page to try the method on: local, one model, everything from the same noise.

`settings` is what the page's controls say, `scene` samples and draws, `tunings` keeps what was
tuned for it, and `page` is the page itself, which alone needs Gradio.
"""
