# The one image of Assay: api, worker, migrate and the demo are commands of it.
#   docker build --tag assay .
ARG BASE=python:3.12-slim

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ONLY_BINARY=:all: PIP_REQUIRE_HASHES=1
WORKDIR /build
# Two environments: pip and hatchling stay in this one, the other is what ships.
RUN python3 -m venv tools && python3 -m venv --without-pip /opt/assay
COPY requirements.runtime.lock ./
RUN tools/bin/pip --python /opt/assay/bin/python install --no-compile --no-deps --requirement requirements.runtime.lock \
    && tools/bin/pip --python /opt/assay/bin/python check
COPY .ci/build.lock .ci/
RUN tools/bin/pip install --requirement .ci/build.lock
COPY pyproject.toml README.md LICENSE ./
COPY schema schema
COPY resolvers resolvers
COPY agents agents
COPY persistence persistence
COPY observability observability
COPY ops ops
# Bytecode is made here because the root is read-only later, and is never compared with its source:
# a copy that changes the files' times would otherwise make every start compile everything.
RUN tools/bin/python -m hatchling build -t wheel -d dist \
    && PIP_REQUIRE_HASHES=0 tools/bin/pip --python /opt/assay/bin/python install --no-compile --no-deps --no-index dist/*.whl \
    && /opt/assay/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/assay/lib

FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Assay" \
      org.opencontainers.image.description="A study-and-grading server for schools and universities, behind one GraphQL API." \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# The embedded PostgreSQL needs a name for its user.
RUN groupadd --gid 10001 assay \
    && useradd --uid 10001 --gid 10001 --no-log-init --no-create-home --home-dir /var/lib/assay --shell /usr/sbin/nologin assay \
    && install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/assay
COPY --from=build /opt/assay /opt/assay
ENV PATH=/opt/assay/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    ASSAY_HOST=0.0.0.0 \
    ASSAY_PORT=8000 \
    ASSAY_DATA_DIR=/var/lib/assay
USER 10001:10001
WORKDIR /var/lib/assay
VOLUME ["/var/lib/assay"]
EXPOSE 8000
STOPSIGNAL SIGTERM
# Of the api, and of a worker that is given ASSAY_WORKER_PORT the same. migrate does not listen: run
# it with the health check disabled.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-I", "-S", "-c", "import os, sys; from http.client import HTTPConnection; c = HTTPConnection('127.0.0.1', int(os.environ.get('ASSAY_PORT') or 8000), timeout=4); c.request('GET', '/ready'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["assay"]
CMD ["serve"]
