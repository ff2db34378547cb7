# tsnd for CPUs. Build it at the top of the checkout:
#
#   docker build -f deploy/docker/cpu.Dockerfile -t tsnd:cpu .
#   docker run -v ./models:/models:ro -v ./secrets:/etc/tsnd:ro -p 8001:8001 tsnd:cpu \
#     --tls-certificate /etc/tsnd/tls.crt --tls-key /etc/tsnd/tls.key --tokens /etc/tsnd/tokens.toml
#
# Without TLS it does not start, unless TSND_INSECURE=true says that the network is safe already.

FROM python:3.12-slim-bookworm AS build
# daemon,openvino takes OpenVINO along.
ARG EXTRAS=daemon
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY requirements/lock.txt requirements/
COPY protos protos
COPY engine_builder engine_builder
COPY daemon daemon
COPY client client
# The versions of the lock, of what the daemon needs alone.
RUN sed -e '/--hash/d' -e 's/ \\$//' requirements/lock.txt > constraints.txt \
    && python -m venv /opt/tsnd \
    && /opt/tsnd/bin/pip install --no-cache-dir -c constraints.txt ".[${EXTRAS}]"

FROM python:3.12-slim-bookworm
RUN useradd --system --uid 10001 --no-create-home tsnd
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
