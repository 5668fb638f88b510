"""Models behind HTTP: questions with pictures to any OpenAI-compatible endpoint.

`options` are the settings that all who ask share, `chat` asks and answers, `patience` waits while nobody answers.
"""
