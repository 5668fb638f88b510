"""`roc mcp`: local pictures scored, ranked and described for assistants that speak the Model Context Protocol.

`options` is what the command is asked, `folders` the pictures that a request may name, `assessor` what is done with
them, `tools` the server of the official SDK around it.
"""
