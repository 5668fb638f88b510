"""RED-Aes: learning from edits which picture is better.

`consensus` agrees on a photo's score and chooses anchors, `agreement` combines and compares judges. `operations` are
the edits that need no model, `editors` whoever edits, behind one small interface.
"""
