# Two images from one page: `web` answers, dispatches and switches slices off; `worker` also trains and predicts.
#
#     docker build --target web    --tag lethe-web .
#     docker build --target worker --tag lethe-worker .
#     docker build --target worker --tag lethe-worker-gpu --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 .
#
# Both run `lethe` as user 10001 and write nowhere but in /var/lib/lethe and /tmp, so the root may be read-only.
# The base must be a Debian with Python 3.11 or newer and its venv module; .ci/build_image builds on one of its own.
ARG BASE=python:3.11-slim

# ---- What both have: a virtual environment with everything but torch ------------------------------------------------
FROM ${BASE} AS environment
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
RUN python3 -m venv /opt/lethe
# The project's description without its code: what it depends on is installed once, and stays when only code changes.
COPY pyproject.toml README.md LICENSE ./
RUN /opt/lethe/bin/python -m pip install .

FROM environment AS web-environment
COPY . .
RUN /opt/lethe/bin/python -m pip install --no-deps --force-reinstall .

FROM environment AS worker-environment
# Without it pip takes the index's newest build, which on Linux brings gigabytes for GPUs.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN /opt/lethe/bin/python -m pip install --extra-index-url "${TORCH_INDEX}" '.[worker]'
COPY . .
RUN /opt/lethe/bin/python -m pip install --no-deps --force-reinstall .

# ---- What both run as ------------------------------------------------------------------------------------------------
FROM ${BASE} AS runtime
LABEL org.opencontainers.image.title="Lethe" \
      org.opencontainers.image.description="Unlearning as a service: models that forget, and proof that they did" \
      org.opencontainers.image.licenses="Apache-2.0"
# A volume that is mounted for the first time takes these directories' owner over.
RUN groupadd --gid 10001 lethe \
    && useradd --uid 10001 --gid 10001 --home-dir /var/lib/lethe --no-create-home --shell /usr/sbin/nologin lethe \
    && install --directory --owner=10001 --group=10001 --mode=0700 \
        /var/lib/lethe /var/lib/lethe/admin /var/lib/lethe/keys /var/lib/lethe/ledger /var/lib/lethe/objects
ENV PATH=/opt/lethe/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    LETHE_DATA_DIRECTORY=/var/lib/lethe \
    LETHE_HOST=0.0.0.0
USER 10001:10001
WORKDIR /var/lib/lethe
STOPSIGNAL SIGTERM
ENTRYPOINT ["lethe"]

# ---- web: `lethe api` unless another command is given (dispatcher, worker --queues cpu, prepare, fsck, …) ------------
FROM runtime AS web
COPY --from=web-environment /opt/lethe /opt/lethe
EXPOSE 8200
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s --retries=3 CMD ["lethe", "health", "api"]
CMD ["api"]

# ---- worker: `lethe worker` unless another command is given (predictor, …) -------------------------------------------
FROM runtime AS worker
COPY --from=worker-environment /opt/lethe /opt/lethe
EXPOSE 8201
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s --retries=3 CMD ["lethe", "health", "worker"]
CMD ["worker"]
