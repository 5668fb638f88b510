"""`roc serve`: scores over HTTP for other programs, and a page for people.

Who does what, from the network inwards:

    app        routes, error answers, security headers (FastAPI; pydantic models in `schemas`)
    limits     what a request may cost; bodies are counted and timed while they come in
    uploads    a body -> the images in it and what is wanted of them
    service    an image -> its result; the queue, and when it is full
    reader     processes that decode and resize, so that a bad file can take down nothing else
    batching   prepared images of many clients -> batches for the model, within milliseconds
    worker     the process that the model lives in
    children   starting processes and talking to them: JSON and safetensors, no pickle
    counters   what /metrics tells (prometheus-client)
    listen     the command (uvicorn)
    client     the other end: `Client` and `AsyncClient` (httpx)

The process that talks to the network imports no torch and opens no image.
"""
