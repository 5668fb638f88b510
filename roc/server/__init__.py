"""`roc serve`: scores over HTTP for other programs, and a web page for people. From the network inwards:

HTTP: `listen` (uvicorn), `app` (routes), `middleware` (headers, CORS, counting), `static` (the web page in `page/`),
`hosts` (names and addresses), `keys` (API keys), `errors`, `counters` (for Prometheus), `openapi`, `schemas` and
`answers` (forms of the JSON), `options` (flags and limits); `client` is the other end.
A request: `exchange` (from its key to its answer), `bodies` (bytes under limits), `uploads` (images in a body),
`embedded` (images in JSON), `questions` and `decisions` (requests and answers of decision clients), `personal` (one's
own taste), `service` (images to results), `turns` (fairness between clients and requests).
Processes: `children` (starting them and talking to them), `decoders` (the pool of those that decode images), `decoding`
(what runs there: image files to model inputs), `batching` (inputs of many requests to batches), `worker` (the model).
The process that talks to the network imports no torch.
"""
