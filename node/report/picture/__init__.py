"""Pictures of slices with what the model says about them.

    paint.py    colours, type and words that every picture is drawn with
    slice.py    the slice in the brain window, framed by the patient's sides
    curve.py    the course of a probability along the stack
    panel.py    beside a slice: what the model says about it
    summary.py  the series at a glance: every finding's curve, the top slices
    series.py   all pictures of a series, of one size
    heat.py     a slice, and beside it the same with the evidence for a finding over it

Nothing is drawn over the patient; only the evidence for a finding is, and then the
plain slice stands beside it. Colours are those of Okabe and Ito, which people with
any colour vision can tell apart; what a colour says, a word or a shape says too. No
type is smaller than `paint.SMALLEST`, so that a picture can be read where a viewer
shows it 512 pixels wide.

References
----------
M. Okabe, K. Ito: "Color Universal Design" (2008).
"""
