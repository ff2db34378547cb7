# tsnd for NVIDIA GPUs, with TensorRT-RTX. Build it at the top of the checkout:
#
#   docker build -f deploy/docker/cuda.Dockerfile -t tsnd:cuda .
#   docker run --gpus all -v ./models:/models:ro -v ./secrets:/etc/tsnd:ro -p 8001:8001 tsnd:cuda \
#     --tls-certificate /etc/tsnd/tls.crt --tls-key /etc/tsnd/tls.key --tokens /etc/tsnd/tokens.toml
#
# Plans are for one type of GPU: `tsn-build plan` runs in this image, too.

FROM nvidia/cuda:13.0.1-devel-ubuntu24.04 AS build
# PyCUDA is compiled, against this image's headers.
ARG EXTRAS=daemon,gpu,tensorrt-rtx
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY requirements/lock.txt requirements/
COPY protos protos
COPY engine_builder engine_builder
COPY daemon daemon
COPY client client
# The versions of the lock, of what the daemon needs alone.
RUN sed -e '/--hash/d' -e 's/ \\$//' requirements/lock.txt > constraints.txt \
    && python3 -m venv /opt/tsnd \
    && LIBRARY_PATH=/usr/local/cuda/lib64/stubs \
       /opt/tsnd/bin/pip install --no-cache-dir -c constraints.txt ".[${EXTRAS}]"

FROM nvidia/cuda:13.0.1-runtime-ubuntu24.04
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home tsnd
COPY --from=build /opt/tsnd /opt/tsnd
ENV PATH=/opt/tsnd/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    TSND_HOST=0.0.0.0 \
    TSND_METRICS_HOST=0.0.0.0 \
    TSND_MODEL_REPOSITORY=/models
USER 10001
EXPOSE 8001 8002
STOPSIGNAL SIGTERM
# Over TLS, TSND_CA has to name the authority of a certificate that is good for localhost.
HEALTHCHECK --interval=15s --timeout=10s --start-period=10m \
    CMD ["tsn", "health", "--target", "localhost:8001"]
ENTRYPOINT ["tsnd"]
