# The search service on a CPU, without PyTorch: it fills, searches and serves galleries with an exported model (docs/docker.md).
FROM python:3.13-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/ccafl
COPY constraints.txt ./
# What docs/export.md names under "Without torch", and Milvus's client.
RUN /opt/ccafl/bin/pip install --no-cache-dir --disable-pip-version-check --constraint constraints.txt \
    fastapi numpy onnxruntime pillow prometheus-client pyarrow pydantic pymilvus python-multipart pyyaml rich scipy \
    typer uvicorn
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN /opt/ccafl/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps .

FROM python:3.13-slim-bookworm
COPY --from=build /opt/ccafl /opt/ccafl
# A named volume that is mounted there takes over owner and rights.
RUN install --directory --owner=10001 --group=10001 --mode=700 /data
ENV PATH=/opt/ccafl/bin:$PATH PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
USER 10001:10001
WORKDIR /data
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/ready', timeout=4)"]
ENTRYPOINT ["ccafl"]
CMD ["serve", "--db", "/data/people.db", "--host", "0.0.0.0"]
