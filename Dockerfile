# roc serve in a container; docs/server.md shows how to build and run it. On a GPU machine build with
# --build-arg TORCH_INDEX_URL=https://download.pytorch.org/whl/cu128 and run with --gpus all.
FROM python:3.12.12-slim-bookworm

ARG TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HF_HOME=/tmp/huggingface \
    HF_HUB_OFFLINE=1

WORKDIR /opt/roc

# torch first: it changes least, and its build depends on the machine. The versions are those of constraints.txt.
COPY constraints.txt ./
RUN pip install --no-cache-dir --index-url "${TORCH_INDEX_URL}" torch==2.13.0

COPY setup.py pyproject.toml README.md LICENSE ./
COPY roc ./roc
RUN pip install --no-cache-dir --constraint constraints.txt ".[server,heif,owl2]" \
    && useradd --no-create-home --uid 10001 --shell /usr/sbin/nologin roc

USER 10001
WORKDIR /

EXPOSE 8000

HEALTHCHECK --interval=30s --timeout=5s --start-period=10s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]

# SIGTERM, which `docker stop` sends, lets it finish what it has accepted.
ENTRYPOINT ["roc", "serve", "--host", "0.0.0.0", "--port", "8000"]
CMD ["--checkpoint", "/checkpoint"]
