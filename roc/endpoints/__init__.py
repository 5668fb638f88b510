"""Models behind HTTP: questions with pictures to any OpenAI-compatible endpoint.

`options` are the settings that all who ask share, and the host of an address. `chat` asks and answers, `images` has
pictures edited, `patience` waits while nobody answers.
"""
